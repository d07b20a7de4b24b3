"""``OUT/derivatives``: what the latest run found, as a BIDS derivative data set, for people and their tools.

Records keep their files under addresses (``OUT/records``); here the same files have the names of BIDS. CT has no rule
in BIDS, nor have transforms: these are named as its other files are, and stand in ``.bidsignore``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from cohorts.folder.source import Source
from cohorts.store.dataset import Wanted, keep_dataset
from cohorts.store.records import DERIVATIVES_FOLDER, Record
from cohorts.tables.storage import tsv_text
from flows.cases.region_files import MAP_CHARACTERS
from flows.run.plan import Plan
from reports.figures.perfusion_picture import PERFUSION_SUFFIX
from reports.figures.rendering_picture import RENDERING_SUFFIX
from reports.figures.scan_picture import PICTURE_SUFFIX
from tasks.anatomy import TEMPLATE_SPACE

BIDS_VERSION = "1.10.0"
#: What BIDS has no rule for, one pattern a line.
IGNORED = ("sub-*/ct", "*_xfm.*")
#: Entities in the order of BIDS.
ENTITIES = ("from", "to", "mode", "space", "seg", "label", "desc")
#: Endings of files that are for the program's own pages.
_OWN = (PICTURE_SUFFIX, PERFUSION_SUFFIX, RENDERING_SUFFIX)
_TYPES = {"lesion": "Lesion", "core": "Lesion", "hypoperfusion": "ROI"}


def keep_derivatives(plan: Plan, out: Path) -> None:
    """Bring the data set up to date with the records of a plan."""
    labels = bids_labels(_participants(plan))
    descs = _told_apart({name: _alphanumeric(name) for name in plan.cohort.config.measurements})
    wanted: dict[str, Wanted] = {}
    for (participant_id, measurement), record in sorted(plan.records.items()):
        source = plan.cohort.config.measurements[measurement][0]
        wanted |= _files_of(plan, record, source, descs[measurement], labels[participant_id])
    keep_dataset(out, DERIVATIVES_FOLDER, wanted | _about(plan, labels))


def bids_labels(participant_ids: Iterable[str]) -> dict[str, str]:
    """participant_id -> the same with letters and digits alone; those that become one are told apart by a digest.

    >>> bids_labels(["sub-01", "sub-st_2"])
    {'sub-01': 'sub-01', 'sub-st_2': 'sub-st2'}
    >>> sorted(bids_labels(["sub-a.1", "sub-a1"]).values())
    ['sub-a1xec066c', 'sub-a1xfb0b9a']
    """
    plain = {name: f"sub-{_alphanumeric(name.removeprefix('sub-'))}" for name in participant_ids}
    return _told_apart(plain)


def _told_apart(plain: Mapping[str, str]) -> dict[str, str]:
    """Name -> its plain form; those that share one, upper and lower case aside, get a digest of their own behind it."""
    spelt = Counter(label.casefold() for label in plain.values())
    return {
        name: label if spelt[label.casefold()] == 1 else f"{label}x{hashlib.sha256(name.encode()).hexdigest()[:6]}"
        for name, label in plain.items()
    }


def bids_name(label: str, stored: str, desc: str, maps: Mapping[str, str]) -> str | None:
    """Name of a stored file in the data set; None of one that is for our own pages.

    Parameters
    ----------
    label : ``sub-01``
    stored : what follows the prefix of its case, such as ``_label-lesion_mask.nii.gz``
    desc : of its measurement
    maps : first digits of a label map's digest -> its name

    >>> bids_name("sub-01", "_seg-0123abcd_dseg.nii.gz", "dwiunet", {"0123abcd": "classic"})
    'sub-01_seg-classic_desc-dwiunet_dseg.nii.gz'
    >>> bids_name("sub-01", "_cbf.json", "corectp", {})
    'sub-01_desc-corectp_cbf.json'
    """
    *parts, suffix = stored.strip("_").split("_")
    if stored.endswith(_OWN):
        return None
    entities = dict(part.split("-", 1) for part in parts if "-" in part)
    entities["desc"] = desc + _alphanumeric(entities.get("desc", ""))
    if "seg" in entities:
        entities["seg"] = maps.get(entities["seg"], entities["seg"])
    named = [f"{name}-{entities[name]}" for name in ENTITIES if name in entities]
    return "_".join([label, *named, suffix])


def _files_of(plan: Plan, record: Record, source: Source, desc: str, label: str) -> dict[str, Wanted]:
    """Path in the data set -> file, of one record."""
    kind = "dwi" if source.gated_as == "dwi" else "ct"
    maps = _maps(plan)
    found: dict[str, Wanted] = {}
    for output in record.outputs:
        stored = Path(output["path"]).name
        prefix = next((one for one in _prefixes(record, source) if stored.startswith(one)), None)
        name = prefix and bids_name(label, stored.removeprefix(prefix), desc, maps)
        if not name:
            continue
        path = f"{label}/{kind}/{name}"
        found[path] = Wanted(output["sha256"], path=output["path"])
        if re.search(r"_(mask|probseg|dseg)\.nii\.gz$", name):
            found[re.sub(r"\.nii\.gz$", ".json", path)] = Wanted.of(_sidecar(name, source))
    return found


def _prefixes(record: Record, source: Source) -> list[str]:
    """How the names of a record's files begin."""
    return [f"{record.participant_id}_{modality}" for modality in sorted(source.scans, key=len, reverse=True)]


