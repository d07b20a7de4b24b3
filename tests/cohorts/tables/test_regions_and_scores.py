"""Rows of scans, lesions, regions and scores, worked by hand from a cohort in every state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cohorts.folder.manifest import Reading
from cohorts.store.findings import RegionCounts
from cohorts.tables import regions_and_scores as compilation
from cohorts.tables.lesions import lesion_measurements, lesion_values, lesions_batch
from cohorts.tables.regions_and_scores import regions_and_scores
from cohorts.tables.rows import MapUse
from cohorts.tables.scans import scans_batch
from cohorts.tables.schemas import LESIONS, REGIONS, SCANS, SCORES
from cohorts.tables.storage import write_table
from flows.sources.mask import MaskSource
from tasks.anatomy import ASPECTS_REGIONS, Label, LabelTable
from tests.cohorts.hand_made import (
    LACUNE,
    LESION,
    RECORDS,
    VASCULAR,
    hand_made_cohort,
    measured,
    record,
    rows,
    select,
    stands,
)

DRAWN = MaskSource(name="lesion", kind="mask")

FILES = {"lesion/sub-1.nii.gz": ("f" * 64, 1234)}
#: Numbers that a participant without a measurement must not have.
NUMBERS = {
    "lesions": [column.name for column in LESIONS.columns if column.type in ("float64", "int64")],
    "scores": ["score_left", "score_right", "score", "scored_side", "low_score_probability"],
    "regions": ["n_region_voxels", "n_lesion_voxels", "lesion_volume_ml", "fraction", "probability", "affected"],
}


@pytest.fixture
def cohort():
    return hand_made_cohort()


def _tables(cohort, known=None):
    batches = list(regions_and_scores(cohort, known or measured(), stands(cohort)))
    merged = []
    for place in (0, 1):
        columns = {name: [] for name in batches[0][place]}
        for batch in batches:
            for name, values in batch[place].items():
                columns[name] += values
        merged.append(columns)
    return merged


def _scores_of(cohort, participant_id="sub-1", known=None):
    _, scores = _tables(cohort, known)
    return {row["source"]: row for row in rows(scores) if row["participant_id"] == participant_id}


def test_scans(cohort):
    batch = scans_batch(cohort, measured(), stands(cohort), FILES)
    assert select(batch, "participant_id", "modality", "status", "reason") == [
        ("sub-1", "lesion", "ok", None),
        ("sub-2", "lesion", "excluded", "wrong_grid"),
        ("sub-3", "lesion", "failed", "input_changed"),
        ("sub-4", "lesion", "ok", None),
        ("sub-7", "lesion", "ok", None),
        ("sub-8", "lesion", "ok", None),
        ("sub-9", "lesion", "failed", "not_measured"),
        ("sub-1", "core", "ok", None),
        ("sub-8", "t1", "excluded", "modality_not_used"),
        ("sub-6", "lesion", "excluded", "file_missing"),
    ]
    first, second = rows(batch)[:2]
    assert {name: value for name, value in first.items() if value is not None} == {
        "participant_id": "sub-1",
        "modality": "lesion",
        "space": "MNI152",
        "path": "lesion/sub-1.nii.gz",
        "sha256": "f" * 64,
        "size_bytes": 1234,
        "shape": "7x8x9",
        "spacing_mm": "1x1x2",
        "orientation": "LAS",
        "voxel_volume_mm3": 2.0,
        "status": "ok",
    }
    assert (second["reason"], second["detail"]) == ("wrong_grid", "a.nii must cover it.")
    assert [second[name] for name in ("sha256", "size_bytes", "shape", "spacing_mm", "voxel_volume_mm3")] == [None] * 5


def test_lesions(cohort):
    batch = lesions_batch(cohort, measured(), stands(cohort))
    assert select(batch, "participant_id", "source", "status", "reason") == [
        ("sub-1", "lesion", "ok", None),
        ("sub-1", "core", "ok", None),
        ("sub-2", "lesion", "excluded", "wrong_grid"),
        ("sub-2", "core", "excluded", "no_scan_of_this_modality"),
        ("sub-3", "lesion", "failed", "input_changed"),
        ("sub-3", "core", "excluded", "no_scan_of_this_modality"),
        ("sub-5", "lesion", "excluded", "participant_without_scan"),
        ("sub-5", "core", "excluded", "participant_without_scan"),
        ("sub-6", "lesion", "excluded", "file_missing"),
        ("sub-6", "core", "excluded", "file_missing"),
        ("sub-7", "lesion", "ok", None),
        ("sub-7", "core", "excluded", "out_of_range"),
        ("sub-8", "lesion", "ok", None),
        ("sub-8", "core", "excluded", "no_scan_of_this_modality"),  # not: lacunar, which is about the lesion
        ("sub-9", "lesion", "failed", "not_measured"),
        ("sub-9", "core", "failed", "not_measured"),
        ("sub-4", "lesion", "ok", None),
        ("sub-4", "core", "excluded", "scan_without_participant"),
    ]


def test_lesion_values_sum_the_territories():
    values = lesion_values(DRAWN, RECORDS["sub-1", "lesion"].payload, VASCULAR)
    assert values == {
        "volume_ml": 0.2,  # 100 voxels of 2 mm3
        "n_voxels": 100,
        "n_components": 2,
        "max_diameter_mm": 40.0,
        "side": "left",
        "volume_left_ml": 0.15,
        "volume_right_ml": 0.05,
        "mca_share": 0.7,  # 60 of left_mca and 10 of left_mca_deep among 100 voxels
        "aca_share": 0.0,
        "pca_share": 0.05,
        "posterior_fossa_share": 0.0,
        "mca_infarcted_left": 0.35,  # 70 of the 200 voxels of mca and mca_deep
        "mca_infarcted_right": 0.0,
    }
    assert lesion_values(DRAWN, LACUNE, VASCULAR)["posterior_fossa_share"] == 1.0


def test_a_territory_that_is_not_on_the_grid_has_no_share():
    arteries = MapUse("vascular", LabelTable((Label(1, "right_mca", "right", "mca", "other"),)))
    counts = {"vascular": RegionCounts(labels=(1,), n_region=(0,), n_lesion=(0,), coverage=(0.0,))}
    values = lesion_values(DRAWN, LESION.adding(counts=counts), arteries)
    assert (values["mca_infarcted_left"], values["mca_infarcted_right"], values["mca_share"]) == (None, None, 0.0)


def test_regions_of_one_participant(cohort):
    regions, _ = _tables(cohort)
    names = ("side", "region", "n_region_voxels", "n_lesion_voxels", "lesion_volume_ml", "fraction", "affected")
    mine = {
        row[:2]: row[2:]
        for row in select(regions, *names, participant_id="sub-1", source="wei", rule="wei", status="ok", reason=None)
    }
    assert len(mine) == 20
    assert mine["left", "caudate"] == (100, 1, 0.002, 0.01, True)
    assert mine["left", "m2"] == (100, 34, 0.068, 0.34, True)
    assert mine["right", "m1"] == (100, 33, 0.066, 0.33, False)  # below a third
    assert mine["right", "caudate"] == (100, 0, 0.0, 0.0, False)
    core = {
        row[:2]: row[2]
        for row in select(regions, "side", "region", "affected", participant_id="sub-1", source="core", rule="load")
    }
    # deep >= .05, cortical >= .01, and at least 2 voxels: right_m3 has one
    assert {key for key, affected in core.items() if affected} == {
        ("left", "caudate"),
        ("right", "m1"),
        ("right", "m2"),
    }


def test_regions_of_a_map_that_is_not_aspects_have_fractions_and_no_flag(cohort):
    regions, _ = _tables(cohort)
    names = ("side", "region", "n_lesion_voxels", "fraction", "affected", "status")
    assert select(regions, *names, participant_id="sub-1", source="arteries") == [
        ("left", "mca", 30, 0.3, None, "ok"),
        ("right", "mca", 0, 0.0, None, "ok"),
    ]


def test_a_region_that_is_not_on_the_grid_is_excluded_and_has_no_fraction(cohort):
    cut_off = RegionCounts(labels=(1, 2), n_region=(100, 0), n_lesion=(30, 0), coverage=(1.0, 1.0))
    content = LESION.adding(counts={**LESION.counts, "arteries": cut_off})
    known = replace(measured(), records=RECORDS | {("sub-1", "lesion"): record("sub-1", content=content)})
    regions, _ = _tables(cohort, known)
    names = ("side", "status", "reason", *NUMBERS["regions"])
    cut_off = select(regions, *names, participant_id="sub-1", source="arteries")[1]
    assert cut_off == ("right", "excluded", "region_not_covered", *[None] * len(NUMBERS["regions"]))


def test_readers_flags_are_regions_without_fractions(cohort):
    regions, _ = _tables(cohort)
    names = ("side", "region", "fraction", "n_lesion_voxels", "rule", "status")
    affected = select(regions, *names, participant_id="sub-1", source="reader:A", affected=True)
    assert affected == [
        ("left", "caudate", None, None, "reader", "ok"),
        ("left", "m2", None, None, "reader", "ok"),
        ("right", "m1", None, None, "reader", "ok"),
    ]
    by_source = {row["source"] for row in rows(regions) if row["rule"] == "reader"}
    assert by_source == {"reader:A", "reader:B"}  # C, D and A's second session gave no flags
    assert len(select(regions, "region", source="reader:B")) == len(ASPECTS_REGIONS)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # left, right, score, side, low probability
        ("wei", (8, 10, 8, "left", None)),
        ("core", (9, 8, 9, "left", None)),  # the left holds more lesion, though the right scores lower
        ("reader:A", (8, 9, 8, "left", None)),
        ("reader:A:2", (None, None, 4, None, None)),
        ("reader:B", (7, None, 7, "left", None)),
        ("reader:C", (8, 5, 5, "right", None)),  # a score per side, no flags
        ("reader:D", (None, None, None, None, 1.0)),
    ],
)
def test_scores_of_every_kind_of_source(cohort, source, expected):
    row = _scores_of(cohort)[source]
    names = ("score_left", "score_right", "score", "scored_side", "low_score_probability")
    assert tuple(row[name] for name in names) == expected
    assert (row["status"], row["reason"], row["weights_state"]) == ("ok", None, "none")


def test_scores_carry_rule_laterality_and_assistance(cohort):
    found = _scores_of(cohort)
    assert {name: (row["rule"], row["laterality"], row["template_assisted"]) for name, row in found.items()} == {
        "wei": ("wei", "worst", None),
        "arteries": ("any", "worst", None),
        "core": ("load", "lesion_side", None),
        "reader:A": ("reader", "worst", False),
        "reader:A:2": ("reader", "worst", True),
        "reader:B": ("reader", "worst", None),
        "reader:C": ("reader", "worst", None),
        "reader:D": ("reader", "worst", None),
    }


def test_a_map_that_is_not_aspects_gives_no_score(cohort):
    row = _scores_of(cohort)["arteries"]
    assert (row["score"], row["status"], row["reason"]) == (None, "excluded", "not_an_aspects_map")


def test_scores_of_participants_without_a_measurement_say_why(cohort):
    _, scores = _tables(cohort)
    without = [
        row for row in select(scores, "participant_id", "status", "reason", source="wei", score=None) if row[1] != "ok"
    ]
    assert without == [
        ("sub-2", "excluded", "wrong_grid"),
        ("sub-3", "failed", "input_changed"),
        ("sub-5", "excluded", "participant_without_scan"),
        ("sub-6", "excluded", "file_missing"),
        ("sub-9", "failed", "not_measured"),
    ]
    assert [row for row in select(scores, "participant_id", "score", source="wei") if row[1] is not None] == [
        ("sub-1", 8),
        ("sub-7", 8),  # excluded at screening, measured all the same
        ("sub-8", 10),
        ("sub-4", 8),
    ]


def test_where_the_status_is_not_ok_every_number_is_null(cohort):
    regions, scores = _tables(cohort)
    lesions = lesions_batch(cohort, measured(), stands(cohort))
    for table, batch in (("regions", regions), ("scores", scores), ("lesions", lesions)):
        bad = [row for row in rows(batch) if row["status"] != "ok"]
        assert bad, table
        for row in bad:
            assert row["reason"], row
            assert [row[name] for name in NUMBERS[table]] == [None] * len(NUMBERS[table]), row
        for row in rows(batch):
            assert not any(value == -1 for value in row.values() if isinstance(value, int | float)), row


def test_a_failed_measurement_keeps_its_region_rows(cohort):
    regions, _ = _tables(cohort)
    assert len(select(regions, "region", participant_id="sub-3", status="failed", reason="input_changed")) == 20 + 2
    assert select(regions, "region", participant_id="sub-5") == []  # nothing was ever there to measure


@pytest.mark.parametrize(
    ("clinical_side", "expected"),
    [
        ("left", (8, "left", "ok", None)),
        ("right", (10, "right", "ok", None)),
        (None, (None, None, "excluded", "clinical_side_missing")),
    ],
)
def test_the_clinical_side_chooses_the_score(clinical_side, expected):
    cohort = hand_made_cohort(source=[{"name": "wei", "kind": "mask", "laterality": "clinical_side"}])
    cohort.participants.loc[0, "affected"] = clinical_side
    row = _scores_of(cohort)["wei"]
    assert tuple(row[name] for name in ("score", "scored_side", "status", "reason")) == expected
    assert (row["score_left"], row["score_right"]) == (8, 10)


@pytest.mark.parametrize(
    ("clinical_side", "reader", "expected"),
    [
        ("right", "A", (9, "right", "ok", None)),
        (None, "A", (None, None, "excluded", "clinical_side_missing")),
        ("left", "B", (7, "left", "ok", None)),
        ("right", "B", (None, None, "excluded", "clinical_side_not_read")),
        (None, "B", (7, "left", "ok", None)),  # the one side that was read
    ],
)
def test_the_clinical_side_chooses_a_readers_score(clinical_side, reader, expected):
    cohort = hand_made_cohort(source=[{"kind": "readings", "laterality": "clinical_side"}])
    cohort.participants.loc[0, "affected"] = clinical_side
    row = _scores_of(cohort)[f"reader:{reader}"]
    assert tuple(row[name] for name in ("score", "scored_side", "status", "reason")) == expected


def test_both_sides_of_a_reader_count_together():
    cohort = hand_made_cohort(source=[{"kind": "readings", "laterality": "both"}])
    found = _scores_of(cohort)
    assert (found["reader:A"]["score"], found["reader:A"]["scored_side"]) == (7, "both")
    assert found["reader:C"]["score"] == 3


def test_a_reading_that_gives_no_score_is_excluded(cohort):
    reading = Reading("sub-2", "E", None, None, "left", {})
    row = _scores_of(replace(cohort, readings=(reading,)), "sub-2")["reader:E"]
    assert (row["score"], row["status"], row["reason"]) == (None, "excluded", "reading_without_score")


def test_a_scan_that_a_reader_could_not_read_is_excluded_under_that_reason(cohort):
    reading = Reading("sub-2", "E", None, False, None, not_readable="motion")
    row = _scores_of(replace(cohort, readings=(reading,)), "sub-2")["reader:E"]
    assert (row["score"], row["status"], row["reason"]) == (None, "excluded", "scan_not_readable")


def test_readings_are_dropped_when_the_study_does_not_declare_them():
    cohort = hand_made_cohort(source=[{"name": "wei", "kind": "mask"}])
    assert set(_scores_of(cohort)) == {"wei"}


def test_batches_hold_some_participants_each_and_all_together(cohort, monkeypatch):
    whole = _tables(cohort)
    monkeypatch.setattr(compilation, "PARTICIPANTS_PER_BATCH", 4)
    assert len(list(regions_and_scores(cohort, measured(), stands(cohort)))) == 3  # nine participants
    assert _tables(cohort) == whole


def test_the_tables_keep_their_contract(cohort, tmp_path):
    found = stands(cohort)
    write_table(SCANS, [scans_batch(cohort, measured(), found, FILES)], tmp_path)
    write_table(LESIONS, [lesions_batch(cohort, measured(), found)], tmp_path)
    batches = list(regions_and_scores(cohort, measured(), found))
    write_table(REGIONS, [regions for regions, _ in batches], tmp_path)
    write_table(SCORES, [scores for _, scores in batches], tmp_path)
    assert len(list(tmp_path.glob("*.parquet"))) == 4


def test_rules_from_the_study_file():
    cuts = dict.fromkeys(ASPECTS_REGIONS, 0.5) | {"insula": 0.2}
    cohort = hand_made_cohort(
        source=[
            {"name": "built-in", "kind": "mask", "rule": "danet"},
            {"name": "fraction", "kind": "mask", "rule": "mine"},
            {"name": "region", "kind": "mask", "rule": "loads"},
        ],
        rule=[
            {"name": "mine", "kind": "fraction", "deep": 0.1, "cortical": 0.4, "operator": "gt", "minimum_voxels": 3},
            {"name": "loads", "kind": "per_region", "cuts": cuts, "operator": "ge"},
        ],
    )
    built_in, fraction, region = (cohort.config.rule_of(source) for source in cohort.config.computed_sources)
    assert built_in.name == "danet"
    assert (fraction.cuts["insula"], fraction.cuts["m6"], fraction.minimum_voxels) == (("gt", 0.1), ("gt", 0.4), 3)
    assert (region.cuts["insula"], region.cuts["m6"], region.minimum_voxels) == (("ge", 0.2), ("ge", 0.5), 1)


def test_a_modality_of_two_sources_is_measured_once(cohort):
    assert lesion_measurements(cohort.config) == ("lesion", "core")
