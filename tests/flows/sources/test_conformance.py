"""What every kind of source must do, for every line of the registry: a new kind is tested by being registered."""

from __future__ import annotations

import gzip
import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
import pytest

from cohorts.folder.manifest import Scan
from cohorts.folder.soop import write_label_table
from cohorts.folder.stated_source import TableSource
from cohorts.store.records import is_complete
from cohorts.tables.features import features_batch
from cohorts.tables.gates import gated
from cohorts.tables.lesions import lesions_batch
from cohorts.tables.regions_and_scores import regions_and_scores
from cohorts.tables.rows import MapUse, Measured
from cohorts.tables.scans import scans_batch
from cohorts.tables.schemas import FEATURES, LESIONS, REGIONS, SCANS, SCORES
from cohorts.tables.storage import write_table
from flows.cases.case import Case, CaseFile, MapReference, SharedWork, StepSettings
from flows.cases.label_maps import VASCULAR_MAP
from flows.run.steps import run_case
from flows.sources.code import code_version
from flows.sources.registry import METHODS, STUDY
from models.anatomy.template import load_label_map
from models.weights import WeightsMissingError, find_weights
from reports.pages.remedies import remedy
from tasks.scoring import RegionEvidence
from tests.cohorts.hand_made import hand_made_cohort, stands
from tests.flows.sources import patient
from tests.flows.sources.patient import as_it_is, case_of, mirrored, nifti, reordered

OTHER_SIDE = {"left": "right", "right": "left"}


def _can_be_measured(kind):
    """Whether it reads scans and its weights ship; what another kind is, its own tests say."""
    if issubclass(METHODS[kind].source, TableSource):
        return False
    try:
        wanted = METHODS[kind].source.model_construct(kind=kind).weights
        return all(find_weights(name) for name in wanted)
    except WeightsMissingError:
        return False


KINDS = [
    pytest.param(kind, marks=pytest.mark.processes) if METHODS[kind].source.is_foreign else kind
    for kind in METHODS
    if _can_be_measured(kind)
]
#: How the classic map may be stored without saying anything else; "2 mm" says it more coarsely.
STORED = ("classic", "flipped", "axes", "shifted", "float", "2 mm")
#: Largest difference of a region's fraction or relative difference: the same voxels fall into other blocks. Features
#: are compared by their relative difference, 2 where the sign changes; many count a handful of zones.
TOLERANCE = {"fraction": 0.12, "relative_difference": 0.04, "probability": 0.15, "feature": 2}
MEAN_TOLERANCE = {"fraction": 0.02, "relative_difference": 0.01, "probability": 0.02, "feature": 0.1}


def _declared(kind, **changes):
    needed = patient.NEEDED[kind]() if kind in patient.NEEDED else {}
    return METHODS[kind].source.model_validate({"name": "tested", "kind": kind} | needed | changes)


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """The classic label map, stored in six ways."""
    folder = tmp_path_factory.mktemp("maps")
    classic = load_label_map("classic")
    labels, affine = np.asarray(classic.labels), classic.affine
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = labels.shape[0] - 1
    pad = np.eye(4)
    pad[:3, 3] = (-7, -3, -5)
    ways = {
        "flipped": (labels[::-1], affine @ flip),
        "axes": reordered(labels, affine),
        "shifted": (np.pad(labels, ((7, 2), (3, 4), (5, 1))), affine @ pad),
        "float": (labels.astype(np.float32), affine),
        "2 mm": (labels[::2, ::2, ::2], affine @ np.diag([2.0, 2, 2, 1])),
    }
    found = {"classic": MapReference("classic", classic.sha256)}
    for name, (values, own) in ways.items():
        path = folder / f"{name.replace(' ', '_')}.nii.gz"
        image = nib.Nifti1Image(np.ascontiguousarray(values), own)
        nib.save(image, path)
        write_label_table(classic.table, path.with_name(f"{name.replace(' ', '_')}.tsv"))
        found[name] = MapReference(str(path), load_label_map(path).sha256)
    return found


