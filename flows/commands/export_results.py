"""What a published run says of one scan, as it goes back to a PACS: masks on the original slices, sources' words."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from highdicom.sr import CodedConcept

from cohorts.dicom.codes import CORE_CODE, HYPOPERFUSION, INFARCT_CODE, region_code
from cohorts.dicom.original import Original
from cohorts.dicom.results import RegionResult, ScanResults, Segment, Segments, SourceResult, VolumeResult
from cohorts.folder.source import REGION_NETWORK, LesionSource, OnScanSource, Source
from cohorts.images.nifti import ImageProblemError
from cohorts.store.records import Record
from cohorts.tables.storage import read_table
from flows.cases.region_files import regions_stem
from flows.run.plan import Plan
from flows.run.publishing import TABLES_FOLDER

Row = dict[str, Any]
#: How a step names the masks of what it found -> what that is.
FOUND: dict[str, CodedConcept] = {"lesion": INFARCT_CODE, "core": CORE_CODE, "hypoperfused": HYPOPERFUSION}
TABLES = ("scores", "regions", "lesions")


@dataclass(frozen=True, eq=False)
class Published:
    """A run that answers its plan.

    Attributes
    ----------
    plan : with the records
    out, folder : output folder; folder of the run
    rows : table -> (participant, source) -> rows
    version : of the program
    """

    plan: Plan
    out: Path
    folder: Path
    rows: dict[str, dict[tuple[str, str], list[Row]]]
    version: str


def published(plan: Plan, out: Path, folder: Path, version: str) -> Published:
    """Read the tables of a run."""
    rows: dict[str, dict[tuple[str, str], list[Row]]] = {}
    for name in TABLES:
        frame = read_table(folder / TABLES_FOLDER / f"{name}.parquet")
        plain = frame.astype(object).where(frame.notna(), None)
        rows[name] = defaultdict(list)
        for row in cast("list[Row]", plain.to_dict("records")):
            rows[name][row["participant_id"], row["source"]].append(row)
    return Published(plan, out, folder, rows, version)


def scan_results(run: Published, participant_id: str, modality: str, original: Original) -> ScanResults:
    """Everything of one scan.

    Parameters
    ----------
    run : Published
    participant_id, modality : which scan
    original : the slices that it was made from

    Raises
    ------
    ImageProblemError
        ``output_damaged``: a file of a step is not as it was written; ``results_elsewhere``.
    """
    config = run.plan.cohort.config
    segments: list[Segments] = []
    sources: list[SourceResult] = []
    finished = ["1970-01-01T00:00:00"]
    for measurement, sharing in config.measurements.items():
        record = run.plan.records.get((participant_id, measurement))
        if sharing[0].lies_on != modality or record is None or record.status != "ok":
            continue
        found = [_source_result(run, participant_id, measurement, source) for source in sharing]
        said = [one for one in found if one is not None]
        if said:
            sources += said
            finished.append(record.finished_at)
            segments += _drawn(run, record, measurement, sharing, original)
    return ScanResults(modality, original, _once(segments), tuple(sources), run.version, _moment(max(finished)))


def refused_sources(run: Published, participant_id: str, modality: str) -> Iterator[tuple[str, str, str]]:
    """(source, status, reason) of the sources on a scan that have no result, by the tables."""
    config = run.plan.cohort.config
    for source in config.computed_sources:
        if source.lies_on == modality and source.is_scoring:
            for row in run.rows["scores"].get((participant_id, source.name), ()):
                if row["status"] != "ok":
                    yield source.name, str(row["status"]), str(row["reason"])


def _source_result(run: Published, participant_id: str, measurement: str, source: Source) -> SourceResult | None:
    """What a source says; None where it was refused, or only describes.

    A lesion has its volume where the score is withheld, as for a region that came to lie in fluid.
    """
    score = next(iter(run.rows["scores"].get((participant_id, source.name), ())), None)
    lesion = next(iter(run.rows["lesions"].get((participant_id, measurement), ())), None)
    volumes = tuple(_volumes(source, lesion))
    if score is None or (score["status"] != "ok" and not volumes):
        return None
    regions = run.rows["regions"].get((participant_id, source.name), ())
    return SourceResult(
        name=source.name,
        measurement=measurement,
        parameters=tuple(_parameters(run, source, score)),
        score=score["score"],
        score_left=score["score_left"],
        score_right=score["score_right"],
        scored_side=score["scored_side"],
        regions=tuple(RegionResult(row["side"], row["region"], row["affected"]) for row in regions),
        volumes=volumes,
    )


def _parameters(run: Published, source: Source, score: Row) -> Iterator[str]:
    """Method, rule, label map, registration and weights."""
    config = run.plan.cohort.config
    yield f"study: {config.study.name}"
    yield f"method: {source.phrase}"
    yield f"rule: {score['rule']}; side that counts: {score['laterality']}"
    yield f"regions: {config.regions_of(source)}, sha256 {run.plan.maps[source.name].sha256}"
    if isinstance(source, OnScanSource):
        yield f"registration: {source.registration}"
    for weights in run.plan.weights.get(source.name, ()):
        yield f"weights: {weights.name}, {weights.state}, sha256 {weights.sha256}"
    if not source.weights:
        yield "weights: none"


def _volumes(source: Source, lesion: Row | None) -> Iterator[VolumeResult]:
    """Volumes by the labels of their segments."""
    if lesion is None or lesion["status"] != "ok" or not isinstance(source, LesionSource):
        return
    label = next((name for name in FOUND if f"label-{name}_" in (source.lesion_file or "")), "lesion")
    pairs = ((label, lesion["volume_ml"]), ("hypoperfused", lesion["hypoperfused_volume_ml"]))
    yield from (VolumeResult(name, float(volume)) for name, volume in pairs if volume is not None)


def _drawn(
    run: Published, record: Record, measurement: str, sharing: tuple[Source, ...], original: Original
) -> Iterator[Segments]:
    """What a measurement drew, then the regions of each of its label maps."""
    first = sharing[0]
    prefix = run.plan.cases[record.participant_id, measurement].prefix
    files = {Path(one["path"]).name: one for one in record.outputs}
    masks = {name: files[file] for name in FOUND if (file := f"{prefix}_label-{name}_mask.nii.gz") in files}
    lesion = tuple(Segment(name, FOUND[name], _planes(run.out, one, original) > 0) for name, one in masks.items())
    is_given = isinstance(first, LesionSource) and first.is_given
    if lesion:
        uses_network = bool({*first.weights} - {REGION_NETWORK})
        yield Segments(measurement, "lesion", lesion, is_drawn_by_hand=is_given, uses_network=uses_network)
    for source in sharing:
        use = run.plan.maps[source.name]
        labelled = files.get(f"{regions_stem(prefix, use.sha256)}.nii.gz")
        if labelled is not None:
            planes = _planes(run.out, labelled, original)
            regions = tuple(
                Segment(label.name, region_code(label.side, label.region), planes == label.index)
                for label in use.table.labels
            )
            name = Path(run.plan.cohort.config.regions_of(source)).name.removesuffix(".gz").removesuffix(".nii")
            yield Segments(name, "regions", regions, uses_network=REGION_NETWORK in source.weights)


def _planes(out: Path, file: Any, original: Original) -> np.ndarray[Any, Any]:
    """A label image at the original pixels."""
    path = out / file["path"]
    if hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
        raise ImageProblemError(
            "output_damaged",
            f"{path.name} must be as its step wrote it, and is not. Run aspects verify, then run again.",
        )
    image: Any = nib.load(path)
    return original.planes(np.asarray(image.dataobj), np.asarray(image.affine))


def _once(segments: list[Segments]) -> tuple[Segments, ...]:
    """Without repetitions: sources that register a scan alike have the same regions."""
    return tuple({one.digest: one for one in segments}.values())


def _moment(text: str) -> datetime:
    """A record's UTC time, to the second."""
    return datetime.fromisoformat(text).replace(tzinfo=None, microsecond=0)
