"""Rows of ``features``: what the steps measured in every region besides what the rule was applied to."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any

from cohorts.folder.manifest import Cohort
from cohorts.folder.source import DensityRatioSource
from cohorts.store.records import Record
from cohorts.tables.rows import Batch, MapUse, Measured, Rows
from cohorts.tables.schemas import FEATURES
from tasks.anatomy import LabelTable

#: Of ``tasks.density.measure.RegionDensity``; the ratio follows from the relative difference, which ``regions`` has.
DENSITY_FEATURES = (
    "n_voxels_used", "density_hu", "spread_hu", "low_density_share", "high_density_share", "difference_hu",
)  # fmt: skip
DISTRIBUTION = "aspects-cohort"


def features_batch(cohort: Cohort, measured: Measured) -> Batch:
    """Rows of ``features``: one per region and number, of the records that are fine."""
    rows = Rows(FEATURES)
    distribution = f"{DISTRIBUTION} {importlib.metadata.version(DISTRIBUTION)}"
    for source in cohort.config.computed_sources:
        use = measured.maps[source.name]
        is_density = isinstance(source, DensityRatioSource)
        for (participant_id, measurement), record in measured.records.items():
            if measurement != source.measurement or record.status != "ok":
                continue
            for label, name, value in _densities(record, use) if is_density else _perfusion(record, use):
                rows.add(
                    participant_id=participant_id,
                    source=source.name,
                    side=label.side,
                    region=label.region,
                    feature=name,
                    value=value,
                    settings_sha256=record.key.settings_sha256,
                    distribution=distribution,
                    status="ok" if value is not None else "excluded",
                    reason=None if value is not None else "not_measurable",
                )
    return rows.columns


def _densities(record: Record, use: MapUse) -> Iterator[tuple[Any, str, float | None]]:
    """Densities of every region."""
    for label, density in zip(use.table.labels, record.payload["densities"][use.sha256], strict=True):
        for name in DENSITY_FEATURES:
            yield label, name, density[name]


def _perfusion(record: Record, use: MapUse) -> Iterator[tuple[Any, str, float | None]]:
    """Share of every region that is hypoperfused, where perfusion was measured."""
    counts: Mapping[str, list[int]] = record.payload["counts"][use.sha256]
    if "n_hypoperfused" not in counts or record.payload["perfusion"]["core"]["hypoperfused_volume_ml"] is None:
        return
    table: LabelTable = use.table
    for label, n_region, n_late in zip(table.labels, counts["n_region"], counts["n_hypoperfused"], strict=True):
        yield label, "hypoperfused_share", n_late / n_region if n_region else None
