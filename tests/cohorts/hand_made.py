"""Nine participants in every state that a run can leave them in, with records made by hand; no image is involved."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cohorts.folder.manifest import Cohort, Problem, Reading, Scan
from cohorts.store.findings import Findings
from cohorts.store.records import Record, StepKey
from cohorts.tables.lesions import lesion_values
from cohorts.tables.participants import standings
from cohorts.tables.rows import MapUse, Measured
from flows.sources.mask import MaskSource
from flows.sources.registry import STUDY as STUDY_MODEL
from tasks.anatomy import ASPECTS_REGIONS, Label, LabelTable, aspects_label_table

N_REGION = 100  # voxels of every region
VOXEL_MM3 = 2.0

ASPECTS = MapUse("aspects", aspects_label_table())
ARTERIES = MapUse(
    "arteries", LabelTable((Label(1, "mcal", "left", "mca", "other"), Label(2, "mcar", "right", "mca", "other")))
)
TERRITORIES = ("aca", "mca", "mca_deep", "pca", "posterior_fossa")
VASCULAR = MapUse(
    "vascular",
    LabelTable(
        tuple(
            Label(offset + place, f"{side}_{territory}", side, territory, "other")
            for side, offset in (("right", 0), ("left", 5))
            for place, territory in enumerate(TERRITORIES, start=1)
        )
    ),
)

STUDY = {
    "study": {"name": "Hand-made"},
    "clinical_side": "affected",
    "source": [
        {"name": "wei", "kind": "mask", "rule": "wei", "laterality": "worst"},
        {"name": "arteries", "kind": "mask", "rule": "any"},
        {"name": "core", "kind": "mask", "modality": "core", "rule": "load", "laterality": "lesion_side"},
        {"kind": "readings", "laterality": "worst"},
    ],
    "rule": [{"name": "load", "kind": "fraction", "deep": 0.05, "cortical": 0.01, "minimum_voxels": 2}],
    "clinical": [
        {"column": "nihss", "read_as": "integer", "minimum": 0, "maximum": 42, "unit": "points"},
        {"column": "affected", "read_as": "category", "levels": {"left": "left", "right": "right"}},
        {"column": "smoker", "read_as": "boolean"},
    ],
    "severity": {"column": "nihss"},
    "eligibility": {"minimum_max_diameter_mm": 15, "required_columns": ["nihss"]},
}


def _counts(table, voxels):
    names = {label.name for label in table.labels}
    assert set(voxels) <= names, set(voxels) - names
    return {
        "labels": [label.index for label in table.labels],
        "n_region": [N_REGION] * len(table.labels),
        "n_lesion": [voxels.get(label.name, 0) for label in table.labels],
        "coverage": [1.0] * len(table.labels),
    }


def payload(aspects, vascular, *, side="left", max_diameter_mm=40.0, n_voxels=100):
    """What the measure step stores for a lesion with these voxels in these labels."""
    content = {
        "scans": {
            "lesion": {
                "shape": [7, 8, 9],
                "spacing_mm": [1.0, 1.0, 2.0],
                "orientation": "LAS",
                "voxel_volume_mm3": VOXEL_MM3,
            }
        },
        "lesion": {
            "n_voxels": n_voxels,
            "volume_ml": n_voxels * VOXEL_MM3 / 1000,
            "n_components": 2,
            "max_diameter_mm": max_diameter_mm,
            "volume_left_ml": 0.15,
            "volume_right_ml": 0.05,
            "side": side,
        },
        "counts": {
            "aspects": _counts(ASPECTS.table, aspects),
            "arteries": _counts(ARTERIES.table, {"mcal": 30}),
            "vascular": _counts(VASCULAR.table, vascular),
        },
    }
    return Findings.model_validate(content)


def record(participant_id, modality="lesion", status="ok", reason=None, detail=None, content=None):
    key = StepKey(f"measure-{modality}", "measure/2", "a" * 64, "b" * 64)
    return Record(participant_id, key, status, reason, detail, content or Findings())


def flags(side, *affected):
    return {(side, region): region in affected for region in ASPECTS_REGIONS}


LESION = payload(
    {"left_caudate": 1, "left_m2": 34, "right_m1": 33}, {"left_mca": 60, "left_mca_deep": 10, "right_pca": 5}
)
CORE = payload({"left_caudate": 5, "right_m1": 2, "right_m2": 2, "right_m3": 1}, {"left_mca": 20})
LACUNE = payload({}, {"left_posterior_fossa": 40}, max_diameter_mm=15.0, n_voxels=40)

RECORDS = {
    ("sub-1", "lesion"): record("sub-1", content=LESION),
    ("sub-1", "core"): record("sub-1", "core", content=CORE),
    ("sub-2", "lesion"): record("sub-2", status="excluded", reason="wrong_grid", detail="a.nii must cover it."),
    ("sub-3", "lesion"): record("sub-3", status="failed", reason="input_changed", detail="a.nii must not change."),
    ("sub-4", "lesion"): record("sub-4", content=LESION),
    ("sub-7", "lesion"): record("sub-7", content=LESION),
    ("sub-8", "lesion"): record("sub-8", content=LACUNE),
}
LISTED = ("sub-1", "sub-2", "sub-3", "sub-5", "sub-6", "sub-7", "sub-8", "sub-9")


def _scan(participant_id, modality="lesion", reason=None):
    return Scan(participant_id, modality, "MNI152", f"{modality}/{participant_id}.nii.gz", reason)


def _problem(participant_id, reason, file="participants.tsv", value=None, column=None):
    return Problem(file, 2, column, value, "must be right", "Fix it.", reason, participant_id)


def hand_made_cohort(**changes):
    """The cohort; any key of ``cohort.toml`` may be replaced."""
    participants = pd.DataFrame(
        {
            "participant_id": pd.array(LISTED, dtype="string"),
            "site": pd.array(["north"] * 4 + [None] * 4, dtype="string"),
            "split": pd.array([None] * 8, dtype="string"),
            "nihss": pd.array([8, 7, 17, 3, 42, None, 5, 11], dtype="Int64"),
            "affected": pd.array(["right", "left", None, "left", "left", "left", "left", "left"], dtype="string"),
            "smoker": pd.array([True, False, None, True, True, True, True, True], dtype="boolean"),
        }
    )
    scans = [_scan(f"sub-{number}") for number in (1, 2, 3, 4, 7, 8, 9)]
    scans += [_scan("sub-1", "core"), _scan("sub-8", "t1")]
    readings = (
        Reading("sub-1", "A", None, False, "left", flags("left", "caudate", "m2"), 8),
        Reading("sub-1", "A", None, False, "right", flags("right", "m1"), 9),
        Reading("sub-1", "A", "2", True, None, score=4),
        Reading("sub-1", "B", None, None, "left", flags("left", "caudate", "m1", "m2")),
        Reading("sub-1", "C", None, None, "left", score=8),
        Reading("sub-1", "C", None, None, "right", score=5),
        Reading("sub-1", "D", None, None, None, low=True),
    )
    return Cohort(
        folder=Path("cohort"),
        config=STUDY_MODEL.model_validate(STUDY | changes),
        participants=participants,
        scans=tuple(scans),
        readings=readings,
        problems=(
            _problem("sub-4", "scan_without_participant", "scans.tsv"),
            _problem("sub-5", "participant_without_scan"),
            _problem("sub-6", "file_missing", "scans.tsv"),
            _problem("sub-7", "out_of_range", column="nihss", value="60"),
            _problem("sub-7", "out_of_range", column="age", value="200"),
            _problem("sub-7", "dates_out_of_order"),
            Problem("participants.json", 1, "x", None, "must be y", "Z.", "unknown_description", is_warning=True),
        ),
        refused_scans=(_scan("sub-6", reason="file_missing"),),
    )


def measured():
    return Measured(RECORDS, {"wei": ASPECTS, "arteries": ARTERIES, "core": ASPECTS}, VASCULAR)


def stands(cohort):
    """Every participant's standing, as a run finds it."""
    lesions = {
        participant_id: lesion_values(MaskSource(name="lesion", kind="mask"), item.payload, VASCULAR)
        for (participant_id, modality), item in RECORDS.items()
        if item.status == "ok" and modality == "lesion"
    }
    return standings(cohort, RECORDS, lesions)


def rows(batch):
    """Columns turned into one dictionary per row."""
    return [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]


def select(batch, *names, **where):
    """Some columns of the rows that match."""
    return [
        tuple(row[name] for name in names)
        for row in rows(batch)
        if all(row[name] == value for name, value in where.items())
    ]
