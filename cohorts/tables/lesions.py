"""Rows of ``lesions``: what every measured lesion is, and in which arterial territory it lies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from cohorts.folder.manifest import Cohort
from cohorts.folder.source import Source
from cohorts.folder.study import StudyConfig
from cohorts.store.findings import Findings
from cohorts.tables.participants import Standing
from cohorts.tables.rows import Batch, MapUse, Measured, Rows, state_of
from cohorts.tables.schemas import LESIONS
from tasks.anatomy import HEMISPHERES


def lesion_measurements(config: StudyConfig) -> tuple[str, ...]:
    """Measurements that give a lesion or its volume, each once, in the order of their sources."""
    return tuple(dict.fromkeys(config.measurement_of[source.name] for source in config.volume_sources))


def lesions_batch(cohort: Cohort, measured: Measured, standings: Mapping[str, Standing]) -> Batch:
    """Rows of ``lesions``: every known participant for every measurement that gives a lesion."""
    rows = Rows(LESIONS)
    sources = {name: cohort.config.measurements[name][0] for name in lesion_measurements(cohort.config)}
    for participant_id, standing in standings.items():
        for measurement, source in sources.items():
            if source.name in measured.absent:
                continue
            record = measured.records.get((participant_id, measurement))
            status, reason = state_of(record, standing)
            is_ok = record is not None and record.status == "ok"
            values = lesion_values(source, record.payload, measured.vascular) if record is not None and is_ok else {}
            if is_ok and values["volume_ml"] is None:
                status, reason, values = "excluded", "no_volume_given", {}
            rows.add(participant_id=participant_id, source=measurement, status=status, reason=reason, **values)
    return rows.columns


def lesion_values(source: Source, found: Findings, vascular: MapUse) -> dict[str, Any]:
    """Numeric columns of one ``lesions`` row; shares of no lesion are null, as all that a stated volume does not tell.

    Raises
    ------
    ValueError
        The source draws a lesion, yet the record of its step has none.
    """
    if "lesion" not in source.gives:
        return dict(source.lesion_columns(found))
    lesion = source.lesion(found)
    if lesion is None:
        raise ValueError(f"a record of {source.name} must hold a lesion, got none. Run again.")
    counts = found.counts[vascular.sha256]
    in_territory: dict[str, int] = defaultdict(int)
    mca: dict[str, list[int]] = {side: [0, 0] for side in HEMISPHERES}
    for label, n_region, n_lesion in zip(vascular.table.labels, counts.n_region, counts.n_lesion, strict=True):
        territory = label.region.split("_")[0]
        in_territory[territory] += n_lesion
        if territory == "mca" and label.side in mca:
            mca[label.side][0] += n_lesion
            mca[label.side][1] += n_region
    n_voxels = lesion.n_voxels
    infarcted = {side: (part / whole if whole else None) for side, (part, whole) in mca.items()}
    shares = {
        f"{name}_share": in_territory[territory] / n_voxels if n_voxels else None
        for name, territory in (("mca", "mca"), ("aca", "aca"), ("pca", "pca"), ("posterior_fossa", "posterior"))
    }
    return {
        "volume_ml": lesion.volume_ml,
        "n_voxels": n_voxels,
        "n_components": lesion.n_components,
        "max_diameter_mm": lesion.max_diameter_mm,
        "side": lesion.side,
        "volume_left_ml": lesion.volume_left_ml,
        "volume_right_ml": lesion.volume_right_ml,
        **shares,
        "mca_infarcted_left": infarcted["left"],
        "mca_infarcted_right": infarcted["right"],
        **source.lesion_columns(found),
    }