@dataclass(frozen=True, eq=False)
class Runs:
    """Records of one kind, each made once."""

    kind: str
    maps: dict
    folder: object
    made: dict
    shared: dict

    @property
    def source(self):
        return _declared(self.kind)

    def settings(self, maps):
        references = [maps[name] for name in ("classic",)] if maps is self.maps else list(maps)
        if "lesion" in self.source.gives:
            references.append(MapReference(VASCULAR_MAP, load_label_map(VASCULAR_MAP).sha256))
        code = code_version(METHODS[self.kind]).digest
        return StepSettings(self.kind, tuple(references), self.source.settings, code)

    def record(self, change=as_it_is, *, every_map=False, again=False):
        key = (change.__name__, every_map, again)
        if key not in self.made:
            case = case_of(self.source, self.folder / change.__name__, change)
            settings = self.settings(tuple(self.maps.values()) if every_map else self.maps)
            shared = SharedWork() if again else self.shared[change]
            self.made[key] = run_case(case, settings, self.folder / f"out-{len(self.made)}", shared)
        return self.made[key]

    def out(self, change=as_it_is, *, every_map=False, again=False):
        return self.folder / f"out-{list(self.made).index((change.__name__, every_map, again))}"


@pytest.fixture(scope="module")
def runs(maps, tmp_path_factory):
    known, shared = {}, defaultdict(SharedWork)  # as a run shares it among the kinds that read one scan

    def of(kind):
        if kind not in known:
            known[kind] = Runs(kind, maps, tmp_path_factory.mktemp(kind), {}, shared)
        return known[kind]

    return of


def _evidence(source, record, reference):
    """(side, region, ...) -> evidence; of a source that only describes regions, every feature in its place."""
    use = MapUse(reference.sha256, load_label_map("classic").table)
    if source.is_scoring:
        return {(one.side, one.region): one for one in source.evidence(record.payload, use)}
    return {
        (one.side, one.region, one.name): RegionEvidence(one.side, one.region, "feature", one.value)
        for one in source.features(record.payload, use)
    }


def _assert_alike(found, expected, *, is_mirrored=False):
    assert len(found) == len(expected)
    if not expected:  # of a source that says nothing of regions
        return
    assert len({key[:2] for key in found}) == 20
    differences = []
    for (side, *what), one in expected.items():
        other = found[OTHER_SIDE[side] if is_mirrored else side, *what]
        assert other.column == one.column
        assert (other.value is None) == (one.value is None), (side, what)
        if one.value is not None and min(one.coverage, other.coverage) > 0.95:
            size = max(abs(one.value), abs(other.value), 1e-12) if one.column == "feature" else 1
            differences.append(abs(other.value - one.value) / size)
    assert max(differences) <= TOLERANCE[one.column]
    assert np.mean(differences) <= MEAN_TOLERANCE[one.column]


def _assert_same_chance(source, record, other):
    """Of a low score, where the source gives one."""
    found, expected = (source.low_score_probability(one.payload) for one in (record, other))
    assert (found is None) == (expected is None)
    assert expected is None or found == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_a_phantom_is_measured_and_gives_what_its_kind_declares(kind, runs):
    source, record = runs(kind).source, runs(kind).record(every_map=True)
    assert (record.status, record.reason, record.detail) == ("ok", None, None)
    assert is_complete(runs(kind).out(every_map=True), record)
    assert type(record.payload) is source.findings
    assert set(record.payload.scans) >= {source.scans[0]}
    use = MapUse(load_label_map("classic").sha256, load_label_map("classic").table)
    evidence = list(source.evidence(record.payload, use))
    assert bool(evidence) == ("regions" in source.gives)
    assert bool(list(source.features(record.payload, use))) == ("features" in source.gives)
    assert (source.lesion(record.payload) is not None) == ("lesion" in source.gives)
    assert (source.low_score_probability(record.payload) is not None) == ("low_score_probability" in source.gives)
    if "lesion" in source.gives:
        assert source.lesion(record.payload).side == "right"
    assert source.phrase
    assert source.about
    if source.is_scoring:
        assert source.rule_name in source.rule_choices({})


