"""From a cohort and its committed records to the rows of ``regions`` and ``scores``.

Rules and laterality are applied here, to stored numbers: changing one opens no image. A participant that could not be
scored keeps its rows, with status, reason and nulls.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from cohorts.folder.manifest import Cohort, Reading
from cohorts.folder.source import ComputedSource, DensityRatioSource, LesionSource
from cohorts.folder.study import FractionRule, StudyConfig
from cohorts.store.records import Record
from cohorts.tables.participants import Standing
from cohorts.tables.rows import Batch, MapUse, Measured, Rows, state_of
from cohorts.tables.schemas import REGIONS, SCORES
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, MAXIMUM_SCORE
from tasks.density.rule import BUILT_IN_DENSITY_RULES
from tasks.scoring import BUILT_IN_RULES, RegionRule, aspects_score, choose_side, fraction_rule

PARTICIPANTS_PER_BATCH = 500
READER_RULE = "reader"
#: A region of which less than this share lies in the scan cannot be scored; as for masks.
LEAST_COVERAGE = 0.95


def rule_of(source: LesionSource, config: StudyConfig) -> RegionRule:
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


def regions_and_scores(
    cohort: Cohort, measured: Measured, standings: Mapping[str, Standing]
) -> Iterator[tuple[Batch, Batch]]:
    """Rows of ``regions`` and ``scores``, some hundred participants at a time."""
    config = cohort.config
    rules = {source.name: rule_of(source, config) for source in config.lesion_sources}
    clinical_sides = _clinical_sides(cohort)
    readings = _readings_by_participant(cohort.readings)
    participants = list(standings)
    for start in range(0, len(participants), PARTICIPANTS_PER_BATCH):
        regions, scores = Rows(REGIONS), Rows(SCORES)
        for participant_id in participants[start : start + PARTICIPANTS_PER_BATCH]:
            for source in config.computed_sources:
                record = measured.records.get((participant_id, source.measurement))
                use = measured.maps[source.name]
                common = {
                    "participant_id": participant_id,
                    "source": source.name,
                    "rule": source.rule,
                    "weights_state": "none",
                }
                if record is None or record.status != "ok":
                    status, reason = state_of(record, standings[participant_id])
                    scores.add(**common, laterality=source.laterality, status=status, reason=reason)
                    if record is not None:
                        for label in use.table.labels:
                            regions.add(**common, side=label.side, region=label.region, status=status, reason=reason)
                    continue
                if isinstance(source, DensityRatioSource):
                    affected = _add_densities(regions, record, use, common)
                else:
                    affected = _add_fractions(regions, record, use, rules[source.name], common)
                side = clinical_sides.get(participant_id)
                scores.add(**common, **_score_columns(source, affected, use, record, side))
            if config.readings_source is not None:
                _add_readings(regions, scores, readings.get(participant_id, {}), config, clinical_sides)
        yield regions.columns, scores.columns


def _score_columns(
    source: ComputedSource,
    affected: Mapping[tuple[str, str], bool],
    use: MapUse,
    record: Record,
    clinical_side: str | None,
) -> dict[str, Any]:
    """Columns of one ``scores`` row of a measured participant."""
    columns: dict[str, Any] = {"laterality": source.laterality}
    if not use.table.is_aspects:
        return columns | {"status": "excluded", "reason": "not_an_aspects_map"}
    if len(affected) < len(HEMISPHERES) * len(ASPECTS_REGIONS):
        return columns | {"status": "excluded", "reason": "region_not_covered"}
    score = aspects_score(
        affected,
        laterality=source.laterality,
        lesion_side=record.payload["lesion"]["side"] if "lesion" in record.payload else density_side(affected),
        clinical_side=clinical_side,
    )
    return columns | {
        "score_left": score.left,
        "score_right": score.right,
        "score": score.score,
        "scored_side": score.scored_side,
        "status": "ok" if score.score is not None else "excluded",
        "reason": score.reason,
    }


def _add_densities(
    regions: Rows, record: Record, use: MapUse, common: Mapping[str, Any]
) -> dict[tuple[str, str], bool]:
    """Add one participant's rows of one density source; give back which ASPECTS regions are affected."""
    rule = BUILT_IN_DENSITY_RULES[common["rule"]]
    affected: dict[tuple[str, str], bool] = {}
    for label, density in zip(use.table.labels, record.payload["densities"][use.sha256], strict=True):
        row = {**common, "side": label.side, "region": label.region}
        if density["ratio"] is None or density["coverage"] < LEAST_COVERAGE:
            regions.add(**row, status="excluded", reason="region_not_covered")
            continue
        is_affected = None
        if label.region in rule.cuts and label.side in HEMISPHERES:
            is_affected = rule.is_affected(label.region, density["ratio"])
            affected[label.side, label.region] = is_affected
        regions.add(**row, relative_difference=density["relative_difference"], affected=is_affected, status="ok")
    return affected


def density_side(affected: Mapping[tuple[str, str], bool]) -> str:
    """The side with more affected regions; ``both`` where they are as many."""
    n_left, n_right = (sum(flag for (side, _), flag in affected.items() if side == one) for one in HEMISPHERES)
    return "both" if n_left == n_right else "left" if n_left > n_right else "right"


def _add_fractions(
    regions: Rows, record: Record, use: MapUse, rule: RegionRule, common: Mapping[str, Any]
) -> dict[tuple[str, str], bool]:
    """Add one participant's rows of one lesion source; give back which ASPECTS regions are affected."""
    counts = record.payload["counts"][use.sha256]
    voxel_ml = next(iter(record.payload["scans"].values()))["voxel_volume_mm3"] / 1000  # of the scan it lies on
    coverage = counts.get("coverage", [1.0] * len(counts["n_region"]))
    affected: dict[tuple[str, str], bool] = {}
    for label, n_region, n_lesion, covered in zip(
        use.table.labels, counts["n_region"], counts["n_lesion"], coverage, strict=True
    ):
        row = {**common, "side": label.side, "region": label.region}
        if not n_region or covered < LEAST_COVERAGE:
            regions.add(**row, status="excluded", reason="region_not_covered")
            continue
        is_affected = None
        if label.region in rule.cuts:
            is_affected = rule.is_affected(region=label.region, fraction=n_lesion / n_region, n_lesion_voxels=n_lesion)
            affected[label.side, label.region] = is_affected
        regions.add(
            **row,
            n_region_voxels=n_region,
            n_lesion_voxels=n_lesion,
            lesion_volume_ml=n_lesion * voxel_ml,
            fraction=n_lesion / n_region,
            affected=is_affected,
            status="ok",
        )
    return affected


def _add_readings(
    regions: Rows,
    scores: Rows,
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
