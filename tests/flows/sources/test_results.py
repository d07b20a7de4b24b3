"""A table of software that nobody sells, in its own columns: what every row of it becomes, worked by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from openpyxl import Workbook
from pydantic import ValidationError

from cohorts.folder.manifest import CohortError
from cohorts.tables.storage import read_table
from flows.run.plan import make_plan, run_digest
from flows.run.publishing import write_tables
from flows.sources.registry import STUDY, read_cohort
from reports.pages.remedies import remedy
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES

COLUMNS = {
    "Wert": "score",
    "Seite": "side",
    "Regionen": "regions",
    "Kern [ml]": "volume_ml",
    "Version": "version",
    "Datum": "run_on",
    "Status": "failure",
}
ACME = {"name": "acme", "kind": "results", "file": "acme.csv", "id": "Patient ID", "id_digits": 3, "dates": "dmy"}
ROWS = """\
Patient ID;Name;Wert;Seite;Regionen;Kern [ml];Version;Datum;Status
1;Meier;8;links;M1, IC;12,5;2.1;03.04.2025;OK
2;Meier;;;;;2.1;03.04.2025;Failed: motion
003;Meier;error 17;;;;2.2;;
4;Meier;7;links;M1;3;2.2;;
5;Meier;sieben;links;;3;2.2;;
6;Meier;10;;none;0;2.2;;
6;Schmidt;10;;none;0;2.2;;
7;Meier;9;rechts;;1;2.2;;
7;Meier;6;rechts;;30;2.2;;
9;Meier;;;;;2.2;;
77;Meier;9;;;;2.2;;
;Meier;9;;;;2.2;;
"""
STUDY_FILE = """\
clinical_side = "affected"

[study]
name = "Vendor"

[[clinical]]
column = "affected"
read_as = "category"
levels = { left = "left", right = "right" }

[[source]]
kind = "readings"

