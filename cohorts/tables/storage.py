"""The only code that reads or writes tables: Parquet that keeps its contract, and TSV twins for people.

A table is written whole or not at all, after every check of its contract: exact columns, types, nulls, ranges, allowed
values and a unique key. Units and meaning are stored in the file. The same rows give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cohorts.store.records import atomic_writer, write_bytes
from cohorts.tables.contract import Column, Table

ARROW_TYPES = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.timestamp("s"),
    "grade": pa.dictionary(pa.int8(), pa.string(), ordered=True),
}
PANDAS_TYPES = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
ROW_GROUP_SIZE = 65_536
#: A spreadsheet takes a text cell that starts with one of these for a formula.
FORMULA_STARTS = ("=", "+", "-", "@")
SHOWN_ROWS = 3

Columns = Mapping[str, Sequence[Any]]


class ContractError(ValueError):
    """A table that breaks its contract; the message lists every rule broken."""


def arrow_schema(table: Table) -> pa.Schema:
    """Arrow schema of a contract, with unit and description in each field's metadata."""
    fields = [
        pa.field(
            column.name,
            ARROW_TYPES[column.type],
            nullable=column.nullable,
            metadata={"description": column.description, "unit": column.unit},
        )
        for column in table.columns
    ]
    return pa.schema(fields, metadata={"table": table.name, "row": table.row, "key": json.dumps(table.key)})


def write_table(table: Table, batches: Iterable[Columns], folder: Path) -> Path:
    """Check and write one table as ``<name>.parquet`` (and ``.tsv`` where the contract wants a twin).

    Parameters
    ----------
    table : the contract
    batches : column name -> values, missing values None or NaN; written in order
    folder : an existing folder

    Raises
    ------
    ContractError
        Any rule is broken; nothing is written.
    """
    schema = arrow_schema(table)
    whole = pa.Table.from_batches([_record_batch(table, schema, batch) for batch in batches], schema=schema)
    problems = [problem for column in table.columns for problem in _column_problems(column, whole)]
    problems += _key_problems(table, whole)
    if problems:
        raise ContractError(f"table {table.name} breaks its contract: " + "; ".join(problems))
    path = folder / f"{table.name}.parquet"
    with atomic_writer(path) as temporary:
        pq.write_table(whole, temporary, compression="zstd", row_group_size=ROW_GROUP_SIZE)
    if table.tsv_twin:
        write_bytes(folder / f"{table.name}.tsv", _tsv(whole).encode())
    return path


def read_table(path: Path) -> pd.DataFrame:
    """Read a Parquet table; integers and booleans keep their missing values (``Int64``, ``boolean``)."""
    frame: pd.DataFrame = pq.read_table(path).to_pandas(types_mapper=PANDAS_TYPES.get)
    return frame


