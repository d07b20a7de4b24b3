"""The contracts themselves: complete, consistent with the report's vocabulary and with a study's clinical columns."""

from __future__ import annotations

import re

import pytest

from cohorts.folder.clinical_column import ClinicalColumn
from cohorts.tables.schemas import (
    PARTICIPANTS,
    RESERVED_COLUMNS,
    SCORES,
    STATUSES,
    TABLES,
    Column,
    participants_table,
)
from tasks.anatomy import MAXIMUM_SCORE

#: DESIGN, "The one idea": the tables of the project; timings and provenance are two.
DESIGNED = {
    "participants",
    "scans",
    "exclusions",
    "regions",
    "scores",
    "lesions",
    "segmentation",
    "features",
    "statistics",
    "timings",
    "provenance",
}
UNIT_SUFFIXES = {"_ml": "ml", "_mm": "mm", "_mm3": "mm3", "_bytes": "byte", "seconds": "s", "_mib": "MiB"}


def test_every_designed_table_has_a_contract():
    assert set(TABLES) == DESIGNED


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_contract(table):
    assert len(set(table.names)) == len(table.names)
    columns = {column.name: column for column in table.columns}
    assert set(table.key) <= set(columns)
    for name in table.key:
        assert not columns[name].nullable, f"{name} is part of the key"
    for column in table.columns:
        assert re.fullmatch("[a-z][a-z0-9_]*", column.name)
        assert column.description
        if column.minimum is not None and column.maximum is not None:
            assert column.minimum < column.maximum
        if column.type in ("string", "bool"):
            assert (column.minimum, column.maximum, column.unit) == (None, None, "")
        for suffix, unit in UNIT_SUFFIXES.items():
            if column.name.endswith(suffix) and column.type != "string":
                assert column.unit == unit, f"{column.name} carries its unit last"


@pytest.mark.parametrize("table", [table for table in TABLES.values() if "status" in table.names], ids=lambda t: t.name)
def test_where_a_row_can_fail_every_number_may_be_null_and_a_reason_is_there(table):
    columns = {column.name: column for column in table.columns}
    assert columns["status"].allowed is not None
    assert not columns["status"].nullable
    if table.name == "exclusions":  # an exclusion always has its reason
        return
    assert columns["reason"].nullable
    if table.name != "participants":
        assert columns["status"].allowed == STATUSES
    assert all(column.nullable for column in table.columns if column.type in ("float64", "int64"))


def test_scores_range_from_nothing_left_to_nothing_lost():
    columns = {column.name: column for column in SCORES.columns}
    for name in ("score", "score_left", "score_right"):
        assert (columns[name].minimum, columns[name].maximum) == (0, MAXIMUM_SCORE)


def test_clinical_columns_stand_typed_behind_the_fixed_ones():
    table = participants_table(
        (
            ClinicalColumn(column="nihss", read_as="integer", unit="points", minimum=0, maximum=42),
            ClinicalColumn(column="bmi", read_as="number", label="Body mass index"),
            ClinicalColumn(column="sex", read_as="category", levels={"F": "female", "M": "male"}),
            ClinicalColumn(column="mrs", read_as="integer", levels={"0": "none", "6": "dead"}),
            ClinicalColumn(column="smoker", read_as="boolean"),
            ClinicalColumn(column="onset", read_as="date"),
            ClinicalColumn(column="note", read_as="text"),
        )
    )
    assert table.columns[: len(PARTICIPANTS.columns)] == PARTICIPANTS.columns
    assert table.columns[len(PARTICIPANTS.columns) :] == (
        Column("nihss", "int64", "nihss", "points", nullable=True, minimum=0, maximum=42),
        Column("bmi", "float64", "Body mass index", nullable=True),
        Column("sex", "string", "sex", nullable=True, allowed=("F", "M")),
        Column("mrs", "int64", "mrs", nullable=True),
        Column("smoker", "bool", "smoker", nullable=True),
        Column("onset", "date", "onset", nullable=True),
        Column("note", "string", "note", nullable=True),
    )
    assert set(PARTICIPANTS.names) == set(RESERVED_COLUMNS)
    graded = {column.name: column for column in participants_table((), ("mild", "severe")).columns}
    assert (graded["severity"].type, graded["severity"].allowed) == ("grade", ("mild", "severe"))
    assert (table.name, table.key) == ("participants", ("participant_id",))
