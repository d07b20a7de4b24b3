"""From a cohort and its committed records to the rows of every table.

Rules and laterality are applied here, to stored counts: changing one opens no image. A participant that could not be
scored keeps its rows, with status, reason and nulls.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cohorts.manifest import Cohort, Reading
from cohorts.participants import NOT_MEASURED, Standing
from cohorts.records import Record
from cohorts.schemas import LESIONS, REGIONS, SCANS, SCORES, Table
from cohorts.study import FractionRule, MaskSource, StudyConfig
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, MAXIMUM_SCORE, LabelTable
from tasks.scoring import BUILT_IN_RULES, RegionRule, aspects_score, choose_side, fraction_rule

PARTICIPANTS_PER_BATCH = 500
READER_RULE = "reader"

Batch = dict[str, list[Any]]


@dataclass(frozen=True)
class MapUse:
    """A label map as the tables need it: its content digest and its label table."""

    sha256: str
    table: LabelTable


@dataclass(frozen=True)
class Measured:
    """What is known when tables are made: the records by (participant, modality) and the maps by source name."""

    records: Mapping[tuple[str, str], Record]
    maps: Mapping[str, MapUse]
    vascular: MapUse


class _Rows:
    """Columns being filled, in the order and with the names of one contract; what is not given is null."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.columns: Batch = {name: [] for name in table.names}

    def add(self, **values: Any) -> None:
        """Add one row."""
        for name, column in self.columns.items():
            column.append(values.pop(name, None))
        if values:
            raise TypeError(f"table {self._table.name} has no column {', '.join(values)}")


def rule_of(source: MaskSource, config: StudyConfig) -> RegionRule:
    """Look up the region rule of a source among the built-in and the declared ones."""
    if source.rule in BUILT_IN_RULES:
        return BUILT_IN_RULES[source.rule]
    declared = next(rule for rule in config.rule if rule.name == source.rule)
    if isinstance(declared, FractionRule):
        return fraction_rule(
            declared.name,
            deep=(declared.operator, declared.deep),
            cortical=(declared.operator, declared.cortical),
            minimum_voxels=declared.minimum_voxels,
        )
    cuts = {region: (declared.operator, cut) for region, cut in declared.cuts.items()}
    return RegionRule(declared.name, cuts, declared.minimum_voxels)


def scans_batch(
    cohort: Cohort, measured: Measured, standings: Mapping[str, Standing], files: Mapping[str, tuple[str, int]]
) -> Batch:
    """Rows of ``scans``; ``files`` gives (sha256, size in bytes) by path inside the cohort folder."""
    rows = _Rows(SCANS)
    used = mask_modalities(cohort.config)
    refused = {(scan.participant_id, scan.modality): scan.reason for scan in cohort.refused_scans}
    for scan in (*cohort.scans, *cohort.refused_scans):
        key = (scan.participant_id, scan.modality)
        record = measured.records.get(key)
        facts = record.payload.get("scan", {}) if record else {}
        sha256, size = files.get(scan.path, (None, None))
        if key in refused:
            status, reason = "excluded", refused[key]
        elif scan.modality not in used:
            status, reason = "excluded", "modality_not_used"
        else:
            status, reason = _state(record, standings[scan.participant_id])
        rows.add(
            participant_id=scan.participant_id,
            modality=scan.modality,
            space=scan.space,
            path=scan.path,
            sha256=sha256,
            size_bytes=size,
            shape="x".join(map(str, facts["shape"])) if facts else None,
            spacing_mm="x".join(f"{length:g}" for length in facts["spacing_mm"]) if facts else None,
            orientation=facts.get("orientation"),
            voxel_volume_mm3=facts.get("voxel_volume_mm3"),
            status=status,
            reason=reason,
        )
    return rows.columns


def lesions_batch(cohort: Cohort, measured: Measured, standings: Mapping[str, Standing]) -> Batch:
    """Rows of ``lesions``: every known participant for every modality that a mask source measures."""
    rows = _Rows(LESIONS)
    for participant_id, standing in standings.items():
        for modality in mask_modalities(cohort.config):
            record = measured.records.get((participant_id, modality))
            status, reason = _state(record, standing)
            values = lesion_values(record, measured.vascular) if record and record.status == "ok" else {}
            rows.add(participant_id=participant_id, source=modality, status=status, reason=reason, **values)
    return rows.columns