def columns_of(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Turn a frame into columns of plain values, missing ones None."""
    return {str(name): [None if pd.isna(value) else value for value in frame[name].tolist()] for name in frame.columns}


def data_dictionary(tables: Iterable[Table]) -> list[dict[str, str]]:
    """One row per column of every table: what a statistician needs to read it."""
    return [
        {
            "table": table.name,
            "row": table.row,
            "column": column.name,
            "type": column.type,
            "unit": column.unit or "n/a",
            "nullable": "yes" if column.nullable else "no",
            "key": "yes" if column.name in table.key else "no",
            "range": _range_text(column),
            "description": column.description,
        }
        for table in tables
        for column in table.columns
    ]


def tsv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows of one shape as a TSV with a header; missing values are n/a."""
    if not rows:
        return ""
    return "\t".join(rows[0]) + "\n" + "".join(tsv_line(row.values()) for row in rows)


def tsv_line(cells: Iterable[object], end: str = "\n") -> str:
    """One row of a TSV; missing values are n/a."""
    return "\t".join(map(_cell, cells)) + end


def _record_batch(table: Table, schema: pa.Schema, batch: Columns) -> pa.RecordBatch:
    """One batch in the contract's types, after the check of its column names."""
    missing = [name for name in table.names if name not in batch]
    unknown = [name for name in batch if name not in table.names]
    if missing or unknown:
        raise ContractError(f"table {table.name} must have its columns exactly, missing {missing}, unknown {unknown}")
    arrays = []
    for field, column in zip(schema, table.columns, strict=True):
        try:
            arrays.append(_array(batch[field.name], column, field.type))
        except (TypeError, ValueError, OverflowError) as error:  # Arrow's own errors are TypeError and ValueError too
            raise ContractError(f"table {table.name}, column {field.name} must be {column.type}: {error}") from error
    lengths = {name: len(array) for name, array in zip(table.names, arrays, strict=True)}
    if len(set(lengths.values())) > 1:
        raise ContractError(f"table {table.name} must have columns of one length, got {lengths}")
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(values: Sequence[Any], column: Column, kind: pa.DataType) -> pa.Array:
    """Values in the contract's type; Arrow alone would cut 6.5 to 6, take no text for a date and order no grades."""
    if column.type == "date":
        values = [datetime.fromisoformat(value) if isinstance(value, str) else value for value in values]
    if column.type == "grade":
        places = {grade: place for place, grade in enumerate(column.allowed or ())}
        unknown = sorted({str(value) for value in values if value is not None and value not in places})
        if unknown:
            raise ValueError(f"got {unknown[:SHOWN_ROWS]}, not one of {', '.join(places)}")
        codes = pa.array([None if value is None else places[value] for value in values], type=pa.int8())
        return pa.DictionaryArray.from_arrays(codes, pa.array(places, type=pa.string()), ordered=True)
    if kind == pa.int64():
        broken = [value for value in values if isinstance(value, float) and value == value and not value.is_integer()]
        if broken:
            raise ValueError(f"got {broken[:SHOWN_ROWS]}, not whole")
    return pa.array(values, type=kind, from_pandas=True)


def _column_problems(column: Column, whole: pa.Table) -> list[str]:
    """Broken rules of one column: nulls, range, allowed values, finiteness."""
    values = whole[column.name]
    problems = []
    if not column.nullable and values.null_count:
        rows = np.flatnonzero(values.is_null().to_numpy())[:SHOWN_ROWS]
        problems.append(f"{column.name} must not be null, got {values.null_count} nulls (rows {rows.tolist()})")
    checks = []
    if column.type == "float64":
        checks.append(("be finite", pc.invert(pc.is_finite(values))))
    if column.minimum is not None:
        checks.append((f"be >= {column.minimum:g}", pc.less(values, column.minimum)))
    if column.maximum is not None:
        checks.append((f"be <= {column.maximum:g}", pc.greater(values, column.maximum)))
    if column.allowed is not None and column.type != "grade":
        known = pc.is_in(values, value_set=pa.array(column.allowed, type=pa.string()))
        checks.append((f"be one of {', '.join(column.allowed)}", pc.and_(pc.invert(known), pc.is_valid(values))))
    for rule, broken in checks:
        rows = np.flatnonzero(pc.fill_null(broken, False).to_numpy())
        if len(rows):
            found = [values[int(row)].as_py() for row in rows[:SHOWN_ROWS]]
            problems.append(
                f"{column.name} must {rule}, got {found} (rows {rows[:SHOWN_ROWS].tolist()}, {len(rows)} in all)"
            )
    return problems


def _key_problems(table: Table, whole: pa.Table) -> list[str]:
    """Repeated keys."""
    counts = whole.group_by(list(table.key)).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if not repeated.num_rows:
        return []
    shown = repeated.slice(0, SHOWN_ROWS).select(list(table.key)).to_pylist()
    return [f"key ({', '.join(table.key)}) must be unique, got {repeated.num_rows} repeated, such as {shown}"]


def _tsv(whole: pa.Table) -> str:
    """Text twin of a table."""
    rows = whole.to_pylist()
    return tsv_text(rows) if rows else "\t".join(whole.column_names) + "\n"


def _cell(value: object) -> str:
    """One cell as BIDS writes it; text that a spreadsheet would run is quoted with an apostrophe."""
    if value is None:
        return "n/a"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, datetime):
        return value.isoformat().removesuffix("T00:00:00")  # a day without a time, as it was given
    text = " ".join(str(value).split()) or "n/a"
    return f"'{text}" if text.startswith(FORMULA_STARTS) and len(text) > 1 else text


def _range_text(column: Column) -> str:
    """The allowed values or range, n/a where anything goes."""
    if column.allowed is not None:
        return ", ".join(column.allowed)
    if column.minimum is None and column.maximum is None:
        return "n/a"
    low = "-inf" if column.minimum is None else f"{column.minimum:g}"
    high = "inf" if column.maximum is None else f"{column.maximum:g}"
    return f"{low} to {high}"
