"""One writer, one contract: each rule broken alone is named and nothing is written; what is written comes back."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohorts.tables.contract import Column, Table
from cohorts.tables.schemas import TABLES
from cohorts.tables.storage import ContractError, columns_of, data_dictionary, read_table, tsv_text, write_table

TABLE = Table(
    "visits",
    "one participant and visit",
    ("participant_id", "visit"),
    (
        Column("participant_id", "string", "Pseudonym"),
        Column("visit", "int64", "Visit number", minimum=1, maximum=9),
        Column("volume_ml", "float64", "Lesion volume", "ml", nullable=True, minimum=0),
        Column("smoker", "bool", "Smokes", nullable=True),
        Column("side", "string", "Hemisphere", nullable=True, allowed=("left", "right")),
        Column("nihss", "int64", "NIHSS", "points", nullable=True, minimum=0, maximum=42),
    ),
)
GOOD = {
    "participant_id": ["sub-01", "sub-01", "sub-02"],
    "visit": [1, 2, 1],
    "volume_ml": [27.86, None, 0.0],
    "smoker": [True, False, None],
    "side": ["left", None, "right"],
    "nihss": [0, 42, None],
}


def _changed(**columns):
    return GOOD | columns


def _without(name):
    return {column: values for column, values in GOOD.items() if column != name}


def _files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (_without("side"), r"table visits must have its columns exactly, missing \['side'\], unknown \[\]"),
        (_changed(Side=[None] * 3), r"missing \[\], unknown \['Side'\]"),
        (_changed(visit=[1, 2]), r"must have columns of one length, got .*'visit': 2"),
        (
            _changed(participant_id=["sub-01", None, "sub-02"]),
            r"participant_id must not be null, got 1 nulls \(rows \[",
        ),
        (_changed(visit=[1, None, 1]), r"visit must not be null, got 1 nulls \(rows \[1\]\)"),
        (_changed(visit=[1, 0, 1]), r"visit must be >= 1, got \[0\] \(rows \[1\], 1 in all\)"),
        (_changed(visit=[1, 10, 1]), r"visit must be <= 9, got \[10\] \(rows \[1\], 1 in all\)"),
        (
            _changed(volume_ml=[-1.0, None, -2.0]),
            r"volume_ml must be >= 0, got \[-1.0, -2.0\] \(rows \[0, 2\]",
        ),
        (
            _changed(volume_ml=[1.0, float("inf"), 2.0]),
            r"volume_ml must be finite, got \[inf\] \(rows \[1\]",
        ),
        (_changed(side=["left", "both", None]), r"side must be one of left, right, got \['both'\] \(rows \[1\]"),
        (_changed(nihss=[60, 43, 42]), r"nihss must be <= 42, got \[60, 43\] \(rows \[0, 1\], 2 in all\)"),
        (_changed(visit=[1, 1, 1]), r"key \(participant_id, visit\) must be unique, got 1 repeated, such as .*sub-01"),
        (_changed(nihss=[3.5, 1, 2]), r"table visits, column nihss must be int64: got \[3.5\], not whole"),
        (_changed(nihss=np.array([3.5, 1, np.nan])), "table visits, column nihss must be int64: "),
        (_changed(nihss=[True, 1, 2]), "table visits, column nihss must be int64: "),
        (_changed(nihss=["3", "1", "2"]), "table visits, column nihss must be int64: "),
        (_changed(nihss=[2**70, 1, 2]), "table visits, column nihss must be int64: "),
        (_changed(volume_ml=["1.0", None, None]), "table visits, column volume_ml must be float64: "),
        (_changed(smoker=["yes", "no", None]), "table visits, column smoker must be bool: "),
        (_changed(side=[1, 2, 3]), "table visits, column side must be string: "),
        (_changed(side=["\ud800", "left", None]), "table visits, column side must be string: "),
    ],
)
def test_each_broken_rule_is_named_and_nothing_is_written(tmp_path, columns, message):
    with pytest.raises(ContractError, match=message):
        write_table(TABLE, [columns], tmp_path)
    assert _files(tmp_path) == []


def test_all_broken_rules_are_named_at_once_and_the_old_table_stays(tmp_path):
    path = write_table(TABLE, [GOOD], tmp_path)
    before = path.read_bytes()
    with pytest.raises(ContractError) as caught:
        write_table(TABLE, [_changed(visit=[1, 1, 99], side=["l", "left", None])], tmp_path)
    for rule in ("visit must be <= 9", "side must be one of", "key (participant_id, visit) must be unique"):
        assert rule in str(caught.value)
    assert path.read_bytes() == before


def test_a_key_repeated_across_batches_is_found(tmp_path):
    with pytest.raises(ContractError, match=r"key .* must be unique, got 3 repeated"):
        write_table(TABLE, [GOOD, GOOD], tmp_path)


def test_batches_are_written_in_order(tmp_path):
    batches = [_changed(visit=[visit, visit + 1, visit]) for visit in (1, 3, 5)]
    frame = read_table(write_table(TABLE, batches, tmp_path))
    assert frame["visit"].tolist() == [1, 2, 1, 3, 4, 3, 5, 6, 5]


def test_nullable_integers_and_booleans_come_back_with_their_missing_values(tmp_path):
    frame = read_table(write_table(TABLE, [GOOD], tmp_path))
    assert frame["nihss"].dtype == pd.Int64Dtype()
    assert frame["smoker"].dtype == pd.BooleanDtype()
    assert frame["volume_ml"].dtype == np.float64
    assert columns_of(frame) == GOOD
    assert {type(value) for value in columns_of(frame)["nihss"]} == {int, type(None)}


def test_what_was_read_can_be_written_again_to_the_same_bytes(tmp_path):
    path = write_table(TABLE, [GOOD], tmp_path)
    first, twin = path.read_bytes(), (tmp_path / "visits.tsv").read_bytes()
    write_table(TABLE, [columns_of(read_table(path))], tmp_path)
    assert path.read_bytes() == first
    assert (tmp_path / "visits.tsv").read_bytes() == twin


def test_nan_is_a_missing_number_and_never_stored(tmp_path):
    frame = read_table(write_table(TABLE, [_changed(volume_ml=np.array([np.nan, 1.0, 2.0]))], tmp_path))
    assert pq.read_table(tmp_path / "visits.parquet")["volume_ml"].null_count == 1
    assert columns_of(frame)["volume_ml"] == [None, 1.0, 2.0]


def test_whole_numbers_held_as_float_are_whole_numbers(tmp_path):
    path = write_table(TABLE, [_changed(nihss=[4.0, float("nan"), np.float64(7)])], tmp_path)
    assert columns_of(read_table(path))["nihss"] == [4, None, 7]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(0, 1e300),
            st.none() | st.booleans(),
            st.none() | st.integers(0, 42),
            st.none() | st.sampled_from(["left", "right"]),
        ),
        max_size=9,
    )
)
def test_any_rows_come_back_as_they_were(tmp_path_factory, rows):
    columns = {
        "participant_id": [f"sub-{number}" for number in range(len(rows))],
        "visit": [1] * len(rows),
        "volume_ml": [row[0] for row in rows],
        "smoker": [row[1] for row in rows],
        "side": [row[3] for row in rows],
        "nihss": [row[2] for row in rows],
    }
    folder = tmp_path_factory.mktemp("table")
    assert columns_of(read_table(write_table(TABLE, [columns], folder))) == columns


def test_units_meaning_and_key_are_in_the_file(tmp_path):
    schema = pq.read_schema(write_table(TABLE, [GOOD], tmp_path))
    assert schema.metadata == {
        b"table": b"visits",
        b"row": b"one participant and visit",
        b"key": b'["participant_id", "visit"]',
    }
    for column in TABLE.columns:
        metadata = schema.field(column.name).metadata
        assert metadata[b"description"].decode() == column.description
        assert metadata[b"unit"].decode() == column.unit
        assert schema.field(column.name).nullable == column.nullable


@pytest.mark.parametrize("batches", [[], [{name: [] for name in TABLE.names}]])
def test_an_empty_table_keeps_its_columns_and_types(tmp_path, batches):
    frame = read_table(write_table(TABLE, batches, tmp_path))
    assert list(frame.columns) == list(TABLE.names)
    assert (frame["nihss"].dtype, frame["smoker"].dtype, len(frame)) == (pd.Int64Dtype(), pd.BooleanDtype(), 0)
    assert (tmp_path / "visits.tsv").read_text() == "\t".join(TABLE.names) + "\n"


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_every_table_of_the_project_can_be_written_empty(tmp_path, table):
    write_table(table, [], tmp_path)
    assert _files(tmp_path) == sorted([f"{table.name}.parquet", *([f"{table.name}.tsv"] if table.tsv_twin else [])])
    assert tuple(read_table(tmp_path / f"{table.name}.parquet").columns) == table.names


def test_tsv_twin(tmp_path):
    write_table(TABLE, [GOOD], tmp_path)
    assert (tmp_path / "visits.tsv").read_text().splitlines() == [
        "participant_id\tvisit\tvolume_ml\tsmoker\tside\tnihss",
        "sub-01\t1\t27.86\ttrue\tleft\t0",
        "sub-01\t2\tn/a\tfalse\tn/a\t42",
        "sub-02\t1\t0.0\tn/a\tright\tn/a",
    ]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|'/c calc'!A1", "'=cmd|'/c calc'!A1"),
        ("+1+1", "'+1+1"),
        ("-1+1", "'-1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" \t=1+1", "'=1+1"),
        ("-", "-"),
        ("sub-01", "sub-01"),
        ("a\tb", "a b"),
        ("a\r\nb\nc\rd", "a b c d"),
        ("a\x0bb\x0cc\x1cd\x85e\u2028f", "a b c d e f"),
        ('say "hi", she said', 'say "hi", she said'),
        ('"', '"'),
        ("back\\slash", "back\\slash"),
        ("", "n/a"),
        ("  \n ", "n/a"),
        (None, "n/a"),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (-0.5, "-0.5"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-7, "1e-07"),
        (np.float64(0.25), "0.25"),
        (np.int64(-3), "-3"),
        (np.bool_(True), "true"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
)
def test_a_cell_stays_one_cell_and_is_no_formula(value, cell):
    assert tsv_text([{"alone": value}]) == f"alone\n{cell}\n"
    assert tsv_text([{"a": 1, "b": value, "c": None}]) == f"a\tb\tc\n1\t{cell}\tn/a\n"


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_any_text_keeps_the_shape_of_the_table(texts):
    rows = list(
        csv.reader(
            io.StringIO(tsv_text([{str(place): text for place, text in enumerate(texts)}]), newline=""),
            delimiter="\t",
            quoting=csv.QUOTE_NONE,
        )
    )
    assert [len(row) for row in rows] == [len(texts), len(texts)]
    assert not any(len(cell) > 1 and cell.startswith(("=", "+", "-", "@")) for cell in rows[1])


def test_no_rows_have_no_header():
    assert tsv_text([]) == ""


def test_the_data_dictionary_names_every_column_of_every_table():
    rows = data_dictionary(TABLES.values())
    assert [(row["table"], row["column"]) for row in rows] == [
        (table.name, column.name) for table in TABLES.values() for column in table.columns
    ]
    assert all(row["description"] and row["type"] and row["unit"] and row["range"] for row in rows)
    (volume,) = data_dictionary([Table("t", "one row", ("k",), (TABLE.columns[2],))])
    assert volume == {
        "table": "t",
        "row": "one row",
        "column": "volume_ml",
        "type": "float64",
        "unit": "ml",
        "nullable": "yes",
        "key": "no",
        "range": "0 to inf",
        "description": "Lesion volume",
    }
    ranges = {row["column"]: (row["key"], row["range"]) for row in data_dictionary([TABLE])}
    assert ranges["visit"] == ("yes", "1 to 9")
    assert ranges["side"] == ("no", "left, right")
    assert ranges["smoker"] == ("no", "n/a")
    json.dumps(rows)


GRADED = Table(
    "people",
    "one participant",
    ("participant_id",),
    (
        Column("participant_id", "string", "Pseudonym"),
        Column("onset", "date", "Onset", nullable=True),
        Column("severity", "grade", "Severity", nullable=True, allowed=("severe", "mild")),
    ),
)


def test_dates_and_grades_come_back_as_what_they_are(tmp_path):
    rows = {
        "participant_id": ["a", "b", "c"],
        "onset": ["2024-05-31", "2024-05-31T14:05", None],
        "severity": ["mild", None, "severe"],
    }
    path = write_table(GRADED, [rows], tmp_path)
    read = read_table(path)
    assert read["onset"].tolist()[:2] == [pd.Timestamp("2024-05-31"), pd.Timestamp("2024-05-31 14:05")]
    assert read["severity"].cat.ordered
    assert read["severity"].min() == "severe"  # the order is the study's, not that of the alphabet
    assert (tmp_path / "people.tsv").read_text() == (
        "participant_id\tonset\tseverity\na\t2024-05-31\tmild\nb\t2024-05-31T14:05:00\tn/a\nc\tn/a\tsevere\n"
    )
    again = write_table(GRADED, [columns_of(read)], tmp_path)
    assert read_table(again).equals(read)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("severity", "fatal", r"column severity must be grade: got \['fatal'\], not one of severe, mild"),
        ("onset", "31.5.2024", "column onset must be date: Invalid isoformat string"),
    ],
)
def test_an_unknown_grade_and_no_date_are_refused(column, value, message, tmp_path):
    rows = {"participant_id": ["a"], "onset": [None], "severity": [None]} | {column: [value]}
    with pytest.raises(ContractError, match=message):
        write_table(GRADED, [rows], tmp_path)