def _sidecar(name: str, source: Source) -> bytes:
    """The sidecar of a mask or segmentation."""
    facts: dict[str, object] = {"Description": f"{source.name}: {source.phrase}"}
    if (label := re.search(r"label-([a-z]+)", name)) and name.endswith("_mask.nii.gz"):
        facts["Type"] = _TYPES.get(label[1], "ROI")
    if f"space-{TEMPLATE_SPACE}" in name:
        facts["SpatialReference"] = TEMPLATE_SPACE
    return (json.dumps(facts, indent=2, sort_keys=True) + "\n").encode()


def _about(plan: Plan, labels: Mapping[str, str]) -> dict[str, Wanted]:
    """The files of the data set as a whole."""
    version = importlib.metadata.version("aspects-cohort")
    study = plan.cohort.config.study
    description = {
        "Name": f"{study.name}: results",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "aspects-cohort", "Version": version, "Description": "Research use only."}],
    }
    told = (
        f"# {study.name}\n\nWhat the latest run of aspects-cohort {version} found on the scans of this study, by the "
        "names of BIDS (https://bids.neuroimaging.io). `desc` is the measurement. Masks and segmentations lie on the "
        "voxels of the scan on which they were found; transforms say from where to where they go. The tables of all "
        "participants and the report are in `../results/latest`. Research use only, never for a diagnosis.\n\n"
        "BIDS has no rules for CT (folders `ct`) and for transforms (`_xfm`): these stand in `.bidsignore`. Files may "
        "be links to those of the records: make a copy before you change one.\n"
    )
    rows = [{"participant_id": label, "cohort_id": name} for name, label in labels.items()]
    columns = {"cohort_id": {"Description": "participant_id in the tables of the study, where any sign may be in it"}}
    return {
        "dataset_description.json": Wanted.of((json.dumps(description, indent=2) + "\n").encode()),
        "README.md": Wanted.of(told.encode()),
        "participants.tsv": Wanted.of(tsv_text(rows).encode()),
        "participants.json": Wanted.of((json.dumps(columns, indent=2) + "\n").encode()),
        ".bidsignore": Wanted.of("".join(f"{line}\n" for line in IGNORED).encode()),
    }


def _participants(plan: Plan) -> list[str]:
    """Everybody of whom there may be a file."""
    return list(dict.fromkeys([*plan.cohort.participants["participant_id"], *(name for name, _ in plan.records)]))


def _maps(plan: Plan) -> dict[str, str]:
    """First digits of a label map's digest -> its name."""
    config = plan.cohort.config
    names = {
        plan.maps[source.name].sha256[:MAP_CHARACTERS]: Path(config.regions_of(source)).name.split(".")[0]
        for source in config.computed_sources
    }
    plain = {digits: _alphanumeric(name) for digits, name in names.items()}
    values = list(plain.values())
    return {digits: name if values.count(name) == 1 else f"{name}x{digits}" for digits, name in plain.items()}


def _alphanumeric(text: str) -> str:
    """Letters and digits alone, as BIDS wants them."""
    return re.sub(r"[^A-Za-z0-9]", "", text)