@pytest.mark.parametrize("kind", KINDS)
def test_its_rows_keep_the_contracts_of_the_tables(kind, runs, tmp_path):
    source, record = runs(kind).source, runs(kind).record(every_map=True)
    declared = source.model_dump(exclude_unset=True)
    listed = Scan("sub-1", source.scans[0], "orig", "scans/one.nii.gz")
    cohort = replace(hand_made_cohort(source=[declared], rule=[]), scans=(listed,))
    (measurement,) = cohort.config.measurements
    records = gated({("sub-1", measurement): record}, cohort.config)
    use = MapUse(load_label_map("classic").sha256, load_label_map("classic").table)
    vascular = load_label_map(VASCULAR_MAP)
    known = Measured(records, {source.name: use}, MapUse(vascular.sha256, vascular.table))
    standing = stands(cohort)
    ((regions, scores),) = regions_and_scores(cohort, known, standing)
    write_table(REGIONS, [regions], tmp_path)
    write_table(SCORES, [scores], tmp_path)
    write_table(FEATURES, [features_batch(cohort, known)], tmp_path)
    write_table(LESIONS, [lesions_batch(cohort, known, standing)], tmp_path)
    write_table(SCANS, [scans_batch(cohort, known, standing, {"scans/one.nii.gz": ("a" * 64, 7)})], tmp_path)
    assert scores["status"].count("ok") == source.is_scoring
    assert regions["status"].count("ok") == (20 if "regions" in source.gives else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_give_the_same_record_and_files(kind, runs):
    first, second = runs(kind).record(every_map=True), runs(kind).record(every_map=True, again=True)
    assert second.payload == first.payload
    assert second.outputs == first.outputs
    assert second.key == first.key


@pytest.mark.parametrize("kind", KINDS)
def test_a_mirrored_patient_gives_mirrored_regions(kind, runs, maps):
    source = runs(kind).source
    expected = _evidence(source, runs(kind).record(every_map=True), maps["classic"])
    record = runs(kind).record(mirrored)
    assert record.status == "ok"
    _assert_alike(_evidence(source, record, maps["classic"]), expected, is_mirrored=True)
    if "lesion" in source.gives:
        assert source.lesion(record.payload).side == "left"
    _assert_same_chance(source, record, runs(kind).record(every_map=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_scan_stored_in_another_axis_order_gives_the_same_regions(kind, runs, maps):
    source = runs(kind).source
    expected = _evidence(source, runs(kind).record(every_map=True), maps["classic"])
    record = runs(kind).record(reordered)
    assert record.status == "ok"
    _assert_alike(_evidence(source, record, maps["classic"]), expected)
    _assert_same_chance(source, record, runs(kind).record(every_map=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", STORED[1:])
def test_a_label_map_stored_on_another_grid_gives_the_same_regions(kind, way, runs, maps):
    source, record = runs(kind).source, runs(kind).record(every_map=True)
    expected = _evidence(source, record, maps["classic"])
    found = _evidence(source, record, maps[way])
    if way == "2 mm":
        _assert_alike(found, expected)
    else:
        assert found == expected


def _constant(body):
    image = nib.Nifti1Image.from_bytes(gzip.decompress(body))
    return nifti(np.full(image.shape, 1, np.uint8), image.affine)


def _cut(body):
    """A third of the image along its first axis: half a head and less."""
    image = nib.Nifti1Image.from_bytes(gzip.decompress(body))
    values = np.asarray(image.dataobj)[: image.shape[0] // 3]
    return nifti(values.astype(np.float32) if values.dtype != np.uint8 else values, image.affine)


BAD = {"empty": lambda _: b"", "truncated": lambda body: body[: len(body) // 2], "constant": _constant, "cut": _cut}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", BAD)
def test_a_scan_that_cannot_be_used_ends_with_a_reason_that_has_a_remedy(kind, fault, runs, maps, tmp_path):
    source = runs(kind).source
    case = case_of(source, tmp_path, content=BAD[fault])
    record = run_case(case, runs(kind).settings(maps), tmp_path / "out")
    assert record.status == "excluded"
    assert remedy("intake", record.reason)
    assert " must " in record.detail or " needs " in record.detail
    assert record.payload.lesion is None


@pytest.mark.parametrize("kind", KINDS)
def test_its_code_and_its_limits_are_declared(kind):
    method = METHODS[kind]
    version = code_version(method)
    module = f"{method.source.__module__.replace('.', '/')}.py"
    assert module in version.parts
    assert any(name.startswith("library numpy") for name in version.parts)
    assert method.cpu_limit_s > 0
    assert STUDY.model_validate(
        {"study": {"name": "a"}, "source": [{"name": "a", "kind": kind, **method.source.needed}]}
    )


@pytest.mark.real_data
@pytest.mark.parametrize("subject", ["sub001", "sub002", "sub003"])
def test_a_real_ct_has_the_same_regions_whatever_the_label_map_is_stored_like(real_data, maps, subject, tmp_path):
    """The affected side came out reversed where a study's own map was stored from left to right."""
    path = real_data / "ncct-aspects" / subject / "im.nii.gz"
    file = CaseFile("ncct", str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    source = _declared("density_ratio")
    settings = StepSettings(source.kind, tuple(maps.values()), source.settings)
    record = run_case(Case(subject, source.step, (file,)), settings, tmp_path)
    assert record.status == "ok"
    expected = _evidence(source, record, maps["classic"])
    for way in STORED[1:-1]:
        assert _evidence(source, record, maps[way]) == expected
    coarse = _evidence(source, record, maps["2 mm"])
    assert max(abs(coarse[key].value - one.value) for key, one in expected.items()) < TOLERANCE["relative_difference"]
