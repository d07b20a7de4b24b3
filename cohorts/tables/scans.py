"""Rows of ``scans``: every listed file with its grid, its quality figures, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cohorts.folder.manifest import Cohort, Scan
from cohorts.store.records import Record
from cohorts.tables.participants import Standing
from cohorts.tables.rows import Batch, Measured, Rows, state_of
from cohorts.tables.schemas import QUALITY_FIGURES, SCANS
from cohorts.tables.segmentation import region_pairs
from tasks.quality.guards import GUARDS, suspected


def scans_batch(
    cohort: Cohort,
    measured: Measured,
    standings: Mapping[str, Standing],
    files: Mapping[str, tuple[str, int]],
    overlaps: Mapping[tuple[str, str], Record] | None = None,
) -> Batch:
    """Rows of ``scans``.

    Parameters
    ----------
    cohort : Cohort
    measured : Measured
    standings : participant -> where they stand
    files : path inside the cohort folder -> (sha256, size in bytes)
    overlaps : (participant, name of a pair) -> the committed comparison, which alone reads drawn regions
    """
    records = {**measured.records, **(overlaps or {})}
    rows = Rows(SCANS)
    refused = {(scan.participant_id, scan.modality): scan for scan in cohort.refused_scans}
    users = _users(cohort)
    for scan in (*cohort.scans, *cohort.refused_scans):
        sha256, size = files.get(scan.path, (None, None))
        row: dict[str, Any] = {
            "participant_id": scan.participant_id,
            "modality": scan.modality,
            "space": scan.space,
            "path": scan.path,
            "sha256": sha256,
            "size_bytes": size,
        }
        if (scan.participant_id, scan.modality) in refused:
            row |= {"status": "excluded", "reason": scan.reason}
        elif scan.modality not in users:
            row |= {"status": "excluded", "reason": "modality_not_used"}
        else:
            found = (records.get((scan.participant_id, measurement)) for measurement in users[scan.modality])
            record = next((one for one in found if one is not None), None)
            row |= _measured_columns(scan, record, standings[scan.participant_id])
            row |= guard_flags(row, cohort.config.guards.thresholds)
        rows.add(**row)
    return rows.columns


def guard_flags(figures: Mapping[str, Any], thresholds: Mapping[str, float]) -> dict[str, bool | None]:
    """Flags of a scan by the study's thresholds; null where a figure was not measured.

    Parameters
    ----------
    figures : figure -> value
    thresholds : figure -> what it must exceed
    """
    return {guard.flag: suspected(guard, figures, thresholds) for guard in GUARDS}


def _users(cohort: Cohort) -> dict[str, list[str]]:
    """Modality -> what reads it, what cannot do without it first: measurements; of drawn regions, their comparisons.

    Where a scan was refused, nothing was compared, and its measurement says why.
    """
    users: dict[str, list[str]] = {}
    for first in (True, False):
        for measurement, (source, *_) in cohort.config.measurements.items():
            for modality in source.scans[:1] if first else source.scans[1:]:
                users.setdefault(modality, []).append(measurement)
    pairs = region_pairs(cohort.config)
    for pair in pairs:
        users.setdefault(pair.drawn.modality, []).append(pair.name)
    for pair in pairs:
        users[pair.drawn.modality].append(cohort.config.measurement_of[pair.source.name])
    return users


def _measured_columns(scan: Scan, record: Record | None, standing: Standing) -> dict[str, Any]:
    """Columns that come from the measurement that read the scan."""
    status, reason = state_of(record, standing)
    detail = record.detail if record is not None and record.status != "ok" else None
    facts = record.payload.scans.get(scan.modality) if record is not None else None
    quality = record.payload.quality.get(scan.modality, {}) if record is not None else {}
    columns: dict[str, Any] = {"status": status, "reason": reason, "detail": detail}
    if facts is not None:
        columns |= {
            "shape": "x".join(map(str, facts.shape)),
            "spacing_mm": "x".join(f"{length:g}" for length in facts.spacing_mm),
            "orientation": facts.orientation,
            "voxel_volume_mm3": facts.voxel_volume_mm3,
            "notes": ", ".join(facts.notes) or None,
        }
    columns |= {figure.name: quality[figure.name] for figure in QUALITY_FIGURES if figure.name in quality}
    return columns
