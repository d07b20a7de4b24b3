"""What the rows of every table are made from: committed records, label maps, and columns being filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cohorts.folder.source import MapUse
from cohorts.store.records import Record
from cohorts.tables.contract import Batch, Rows
from cohorts.tables.participants import NO_SCAN_OF_MODALITY, NOT_MEASURED, Standing

__all__ = ["Batch", "MapUse", "Measured", "Rows", "state_of"]


@dataclass(frozen=True)
class Measured:
    """What is known when tables are made.

    Attributes
    ----------
    records : (participant, measurement) -> record
    maps : name of a source -> its label map
    vascular : the map of arterial territories
    absent : name of a source that cannot be measured -> why; it has no rows
    weights_states : name of a source -> where its weights come from, for those that have any
    """

    records: Mapping[tuple[str, str], Record]
    maps: Mapping[str, MapUse]
    vascular: MapUse
    absent: Mapping[str, str] = field(default_factory=dict)
    weights_states: Mapping[str, str] = field(default_factory=dict)


def state_of(record: Record | None, standing: Standing) -> tuple[str, str | None]:
    """Status and reason of a row: the record's, or why there is none."""
    if record is not None:
        return record.status, record.reason
    for exclusion in standing.exclusions:  # those of other stages are about another scan, or come after the scores
        if exclusion.stage == "screening" or exclusion.reason == NOT_MEASURED:
            return exclusion.status, exclusion.reason
    return "excluded", NO_SCAN_OF_MODALITY