def lesion_values(record: Record, vascular: MapUse) -> dict[str, Any]:
    """Numeric columns of one ``lesions`` row."""
    lesion = record.payload["lesion"]
    counts = record.payload["counts"][vascular.sha256]
    in_territory: dict[str, int] = defaultdict(int)
    mca: dict[str, list[int]] = {side: [0, 0] for side in HEMISPHERES}
    for label, n_region, n_lesion in zip(vascular.table.labels, counts["n_region"], counts["n_lesion"], strict=True):
        territory = label.region.split("_")[0]
        in_territory[territory] += n_lesion
        if territory == "mca" and label.side in mca:
            mca[label.side][0] += n_lesion
            mca[label.side][1] += n_region
    n_voxels = lesion["n_voxels"]
    infarcted = {side: (part / whole if whole else None) for side, (part, whole) in mca.items()}
    return {
        "volume_ml": lesion["volume_ml"],
        "n_voxels": n_voxels,
        "n_components": lesion["n_components"],
        "max_diameter_mm": lesion["max_diameter_mm"],
        "side": lesion["side"],
        "volume_left_ml": lesion["volume_left_ml"],
        "volume_right_ml": lesion["volume_right_ml"],
        "mca_share": in_territory["mca"] / n_voxels,
        "aca_share": in_territory["aca"] / n_voxels,
        "pca_share": in_territory["pca"] / n_voxels,
        "posterior_fossa_share": in_territory["posterior"] / n_voxels,
        "mca_infarcted_left": infarcted["left"],
        "mca_infarcted_right": infarcted["right"],
    }


def mask_modalities(config: StudyConfig) -> tuple[str, ...]:
    """Modalities that mask sources measure, each once."""
    return tuple(dict.fromkeys(source.modality for source in config.mask_sources))


def regions_and_scores(
    cohort: Cohort, measured: Measured, standings: Mapping[str, Standing]
) -> Iterator[tuple[Batch, Batch]]:
    """Rows of ``regions`` and ``scores``, some hundred participants at a time."""
    config = cohort.config
    rules = {source.name: rule_of(source, config) for source in config.mask_sources}
    clinical_sides = _clinical_sides(cohort)
    readings = _readings_by_participant(cohort.readings)
    participants = list(standings)
    for start in range(0, len(participants), PARTICIPANTS_PER_BATCH):
        regions, scores = _Rows(REGIONS), _Rows(SCORES)
        for participant_id in participants[start : start + PARTICIPANTS_PER_BATCH]:
            for source in config.mask_sources:
                record = measured.records.get((participant_id, source.modality))
                use = measured.maps[source.name]
                common = {
                    "participant_id": participant_id,
                    "source": source.name,
                    "rule": source.rule,
                    "weights_state": "none",
                }
                if record is None or record.status != "ok":
                    status, reason = _state(record, standings[participant_id])
                    scores.add(**common, laterality=source.laterality, status=status, reason=reason)
                    if record is not None:
                        for label in use.table.labels:
                            regions.add(**common, side=label.side, region=label.region, status=status, reason=reason)
                    continue
                affected = _add_regions(regions, record, use, rules[source.name], common)
                if not use.table.is_aspects:
                    scores.add(**common, laterality=source.laterality, status="excluded", reason="not_an_aspects_map")
                    continue
                score = aspects_score(
                    affected,
                    laterality=source.laterality,
                    lesion_side=record.payload["lesion"]["side"],
                    clinical_side=clinical_sides.get(participant_id),
                )
                scores.add(
                    **common,
                    laterality=source.laterality,
                    score_left=score.left,
                    score_right=score.right,
                    score=score.score,
                    scored_side=score.scored_side,
                    status="ok" if score.score is not None else "excluded",
                    reason=score.reason,
                )
            if config.readings_source is not None:
                _add_readings(regions, scores, readings.get(participant_id, {}), config, clinical_sides)
        yield regions.columns, scores.columns


