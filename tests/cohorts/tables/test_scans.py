"""Rows of ``scans`` of native scans: the measurement that read each, its figures, notes and refusals."""

from __future__ import annotations

from dataclasses import replace

from cohorts.folder.manifest import Scan
from cohorts.folder.study import GuardsSection
from cohorts.store.findings import Findings
from cohorts.store.records import Record, StepKey
from cohorts.tables.rows import Measured
from cohorts.tables.scans import guard_flags, scans_batch
from cohorts.tables.schemas import QUALITY_FIGURES, SCANS
from cohorts.tables.storage import read_table, write_table
from tests.cohorts.hand_made import ASPECTS, VASCULAR, hand_made_cohort, rows, stands

SOURCES = [
    {"name": "mask", "kind": "mask"},
    {"name": "ct", "kind": "density_ratio"},
    {"name": "dwi", "kind": "dwi_threshold"},
]
FACTS = {
    "shape": [120, 132, 34],
    "spacing_mm": [0.45, 0.45, 5.0],
    "orientation": "LPS",
    "voxel_volume_mm3": 1.0125,
    "notes": ["hu_offset_removed", "refinement_folded"],
    "numbers": {"offset_hu": 1024.0},
}
FIGURES = {"slice_step_mm": 5.0, "n_slices": 34, "noise_hu": 3.5, "has_contrast": False, "noise_share": None}


def _record(step, payload, status="ok", reason=None, detail=None):
    return Record("sub-1", StepKey(step, "code/1", "a" * 64, "b" * 64), status, reason, detail, Findings(**payload))


CT = _record("ratio-ncct", {"scans": {"ncct": FACTS}, "quality": {"ncct": FIGURES}})
DWI = _record(
    "threshold-dwi",
    {
        "scans": {"dwi": FACTS | {"notes": []}, "adc": FACTS | {"notes": ["adc_unit_changed"]}},
        "quality": {"dwi": {"signal_to_noise": 14.0}},
    },
)


def _batch(records, *modalities):
    cohort = hand_made_cohort(source=SOURCES, rule=[])
    listed = tuple(Scan("sub-1", one, "orig", f"scans/{one}.nii.gz") for one in modalities)
    cohort = replace(cohort, scans=listed, refused_scans=())
    known = Measured({("sub-1", record.key.step): record for record in records}, {"ct": ASPECTS}, VASCULAR)
    files = {f"scans/{one}.nii.gz": ("e" * 64, 10) for one in modalities}
    return scans_batch(cohort, known, stands(cohort), files)


def _rows(records, *modalities):
    return {row["modality"]: row for row in rows(_batch(records, *modalities))}


def test_grid_notes_and_figures_of_a_scan_are_in_its_row():
    row = _rows([CT], "ncct")["ncct"]
    assert (row["status"], row["reason"], row["detail"]) == ("ok", None, None)
    assert row["shape"] == "120x132x34"
    assert row["spacing_mm"] == "0.45x0.45x5"
    assert row["notes"] == "hu_offset_removed, refinement_folded"
    assert {name: row[name] for name in FIGURES} == FIGURES
    others = {column.name for column in QUALITY_FIGURES} - set(FIGURES)
    assert {row[name] for name in others} == {None}


def test_every_scan_of_a_measurement_has_its_own_facts():
    found = _rows([DWI], "dwi", "adc")
    assert found["dwi"]["notes"] is None
    assert found["adc"]["notes"] == "adc_unit_changed"
    assert found["dwi"]["signal_to_noise"] == 14.0
    assert found["adc"]["signal_to_noise"] is None  # figures are of the image that is registered
    assert found["adc"]["status"] == "ok"


def test_a_refused_scan_keeps_what_was_measured_and_says_why():
    detail = "ncct: noise_hu must be <= 12.5 HU, got 14 HU. Use a smoother reconstruction."
    row = _rows([replace(CT, status="excluded", reason="noise_too_high", detail=detail)], "ncct")["ncct"]
    assert (row["status"], row["reason"], row["detail"]) == ("excluded", "noise_too_high", detail)
    assert row["noise_hu"] == 3.5
    assert row["shape"] == "120x132x34"


def test_a_scan_that_could_not_be_read_has_its_reason_and_no_numbers():
    refused = _record("ratio-ncct", {}, "excluded", "truncated_file", "a.nii must be whole.")
    row = _rows([refused], "ncct")["ncct"]
    assert (row["reason"], row["detail"]) == ("truncated_file", "a.nii must be whole.")
    assert row["shape"] is row["notes"] is row["noise_hu"] is None
    assert row["sha256"] == "e" * 64


def test_scans_that_no_source_reads_say_so():
    found = _rows([CT], "ncct", "cta")
    assert (found["cta"]["status"], found["cta"]["reason"]) == ("excluded", "modality_not_used")
    assert found["cta"]["detail"] is None


def test_the_rows_keep_the_contract_and_come_back(tmp_path):
    write_table(SCANS, [_batch([CT, DWI], "ncct", "dwi", "adc", "cta")], tmp_path)
    table = read_table(tmp_path / "scans.parquet").set_index("modality")
    assert table["status"].tolist() == ["ok", "ok", "ok", "excluded"]
    assert table.loc["ncct", "noise_hu"] == 3.5
    assert table["n_slices"].isna().tolist() == [False, True, True, True]


def test_flags_follow_the_studys_thresholds():
    figures = {"chronic_volume_ml": 1.6, "haemorrhage_volume_ml": 0.9, "hyperdense_mca_hu": 50.0}
    names = ("chronic_suspected", "haemorrhage_suspected", "hyperdense_mca_suspected")
    flags = guard_flags(figures, GuardsSection().thresholds)
    assert flags == dict(zip(names, (True, False, None), strict=True))  # the artery's other side was not in view
    own = GuardsSection(chronic_volume_ml=2, haemorrhage_volume_ml=0.5).thresholds
    assert guard_flags(figures, own) == dict(zip(names, (False, True, None), strict=True))
    assert guard_flags({}, own) == dict.fromkeys(names)