"""


def _toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {_toml(item)}' for key, item in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _cohort(folder, table, source=None, name="acme.csv"):
    """Nine listed participants, of whom one has no reading, and one table."""
    people = "".join(f"sub-{k:03d}\t{'left' if k < 5 else 'right'}\n" for k in range(1, 10))
    (folder / "participants.tsv").write_text(f"participant_id\taffected\n{people}")
    read = "".join(f"sub-{k:03d}\tA\tn/a\t{k}\n" for k in range(1, 9))
    (folder / "readings.tsv").write_text(f"participant_id\treader\tside\tscore\n{read}")
    declared = source or ACME | {"columns": COLUMNS}
    lines = "".join(f"{key} = {_toml(value)}\n" for key, value in declared.items())
    (folder / "cohort.toml").write_text(f"{STUDY_FILE}[[source]]\n{lines}")
    (folder / name).write_bytes(table if isinstance(table, bytes) else table.replace("\n", "\r\n").encode("cp1252"))
    return folder


def _tables(folder, out):
    plan = make_plan(folder, out)
    out.mkdir(exist_ok=True)
    write_tables(plan, out, out)
    return {name: read_table(out / f"{name}.parquet") for name in ("scores", "lesions", "regions", "exclusions")} | {
        "provenance": read_table(out / "provenance.parquet")
    }


def _of(table, **where):
    for name, value in where.items():
        table = table[table[name] == value]
    return table


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("acme")
    return _tables(_cohort(folder, ROWS), folder / "out")


@pytest.mark.parametrize(
    ("number", "score", "side", "status", "reason"),
    [
        (1, 8, "left", "ok", None),
        (2, None, None, "excluded", "vendor_failed_motion"),
        (3, None, None, "excluded", "vendor_error_17"),
        (4, None, None, "excluded", "result_unreadable"),  # one region is 9 points, not 7
        (5, None, None, "excluded", "result_unreadable"),
        (6, 10, None, "ok", None),  # two rows that differ in a column that is not read
        (7, None, None, "excluded", "results_differ"),
        (8, None, None, "excluded", "not_in_results"),
        (9, None, None, "excluded", "result_empty"),
    ],
)
def test_every_participant_has_a_row_with_a_score_or_a_reason(tables, number, score, side, status, reason):
    (row,) = _of(tables["scores"], source="acme", participant_id=f"sub-{number:03d}").to_dict("records")
    found = {key: None if pd.isna(row[key]) else row[key] for key in ("score", "scored_side", "status", "reason")}
    assert found == {"score": score, "scored_side": side, "status": status, "reason": reason}
    if reason:
        assert len(remedy("intake", reason)) > 60


def test_volumes_stand_among_the_lesions_and_versions_in_the_provenance(tables):
    volumes = _of(tables["lesions"], source="acme").set_index("participant_id")
    assert volumes.loc["sub-001", ["volume_ml", "side", "status"]].tolist() == [12.5, "left", "ok"]
    assert volumes.loc["sub-006", "volume_ml"] == 0
    assert volumes.loc["sub-009", ["status", "reason"]].tolist() == ["excluded", "result_empty"]
    steps = _of(tables["provenance"], step="results-acme").set_index("participant_id")
    assert steps.loc["sub-001", ["software_version", "software_run_on"]].tolist() == ["2.1", "2025-04-03"]
    assert steps.loc["sub-002", "software_version"] == "2.1"  # of a failure, too
    assert steps.loc["sub-002", "detail"] == "acme.csv, row 3: the software says Failed: motion."


def test_named_regions_are_affected_on_the_side_of_the_row_and_nothing_is_said_of_the_other(tables):
    regions = _of(tables["regions"], source="acme", participant_id="sub-001")
    left, right = (regions[regions["side"] == side].set_index("region") for side in HEMISPHERES)
    assert set(left.index[left["affected"].astype(bool)]) == {"m1", "internal_capsule"}
    assert set(right["reason"]) == {"region_not_given"}
    assert len(_of(tables["regions"], source="acme")) == 9 * 20


def test_a_failure_of_software_takes_nobody_out_who_was_read(tables):
    """Patient 9 has neither a reading nor a result, and no other is lost."""
    assert set(tables["exclusions"]["participant_id"]) == {"sub-009"}
    assert len(_of(tables["scores"], source="reader:A", status="ok")) == 8


def test_what_cannot_be_used_is_told_before_the_run(tmp_path):
    problems = read_cohort(_cohort(tmp_path, ROWS)).problems
    assert all(problem.is_warning for problem in problems)
    told = {problem.reason: problem.text for problem in problems}
    assert "acme.csv, row 6, column Wert: value sieben must be a whole number" in told["not_a_whole_number"]
    assert "9 on the left" in told["score_differs_from_regions"]
    assert "(2.1: 2, 2.2: 6)" in told["results_of_several_versions"]
    rows = [problem.text for problem in problems if problem.reason == "results_without_participant"]
    assert any("1 is not (sub-077)" in text for text in rows)
    assert any("row 13" in text for text in rows)


def test_a_newer_table_makes_the_results_again(tmp_path):
    folder = _cohort(tmp_path, ROWS)
    before = run_digest(make_plan(folder, tmp_path / "out"))
    assert run_digest(make_plan(folder, tmp_path / "out")) == before
    _cohort(tmp_path, ROWS.replace("Meier", "Huber"))  # a column that is not read
    assert run_digest(make_plan(folder, tmp_path / "out")) == before
    _cohort(tmp_path, ROWS.replace("12,5", "12,6"))
    assert run_digest(make_plan(folder, tmp_path / "out")) != before


def _probabilities(folder, *, laterality="worst"):
    names = [f"{side}_{region}" for side in HEMISPHERES for region in ASPECTS_REGIONS]
    low = ["62 %"] + ["0.7"] * 3 + ["0.1"] * 6 + ["0.69"] * 10
    table = ",".join(["id", "p", *names]) + "\n" + ",".join(["001", *low[:1], *low[1:], "0.7"]) + "\n"
    source = {
        "name": "net",
        "kind": "results",
        "file": "acme.csv",
        "id": "id",
        "region_cells": "probabilities",
        "cut": 0.7,
        "laterality": laterality,
        "columns": {"p": "low_score_probability", **{name: name for name in names}},
    }
    return _tables(_cohort(folder, table, source), folder / "out")


def test_probabilities_are_cut_as_declared(tmp_path):
    """Left: three of .7, right: one of .7 behind nine of .69."""
    tables = _probabilities(tmp_path)
    (row,) = _of(tables["scores"], source="net", participant_id="sub-001").to_dict("records")
    assert (row["score_left"], row["score_right"], row["score"], row["scored_side"]) == (7, 9, 7, "left")
    assert (row["rule"], row["low_score_probability"]) == ("probability-70", pytest.approx(0.62))
    regions = _of(tables["regions"], source="net", participant_id="sub-001")
    assert regions["affected"].sum() == 4
    assert regions["probability"].max() == 0.7


def test_a_score_of_the_other_side_is_not_that_of_the_clinical_side(tmp_path):
    table = "Patient;A;S\n1;8;left\n6;8;left\n"
    source = ACME | {"id": "Patient", "columns": {"A": "score", "S": "side"}, "laterality": "clinical_side"}
    scores = _of(_tables(_cohort(tmp_path, table, source), tmp_path / "out")["scores"], source="acme")
    found = scores.set_index("participant_id")
    assert found.loc["sub-001", "score"] == 8
    assert found.loc["sub-006", "reason"] == "clinical_side_not_read"


def test_scores_of_both_hemispheres_follow_the_laterality(tmp_path):
    table = "Patient;L;R\n1;8;5\n2;8;\n"
    source = ACME | {"id": "Patient", "columns": {"L": "score_left", "R": "score_right"}}
    found = _tables(_cohort(tmp_path, table, source), tmp_path / "out")["scores"].query("source == 'acme'")
    rows = found.set_index("participant_id")
    assert rows.loc["sub-001", ["score_left", "score_right", "score", "scored_side"]].tolist() == [8, 5, 5, "right"]
    assert rows.loc["sub-002", ["score", "scored_side"]].tolist() == [8, "left"]


def test_what_the_software_leaves_open_has_a_reason_of_its_own(tmp_path):
    table = "Patient;A;V;left_m1\n1;8;;1\n2;;3;\n"
    columns = {"A": "score", "V": "volume_ml", "left_m1": "left_m1"}
    tables = _tables(_cohort(tmp_path, table, ACME | {"id": "Patient", "columns": columns}), tmp_path / "out")
    lesions, scores = (_of(tables[name], source="acme").set_index("participant_id") for name in ("lesions", "scores"))
    assert lesions.loc["sub-001", "reason"] == "no_volume_given"
    assert scores.loc["sub-002", "reason"] == "region_not_given"
    assert scores.loc["sub-001", "score"] == 8


def test_a_workbook_is_read_and_its_ids_keep_their_zeros(tmp_path):
    book = Workbook()
    book.active.append(["Patient", "ASPECTS"])
    book.active.append([1, 6])
    book.save(tmp_path / "acme.xlsx")
    source = ACME | {"file": "acme.xlsx", "id": "Patient", "columns": {"ASPECTS": "score"}}
    folder = _cohort(tmp_path, (tmp_path / "acme.xlsx").read_bytes(), source, "acme.xlsx")
    scores = _of(_tables(folder, tmp_path / "out")["scores"], source="acme", participant_id="sub-001")
    assert scores["score"].tolist() == [6]


@pytest.mark.parametrize(
    ("change", "table", "rule"),
    [
        ({"columns": {"Score": "score"}}, ROWS, "value Score must be a column of acme.csv"),
        ({"id": "Patient"}, ROWS, "Did you mean Patient ID"),
        ({"file": "other.csv"}, ROWS, "must be a file in the cohort folder"),
        ({"file": "../acme.csv"}, ROWS, "must stay inside the cohort folder"),
        ({"file": "acme.exe"}, ROWS, "must end in .csv"),
        ({}, b"\x00\x01\x02", "must be a table that can be read"),
        ({}, "a,b;c\nd,e;f\n", "Give --separator"),
    ],
)
def test_a_table_that_cannot_be_used_stops_the_study(tmp_path, change, table, rule):
    folder = _cohort(tmp_path, table, ACME | {"columns": COLUMNS} | change)
    cohort = read_cohort(folder)
    assert rule in "\n".join(problem.text for problem in cohort.study_problems)
    with pytest.raises(CohortError):
        make_plan(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"columns": {"Wert": "scores"}}, "Did you mean score"),
        ({"columns": {"Version": "version"}}, "must lead to a score"),
        ({"columns": {"A": "score", "B": "score"}}, "score twice"),
    ],
)
def test_a_declaration_that_says_nothing_is_refused(change, rule):
    with pytest.raises(ValidationError, match=rule):
        STUDY.model_validate({"study": {"name": "a"}, "source": [ACME | {"columns": COLUMNS} | change]})
