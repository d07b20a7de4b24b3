"""What the rows of every table are made from: committed records, label maps, and columns being filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cohorts.store.records import Record
from cohorts.tables.contract import Batch, Rows
from cohorts.tables.participants import NO_SCAN_OF_MODALITY, NOT_MEASURED, Standing
from tasks.anatomy import LabelTable

__all__ = ["Batch", "MapUse", "Measured", "Rows", "state_of"]


@dataclass(frozen=True)
class MapUse:
    """A label map as the tables need it: its content digest and its label table."""

    sha256: str
    table: LabelTable


@dataclass(frozen=True)
class Measured:
    """What is known when tables are made: records by (participant, measurement), maps by source name."""

    records: Mapping[tuple[str, str], Record]
    maps: Mapping[str, MapUse]
    vascular: MapUse


def state_of(record: Record | None, standing: Standing) -> tuple[str, str | None]:
    """Status and reason of a row: the record's, or why there is none."""
    if record is not None:
        return record.status, record.reason
    for exclusion in standing.exclusions:  # those of other stages are about another scan, or come after the scores
        if exclusion.stage == "screening" or exclusion.reason == NOT_MEASURED:
            return exclusion.status, exclusion.reason
    return "excluded", NO_SCAN_OF_MODALITY