def _add_regions(
    regions: _Rows, record: Record, use: MapUse, rule: RegionRule, common: Mapping[str, Any]
) -> dict[tuple[str, str], bool]:
    """Add one participant's rows of one source; give back which ASPECTS regions are affected."""
    counts = record.payload["counts"][use.sha256]
    voxel_ml = record.payload["scan"]["voxel_volume_mm3"] / 1000
    affected: dict[tuple[str, str], bool] = {}
    for label, n_region, n_lesion in zip(use.table.labels, counts["n_region"], counts["n_lesion"], strict=True):
        if not n_region:
            reason = "region_not_on_grid"
            regions.add(**common, side=label.side, region=label.region, status="excluded", reason=reason)
            continue
        is_affected = None
        if label.region in rule.cuts:
            is_affected = rule.is_affected(region=label.region, fraction=n_lesion / n_region, n_lesion_voxels=n_lesion)
            affected[label.side, label.region] = is_affected
        regions.add(
            **common,
            side=label.side,
            region=label.region,
            n_region_voxels=n_region,
            n_lesion_voxels=n_lesion,
            lesion_volume_ml=n_lesion * voxel_ml,
            fraction=n_lesion / n_region,
            affected=is_affected,
            status="ok",
        )
    return affected


def _add_readings(
    regions: _Rows,
    scores: _Rows,
    readings: Mapping[str, Sequence[Reading]],
    config: StudyConfig,
    clinical_sides: Mapping[str, str],
) -> None:
    """Add the rows of every reader and session of one participant."""
    declared = config.readings_source
    laterality = declared.laterality if declared else "worst"
    for source, rows in readings.items():
        participant_id = rows[0].participant_id
        flags = {key: flag for row in rows for key, flag in row.flags.items()}
        common = {"participant_id": participant_id, "source": source, "rule": READER_RULE, "weights_state": "none"}
        for (hemisphere, region), flag in flags.items():
            regions.add(**common, side=hemisphere, region=region, affected=flag, status="ok")
        by_side = {row.side: row.score for row in rows if row.side is not None and row.score is not None}
        by_side |= {
            hemisphere: MAXIMUM_SCORE - sum(flags[hemisphere, region] for region in ASPECTS_REGIONS)
            for hemisphere in HEMISPHERES
            if all((hemisphere, region) in flags for region in ASPECTS_REGIONS)
        }
        low = next((row.low for row in rows if row.low is not None), None)
        score: int | None = next((row.score for row in rows if row.side is None and row.score is not None), None)
        side: str | None = None
        reason: str | None = "reading_without_score"
        if len(by_side) == len(HEMISPHERES):
            chosen = choose_side(
                by_side["left"],
                by_side["right"],
                laterality=laterality,
                clinical_side=clinical_sides.get(participant_id),
            )
            score, side, reason = chosen.score, chosen.scored_side, chosen.reason
        elif by_side:
            ((side, score),) = by_side.items()
            if laterality == "clinical_side" and clinical_sides.get(participant_id, side) != side:
                score, side, reason = None, None, "clinical_side_not_read"
        scores.add(
            **common,
            laterality=laterality,
            score_left=by_side.get("left"),
            score_right=by_side.get("right"),
            score=score,
            scored_side=side,
            low_score_probability=None if low is None else float(low),
            template_assisted=rows[0].template_assisted,
            status="ok" if score is not None or low is not None else "excluded",
            reason=None if score is not None or low is not None else reason,
        )


def _readings_by_participant(readings: Iterable[Reading]) -> dict[str, dict[str, list[Reading]]]:
    """Group readings by participant and source."""
    grouped: dict[str, dict[str, list[Reading]]] = defaultdict(lambda: defaultdict(list))
    for reading in readings:
        grouped[reading.participant_id][reading.source].append(reading)
    return grouped


def _clinical_sides(cohort: Cohort) -> dict[str, str]:
    """Affected hemisphere as the clinical table records it."""
    column = cohort.config.clinical_side
    if column is None:
        return {}
    words = {"l": "left", "left": "left", "r": "right", "right": "right"}
    pairs = zip(cohort.participants["participant_id"], cohort.participants[column], strict=True)
    return {
        participant_id: words[str(value).strip().lower()]
        for participant_id, value in pairs
        if not pd.isna(value) and str(value).strip().lower() in words
    }


def _state(record: Record | None, standing: Standing) -> tuple[str, str | None]:
    """Status and reason of a row: the record's, or why there is none."""
    if record is not None:
        return record.status, record.reason
    for exclusion in standing.exclusions:  # those of other stages are about another scan, or come after the scores
        if exclusion.stage == "screening" or exclusion.reason == NOT_MEASURED:
            return exclusion.status, exclusion.reason
    return "excluded", "no_scan_of_this_modality"
