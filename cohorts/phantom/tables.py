"""The tables of a synthetic cohort folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cohorts.tables.storage import columns_of, tsv_text


def write_tsv(path: Path, table: pd.DataFrame) -> None:
    """Write a table by the spellings of BIDS."""
    columns = columns_of(table)
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    path.write_bytes(tsv_text(rows).encode())
