"""The README's way of reading the tables gives the patients of the report's numbers, in pandas, polars and DuckDB."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cohorts.tables.participants import grade_names, participants_contract
from cohorts.tables.schemas import SCANS, SCORES, statistics_table
from cohorts.tables.storage import columns_of, write_table
from reports.statistics.analysis import analyse
from tests.reports.builders import synthetic_input
from tests.reports.tiny import TinyPatient, tiny_input

ROOT = Path(__file__).parents[3]
README = ROOT / "README.md"
SET = {"screened": "true", "measured": "is_measured", "examined": "is_examined", "included": "is_included"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written tables of a synthetic cohort, one of whose excluded participants was read by everybody all the same."""
    folder = tmp_path_factory.mktemp("tables")
    data = synthetic_input(60)
    write_table(participants_contract(data.config), [columns_of(data.participants)], folder)
    write_table(SCORES, [columns_of(data.scores)], folder)
    write_table(SCANS, [columns_of(data.scans)], folder)
    write_table(statistics_table(grade_names(data.config)), [columns_of(analyse(data))], folder)
    return folder


def blocks(language: str, word: str, tables: Path) -> str:
    """The README's code of a language that has this word, about the tables of the test."""
    section = README.read_text().split("## Reading the tables")[1].split("\n## ")[0]
    (code,) = [code for code in re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL) if word in code]
    return code.replace("out/results/latest/tables", str(tables)).replace("dwi-manual", "mask-classic")


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_the_filter_in_pandas_gives_the_area_of_the_report(tables: Path) -> None:
    found = run(blocks("python", "pandas", tables))
    used, (row,) = found["used"], found["row"].to_dict("records")
    assert len(used) == row["n"] > 20
    area = roc_auc_score(used["nihss"].astype(int) >= 8, -used["score"].astype(float))
    assert row["estimate"] == pytest.approx(area, abs=1e-12)


def test_the_filter_in_polars_gives_the_same_patients(tables: Path) -> None:
    ours = run(blocks("python", "polars", tables))["used"]
    theirs = run(blocks("python", "pandas", tables))["used"]
    assert sorted(ours["participant_id"]) == sorted(theirs["participant_id"])


def test_the_filter_in_duckdb_gives_the_same_patients(tables: Path) -> None:
    query = blocks("sql", "DuckDB", tables).replace(".parquet'", ".parquet'").replace("from '", f"from '{tables}/")
    query = query.replace("join '", f"join '{tables}/")
    ours = duckdb.sql(query).fetchall()
    theirs = run(blocks("python", "pandas", tables))["used"]
    assert sorted(row[0] for row in ours) == sorted(theirs["participant_id"])


QUANTITIES = ("bias", "exact", "loa_lower", "loa_upper")


def _as_reported(rows: list[tuple[str, int, float, int, float]]) -> None:
    """Every number is counted, and is the report's."""
    assert [row[0] for row in rows] == list(QUANTITIES)
    for _, n, value, n_in_report, in_report in rows:
        assert n == n_in_report > 20
        assert value == pytest.approx(in_report, abs=1e-12)


def test_the_example_in_duckdb_counts_what_the_report_says(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tables)
    query = (ROOT / "examples" / "agreement.sql").read_text()
    assert query.count("'ratio'") == 1
    connection = duckdb.connect()
    _as_reported(connection.execute(query.replace("'ratio'", "'mask-classic'")).fetchall())


@pytest.mark.processes
def test_the_example_in_r_counts_what_the_report_says(tables: Path) -> None:
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
    command = ["Rscript", ROOT / "examples" / "agreement.R", tables, "reader:A", "mask-classic"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    header, *lines = (line.split("\t") for line in done.stdout.splitlines())
    assert header == ["quantity", "n", "value", "n_in_report", "in_report"]
    _as_reported([(name, int(n), float(ours), int(m), float(theirs)) for name, n, ours, m, theirs in lines])


SUSPECTED = {
    "without_chronic": "chronic_suspected",
    "without_haemorrhage": "haemorrhage_suspected",
    "without_either": "chronic_suspected or haemorrhage_suspected",
}


def test_every_n_of_every_set_is_that_of_the_one_filter(tables: Path) -> None:
    """Areas, associations, distributions and agreement: n counted again in SQL for every row."""
    statistics = pd.read_parquet(tables / "statistics.parquet")
    values = f"(select * from '{tables}/scores.parquet' where status = 'ok' and score is not null)"
    people = f"'{tables}/participants.parquet'"
    rows = statistics.query("measure == 'score' and grade.isna()").query(
        "quantity in ('auc', 'spearman', 'mean', 'icc_a1') and section != 'cohort'"
    )
    assert len(rows) > 30
    for row in rows.astype(object).where(rows.notna(), None).to_dict("records"):
        query = f"select count(*) from {people} p join {values} s using (participant_id)"
        where = f" where {SET[row['analysis_set']]} and s.source = '{row['source']}'"
        if row["reference"]:
            query += f" join {values} r using (participant_id)"
            where += f" and r.source = '{row['reference']}'"
        if row["variable"]:
            where += f" and {row['variable']} is not null"
        if row["section"] == "guards":
            suspected = f"select participant_id from '{tables}/scans.parquet' where {SUSPECTED[row['category']]}"
            where += f" and p.participant_id not in ({suspected})"
        assert duckdb.sql(query + where).fetchall() == [(row["n"],)], row["statistic_id"]


def test_a_broken_mask_takes_nobody_out_of_the_agreement_of_readers() -> None:
    patients = [TinyPatient(n, 1, (n, n + 1), 10.0) for n in range(5)] + [TinyPatient(9, 2, (3, 3), None)]
    rows = analyse(tiny_input(patients)).set_index("statistic_id")
    assert rows.loc["agreement/exact/reader:B/reader:A/measured", ["numerator", "n"]].tolist() == [1, 6]
    assert rows.loc["agreement/exact/reader:B/reader:A/included", ["numerator", "n"]].tolist() == [0, 5]


def test_dates_are_dates_and_grades_are_in_order(tables: Path) -> None:
    people = pd.read_parquet(tables / "participants.parquet")
    assert people["onset_date"].dropna().iloc[0] == pd.Timestamp("2024-05-01")
    assert people["severity"].cat.ordered
    assert list(people["severity"].cat.categories) == ["mild", "moderate", "severe"]
    assert people["severity"].max() == "severe"
    grades = pd.read_parquet(tables / "statistics.parquet")["grade"].cat
    assert (grades.ordered, list(grades.categories)) == (True, ["mild", "moderate", "severe", "ungraded"])
    ((kind,),) = duckdb.sql(f"select typeof(onset_date) from '{tables}/participants.parquet' limit 1").fetchall()
    assert kind.startswith("TIMESTAMP")
    assert "\t2024-05-01\n" in (tables / "participants.tsv").read_text()
