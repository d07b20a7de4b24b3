"""Which lesions are compared, and the row of every participant and pair."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cohorts.folder.manifest import Scan
from cohorts.store.findings import Findings
from cohorts.store.overlap_findings import OverlapFindings, RegionOverlap, RegionOverlapFindings
from cohorts.store.records import Record, StepKey
from cohorts.tables.participants import Standing
from cohorts.tables.rows import MapUse, Measured
from cohorts.tables.schemas import SEGMENTATION
from cohorts.tables.segmentation import LesionPair, lesion_pairs, segmentation_batch
from cohorts.tables.storage import write_table
from models.anatomy.template import load_label_map
from tasks.anatomy import Label, LabelTable, aspects_label_table
from tasks.overlap import MaskOverlap
from tests.cohorts.hand_made import hand_made_cohort

SOURCES = [
    {"name": "algorithm", "kind": "dwi_threshold"},
    {"name": "manual", "kind": "native_mask"},
    {"name": "manual-any", "kind": "native_mask", "rule": "any"},
    {"name": "warped", "kind": "mask"},
    {"name": "warped-2", "kind": "mask", "modality": "lesion-2"},
    {"name": "ct", "kind": "density_ratio"},
    {"name": "core", "kind": "ctp_core"},
    {"name": "on-ct", "kind": "native_mask", "modality": "ct-lesion", "scan": "ncct"},
]
NATIVE = LesionPair("threshold-dwi", "native-dwi-lesion")
TEMPLATE = LesionPair("lesion", "lesion-2")
OVERLAP = MaskOverlap("both", 0.8, 0.9, 2.5, -1.0, 10.0, 1.0, 1, 1, 1, 0)
EMPTY = MaskOverlap("both_empty", None, None, None, 0.0, 0.0, None, 0, 0, 0, 0)


def _cohort(**changes):
    return hand_made_cohort(source=SOURCES, rule=[], **changes)


def test_lesions_on_one_grid_are_pairs_and_those_of_one_measurement_are_none():
    assert lesion_pairs(_cohort().config) == (NATIVE, TEMPLATE)
    assert NATIVE.name == "overlap:threshold-dwi:native-dwi-lesion"


def test_an_agreement_that_is_asked_for_says_which_is_the_reference():
    turned = LesionPair(NATIVE.candidate, NATIVE.reference)
    asked = [{"reference": "manual-any", "candidate": "algorithm"}, {"reference": "manual", "candidate": "on-ct"}]
    assert lesion_pairs(_cohort(agreement=asked).config) == (turned, TEMPLATE)
    both = [*asked, {"reference": "algorithm", "candidate": "manual"}]
    assert lesion_pairs(_cohort(agreement=both).config) == (NATIVE, TEMPLATE)


def _record(status="ok", reason=None, payload=None):
    detail = None if reason is None else "a must b, got c."
    key = StepKey("step", "code", "input", "settings")
    return Record("sub-1", key, status, reason, detail, payload or Findings())


@pytest.mark.parametrize(
    ("sides", "overlap", "expected"),
    [
        ((_record(), _record()), _record(payload=OverlapFindings(overlap=OVERLAP)), ("ok", None, 0.8, 2.5, "both")),
        (
            (_record(), _record()),
            _record(payload=OverlapFindings(overlap=EMPTY)),
            ("ok", None, None, None, "both_empty"),
        ),
        ((_record(), _record()), _record("excluded", "grids_differ"), ("excluded", "grids_differ", None, None, None)),
        ((_record(), _record()), None, ("failed", "not_measured", None, None, None)),
        (
            (_record(), _record("excluded", "noise_too_high")),  # as a gate judges a lesion that was compared before
            _record(payload=OverlapFindings(overlap=OVERLAP)),
            ("excluded", "noise_too_high", None, None, None),
        ),
        ((None, _record()), None, ("excluded", "no_scan_of_this_modality", None, None, None)),
        ((_record("failed", "timed_out"), None), None, ("failed", "timed_out", None, None, None)),
    ],
)
def test_every_participant_has_a_row_for_every_pair(sides, overlap, expected, tmp_path):
    vascular = load_label_map("vascular")
    records = {("sub-1", name): one for name, one in zip((NATIVE.reference, NATIVE.candidate), sides, strict=True)}
    records = {key: one for key, one in records.items() if one is not None}
    measured = Measured(records, {}, MapUse(vascular.sha256, vascular.table))
    overlaps = {} if overlap is None else {("sub-1", NATIVE.name): overlap}
    batch = segmentation_batch(_cohort(), measured, {"sub-1": Standing(True, ())}, overlaps)
    write_table(SEGMENTATION, [batch], tmp_path)
    names = ("status", "reason", "dice", "hd95_mm", "presence")
    assert tuple(batch[name][0] for name in names) == expected
    assert (batch["reference"], batch["candidate"]) == (["threshold-dwi", "lesion"], ["native-dwi-lesion", "lesion-2"])
    assert batch["reason"][1] == "no_scan_of_this_modality"
    without = segmentation_batch(
        _cohort(), replace(measured, absent={"algorithm": "no weights"}), {"sub-1": Standing(True, ())}, overlaps
    )
    assert without["reference"] == ["lesion"]


DRAWN = [{"name": "drawn", "modality": "ct-regions"}]
#: Two regions that our map has, and one that it has not.
GIVEN = LabelTable(
    (
        Label(1, "a", "left", "caudate", "deep"),
        Label(2, "b", "right", "m1", "cortical"),
        Label(3, "c", "midline", "brainstem", "other"),
    )
)
AGREED = RegionOverlapFindings(
    regions=(
        RegionOverlap(side="left", region="caudate", overlap=replace(OVERLAP, dice=0.6)),
        RegionOverlap(side="right", region="m1", overlap=EMPTY),
    )
)


@pytest.mark.parametrize(
    ("scan", "record", "overlap", "expected"),
    [
        (None, _record(), _record(payload=AGREED), ("ok", None, [0.6, None])),
        (None, _record(), _record("excluded", "labels_not_on_scan"), ("excluded", "labels_not_on_scan", [None, None])),
        (None, _record(), None, ("failed", "not_measured", [None, None])),
        (None, _record("excluded", "noisy"), _record(payload=AGREED), ("excluded", "noisy", [None, None])),
        ("file_missing", _record(), None, ("excluded", "file_missing", [None, None])),
        ("absent", _record(), None, ("excluded", "no_scan_of_this_modality", [None, None])),
    ],
)  # fmt: skip
def test_drawn_regions_have_a_row_for_every_side_and_region(scan, record, overlap, expected, tmp_path):
    vascular = load_label_map("vascular")
    cohort = _cohort(drawn_regions=DRAWN)
    one = Scan("sub-1", "ct-regions", None, "r.nii.gz", scan)
    cohort = replace(
        cohort, scans=(one,) if scan is None else (), refused_scans=(one,) if scan == "file_missing" else ()
    )
    maps = {"ct": MapUse("aspects", aspects_label_table())}
    measured = Measured({("sub-1", "ratio-ncct"): record}, maps, MapUse(vascular.sha256, vascular.table))
    overlaps = {} if overlap is None else {("sub-1", "regions:drawn:ct"): overlap}
    batch = segmentation_batch(cohort, measured, {"sub-1": Standing(True, ())}, overlaps, {"drawn": GIVEN})
    write_table(SEGMENTATION, [batch], tmp_path)
    rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    rows = [row for row in rows if row["region"]]
    assert [(row["reference"], row["candidate"], row["label"]) for row in rows] == [
        ("drawn", "ct", "left_caudate"),
        ("drawn", "ct", "right_m1"),
    ]
    assert [(row["side"], row["region"]) for row in rows] == [("left", "caudate"), ("right", "m1")]
    assert {(row["status"], row["reason"]) for row in rows} == {expected[:2]}
    assert [row["dice"] for row in rows] == expected[2]
    assert {row["lesion_f1"] for row in rows} | {row["n_reference_lesions"] for row in rows} == {None}
    if expected[0] == "ok":
        assert [row["presence"] for row in rows] == ["both", "both_empty"]
        assert [row["reference_volume_ml"] for row in rows] == [10, 0]
