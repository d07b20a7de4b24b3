"""Where participants stand: stages, reasons, analysis sets, every eligibility rule, and sums that must hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from cohorts.folder.study import EligibilitySection, SeveritySection
from cohorts.tables.participants import (
    eligibility_exclusions,
    exclusions_batch,
    participants_batch,
    severity_grade,
    standings,
)
from cohorts.tables.schemas import EXCLUSIONS, participants_table
from cohorts.tables.storage import write_table
from tests.cohorts.hand_made import RECORDS, hand_made_cohort, record, rows, select, stands

LESION = {
    "n_voxels": 50_000,
    "max_diameter_mm": 20.0,
    "volume_ml": 50.0,
    "mca_share": 0.6,
    "aca_share": 0.2,
    "pca_share": 0.1,
    "posterior_fossa_share": 0.05,
}


@pytest.fixture
def cohort():
    return hand_made_cohort()


@pytest.fixture
def found(cohort):
    return stands(cohort)


def test_every_participant_has_one_state(cohort, found):
    batch = participants_batch(cohort, found)
    names = ("participant_id", "status", "stage", "reason", "is_listed", "is_measured", "is_examined", "is_included")
    assert select(batch, *names) == [
        ("sub-1", "included", None, None, True, True, True, True),
        ("sub-2", "excluded", "intake", "wrong_grid", True, False, False, False),
        ("sub-3", "failed", "scoring", "input_changed", True, False, False, False),
        ("sub-5", "excluded", "screening", "participant_without_scan", True, False, False, False),
        ("sub-6", "excluded", "screening", "file_missing", True, False, False, False),
        ("sub-7", "excluded", "screening", "out_of_range", True, True, False, False),
        ("sub-8", "excluded", "eligibility", "lacunar", True, True, True, False),
        ("sub-9", "failed", "scoring", "not_measured", True, False, False, False),
        ("sub-4", "excluded", "screening", "scan_without_participant", False, True, False, False),
    ]


def test_who_has_only_scans_that_no_source_reads_is_left_out(cohort):
    """sub-8 with a T1 image alone; a reading would be enough to stay."""
    scans = tuple(scan for scan in cohort.scans if (scan.participant_id, scan.modality) != ("sub-8", "lesion"))
    records = {key: item for key, item in RECORDS.items() if key[0] != "sub-8"}
    without = standings(replace(cohort, scans=scans), records, {})["sub-8"]
    assert (without.status, without.is_examined) == ("excluded", False)
    assert (without.primary.stage, without.primary.reason) == ("intake", "no_scan_of_this_modality")
    assert without.primary.detail == (
        "sub-8 must have a scan of lesion or core, got others. Correct the modality or add it."
    )
    reading = replace(cohort.readings[0], participant_id="sub-8")
    read = replace(cohort, scans=scans, readings=(*cohort.readings, reading))
    assert standings(read, records, {})["sub-8"].is_examined


def test_clinical_columns_stay_typed_and_null_where_unknown(cohort, found):
    batch = participants_batch(cohort, found)
    assert select(batch, "participant_id", "site", "split", "nihss", "affected", "smoker", "severity") == [
        ("sub-1", "north", None, 8, "right", True, "moderate"),
        ("sub-2", "north", None, 7, "left", False, "mild"),
        ("sub-3", "north", None, 17, None, None, "severe"),
        ("sub-5", "north", None, 3, "left", True, "mild"),
        ("sub-6", None, None, 42, "left", True, "severe"),
        ("sub-7", None, None, None, "left", True, None),
        ("sub-8", None, None, 5, "left", True, "mild"),
        ("sub-9", None, None, 11, "left", True, "moderate"),
        ("sub-4", None, None, None, None, None, None),  # unlisted
    ]


def test_every_exclusion_is_a_row_and_one_per_participant_is_primary(found):
    batch = exclusions_batch(found)
    assert select(batch, "participant_id", "stage", "reason", "status", "is_primary") == [
        ("sub-2", "intake", "wrong_grid", "excluded", True),
        ("sub-3", "scoring", "input_changed", "failed", True),
        ("sub-5", "screening", "participant_without_scan", "excluded", True),
        ("sub-6", "screening", "file_missing", "excluded", True),
        ("sub-7", "screening", "out_of_range", "excluded", True),
        ("sub-7", "screening", "dates_out_of_order", "excluded", False),
        ("sub-8", "eligibility", "lacunar", "excluded", True),
        ("sub-9", "scoring", "not_measured", "failed", True),
        ("sub-4", "screening", "scan_without_participant", "excluded", True),
    ]
    details = dict(select(batch, "reason", "detail"))
    assert details["wrong_grid"] == "a.nii must cover it."
    assert details["lacunar"] == "maximum diameter must be > 15.0 mm, got 15.0 mm."
    assert details["not_measured"].startswith("lesion/sub-9.nii.gz must be measured, got no result.")
    # two findings of one kind are one exclusion that quotes both
    assert details["out_of_range"].count("must be right") == 2
    assert "value 60" in details["out_of_range"]
    assert "value 200" in details["out_of_range"]


def test_the_flowchart_sums(cohort, found):
    states = Counter(row["status"] for row in rows(participants_batch(cohort, found)))
    assert states == {"included": 1, "excluded": 6, "failed": 2}
    assert sum(states.values()) == len(found) == 9  # screened
    primary = [row for row in rows(exclusions_batch(found)) if row["is_primary"]]
    assert len(primary) == len({row["participant_id"] for row in primary}) == states["excluded"] + states["failed"]
    assert Counter(row["status"] for row in primary) == {"excluded": 6, "failed": 2}
    examined = [name for name, standing in found.items() if standing.is_examined]
    included = [name for name, standing in found.items() if standing.is_included]
    measured = [name for name, standing in found.items() if standing.is_measured]
    assert (examined, included) == (["sub-1", "sub-8"], ["sub-1"])
    assert measured == ["sub-1", "sub-7", "sub-8", "sub-4"]  # whatever excludes them


def test_a_reading_is_enough_to_be_measured_where_the_mask_is_broken(cohort):
    reading = replace(cohort.readings[0], participant_id="sub-2")
    standing = stands(replace(cohort, readings=(*cohort.readings, reading)))["sub-2"]
    assert (standing.primary.reason, standing.is_measured, standing.is_examined) == ("wrong_grid", True, False)


def test_the_earliest_stage_is_primary_whatever_the_order_of_finding():
    cohort = hand_made_cohort()
    problem = replace(cohort.problems[-2], participant_id="sub-3")  # a screening problem beside the failed measurement
    known = RECORDS | {("sub-3", "core"): record("sub-3", "core", "excluded", "wrong_grid", "c.nii must cover it.")}
    standing = standings(replace(cohort, problems=(problem,)), known, {})["sub-3"]
    assert [(item.stage, item.status) for item in standing.exclusions] == [
        ("screening", "excluded"),
        ("intake", "excluded"),
        ("scoring", "failed"),
    ]
    assert standing.status == "excluded"


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (("ncct: it is thick.", "ncct: it is thick."), "ncct: it is thick."),
        (("ncct: it is thick.", "dwi: it is thick."), "ncct: it is thick. dwi: it is thick."),
    ],
)
def test_what_several_sources_say_alike_is_said_once(cohort, details, expected):
    known = {
        ("sub-3", step): record("sub-3", step, "excluded", "slices_too_thick", detail)
        for step, detail in zip(("lesion", "core"), details, strict=True)
    }
    standing = standings(cohort, RECORDS | known, {})["sub-3"]
    assert [item.detail for item in standing.exclusions if item.reason == "slices_too_thick"] == [expected]


def test_the_tables_keep_their_contract(cohort, found, tmp_path):
    write_table(participants_table(cohort.config.clinical), [participants_batch(cohort, found)], tmp_path)
    write_table(EXCLUSIONS, [exclusions_batch(found)], tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_without_severity_there_is_no_grade():
    cohort = hand_made_cohort(severity=None)
    assert set(participants_batch(cohort, stands(cohort))["severity"]) == {None}


def test_a_study_of_readings_alone_misses_no_lesion():
    cohort = hand_made_cohort(source=[{"kind": "readings"}], eligibility={"minimum_max_diameter_mm": 15})
    standing = stands(cohort)["sub-9"]  # its mask is not measured, and no source wants it
    assert standing.exclusions == ()


@pytest.mark.parametrize(
    ("rules", "lesion", "reason", "detail"),
    [
        ({"minimum_max_diameter_mm": 15}, {"max_diameter_mm": 15.0}, "lacunar", "must be > 15.0 mm, got 15.0 mm."),
        ({"minimum_max_diameter_mm": 15}, {"max_diameter_mm": 15.01}, None, ""),
        ({"minimum_mca_share": 0.5}, {"mca_share": 0.499}, "outside_mca_territory", "must be >= 0.5, got 0.499."),
        ({"minimum_mca_share": 0.5}, {"mca_share": 0.5}, None, ""),
        ({"maximum_aca_share": 0.2}, {"aca_share": 0.201}, "aca_territory_involved", "must be <= 0.2, got 0.201."),
        ({"maximum_aca_share": 0.2}, {"aca_share": 0.2}, None, ""),
        (
            {"maximum_pca_share": 0.25},
            {"pca_share": 0.125, "posterior_fossa_share": 0.126},
            "posterior_circulation_involved",
            "must be <= 0.25, got 0.251.",
        ),
        ({"maximum_pca_share": 0.25}, {"pca_share": 0.125, "posterior_fossa_share": 0.125}, None, ""),
        ({"maximum_volume_ml": 500}, {"volume_ml": 860.0}, "implausible_volume", "must be <= 500.0 ml, got 860.0 ml."),
        ({"maximum_volume_ml": 500}, {"volume_ml": 500.0}, None, ""),
        ({}, {"max_diameter_mm": 0.1, "mca_share": 0.0, "volume_ml": 5000.0}, None, ""),
    ],
)
def test_each_lesion_criterion_at_its_limit(rules, lesion, reason, detail):
    found = eligibility_exclusions(EligibilitySection(**rules), LESION | lesion, {}, measures_lesion=True)
    assert [item.reason for item in found] == ([reason] if reason else [])
    for item in found:
        assert (item.stage, item.status) == ("eligibility", "excluded")
        assert detail in item.detail


def test_every_broken_criterion_is_reported():
    rules = EligibilitySection(
        minimum_max_diameter_mm=30, minimum_mca_share=0.9, maximum_aca_share=0.1, required_columns=("nihss", "age")
    )
    found = eligibility_exclusions(rules, LESION, {"nihss": pd.NA}, measures_lesion=True)
    assert [item.reason for item in found] == [
        "missing_nihss",
        "missing_age",
        "lacunar",
        "outside_mca_territory",
        "aca_territory_involved",
    ]
    assert found[0].detail == "nihss must be given, got n/a. Complete it in participants.tsv."


@pytest.mark.parametrize(
    ("rules", "measures_lesion", "reasons"),
    [
        ({"minimum_mca_share": 0.5}, True, ["lesion_not_measured"]),
        ({"minimum_mca_share": 0.5}, False, []),
        ({"required_columns": ("nihss",)}, True, []),  # no criterion is about the lesion
        ({}, True, []),
    ],
)
def test_a_missing_lesion_counts_where_a_criterion_needs_it(rules, measures_lesion, reasons):
    found = eligibility_exclusions(EligibilitySection(**rules), None, {"nihss": 4}, measures_lesion=measures_lesion)
    assert [item.reason for item in found] == reasons


@pytest.mark.parametrize(
    ("value", "grade"),
    [
        *[(0, "mild"), (7, "mild"), (8, "moderate"), (16, "moderate"), (17, "severe"), (42, "severe")],
        *[(7.5, None), (43, None), (-1, None), (None, None), (pd.NA, None), (float("nan"), None)],
    ],
)
def test_severity_grades_are_those_of_the_paper(value, grade):
    assert severity_grade(value, SeveritySection()) == grade  # Wei 2026: mild 0-7, moderate 8-16, severe 17-42
