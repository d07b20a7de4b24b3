"""Rows of ``features``: what the steps measured in every region besides what the rule was applied to."""

from __future__ import annotations

import importlib.metadata

from cohorts.folder.manifest import Cohort
from cohorts.tables.rows import Batch, Measured, Rows
from cohorts.tables.schemas import FEATURES


def features_batch(cohort: Cohort, measured: Measured) -> Batch:
    """Rows of ``features``: one per region and number, of the records that are fine."""
    rows = Rows(FEATURES)
    for source in cohort.config.computed_sources:
        distribution = f"{source.features_by} {importlib.metadata.version(source.features_by)}"
        use = measured.maps[source.name]
        for (participant_id, measurement), record in measured.records.items():
            if measurement != cohort.config.measurement_of[source.name] or record.status != "ok":
                continue
            for feature in source.features(record.payload, use):
                rows.add(
                    participant_id=participant_id,
                    modality=source.lies_on,
                    source=source.name,
                    side=feature.side,
                    region=feature.region,
                    feature_class=feature.feature_class,
                    feature=feature.name,
                    mode=feature.mode,
                    value=feature.value,
                    settings_sha256=record.key.settings_sha256,
                    distribution=distribution,
                    status="ok" if feature.value is not None else "excluded",
                    reason=None if feature.value is not None else feature.reason,
                )
    return rows.columns
