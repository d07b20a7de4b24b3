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
from cohorts.folder.source import Source
from cohorts.folder.study import StudyConfig
from cohorts.store.findings import Findings
from cohorts.tables.participants import Standing
from cohorts.tables.rows import Batch, MapUse, Measured, Rows, state_of
from cohorts.tables.schemas import REGIONS, SCORES
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, MAXIMUM_SCORE
from tasks.scoring import LEAST_COVERAGE, RegionEvidence, Rule, Score, affected_side, aspects_score, choose_side

PARTICIPANTS_PER_BATCH = 500
READER_RULE = "reader"
NO_WEIGHTS = "none"


def regions_and_scores(
    cohort: Cohort, measured: Measured, standings: Mapping[str, Standing]
) -> Iterator[tuple[Batch, Batch]]:
    """Rows of ``regions`` and ``scores``, some hundred participants at a time."""
    config = cohort.config
    sources = [one for one in config.computed_sources if one.is_scoring and one.name not in measured.absent]
    clinical_sides = _clinical_sides(cohort)
    readings = _readings_by_participant(cohort.readings)
    participants = list(standings)
    for start in range(0, len(participants), PARTICIPANTS_PER_BATCH):
        regions, scores = Rows(REGIONS), Rows(SCORES)
        for participant_id in participants[start : start + PARTICIPANTS_PER_BATCH]:
            for source in sources:
                record = measured.records.get((participant_id, config.measurement_of[source.name]))
                use = measured.maps[source.name]
                common = {
                    "participant_id": participant_id,
                    "source": source.name,
                    "rule": source.rule_name,
                    "weights_state": measured.weights_states.get(source.name, NO_WEIGHTS),
                }
                if record is None or record.status != "ok":
                    status, reason = state_of(record, standings[participant_id])
                    scores.add(**common, laterality=source.laterality, status=status, reason=reason)
                    if record is not None and "regions" in source.gives:
                        for label in use.table.labels:
                            regions.add(**common, side=label.side, region=label.region, status=status, reason=reason)
                    continue
                affected, missing = _add_regions(regions, source, record.payload, use, config.rule_of(source), common)
                side = clinical_sides.get(participant_id)
                scores.add(**common, **_score_columns(source, (affected, missing), use, record.payload, side))
            if config.readings_source is not None:
                _add_readings(regions, scores, readings.get(participant_id, {}), config, clinical_sides)
        yield regions.columns, scores.columns


def _add_regions(
    regions: Rows, source: Source, found: Findings, use: MapUse, rule: Rule, common: Mapping[str, Any]
) -> tuple[dict[tuple[str, str], bool], str | None]:
    """Add one participant's rows of one source.

    Returns
    -------
    Which regions that its rule speaks of are affected; why others could not be judged, None where all could.
    """
    affected: dict[tuple[str, str], bool] = {}
    missing: set[str] = set()
    all_evidence = list(source.evidence(found, use))
    lost = {one.region: "region_not_found" for one in all_evidence if one.value is None and one.atlas_dice == 0}
    lost |= {one.region: "region_not_tissue" for one in all_evidence if (one.fluid_share or 0.0) > source.most_fluid}
    for evidence in all_evidence:
        row = {
            **common,
            "side": evidence.side,
            "region": evidence.region,
            "fluid_share": evidence.fluid_share,
            "atlas_dice": evidence.atlas_dice,
        }
        if (reason := _not_judged(evidence, source, lost)) is not None:
            missing.add(reason)
            regions.add(**row, status="excluded", reason=reason)
            continue
        is_affected = rule.judge(evidence)
        if is_affected is not None:
            affected[evidence.side, evidence.region] = is_affected
        regions.add(
            **row,
            **{evidence.column: evidence.value},
            n_region_voxels=evidence.n_region_voxels,
            n_lesion_voxels=evidence.n_lesion_voxels,
            lesion_volume_ml=evidence.lesion_volume_ml,
            affected=is_affected,
            status="ok",
        )
    return affected, min(missing, default=None)  # not covered comes first


def _not_judged(evidence: RegionEvidence, source: Source, lost: Mapping[str, str]) -> str | None:
    """Why a region cannot be judged; None where it can.

    ``lost`` are regions that on either side are fluid, or that the network did not find where the atlas has them: this
    leaves the other side without a number, too.
    """
    if evidence.coverage < LEAST_COVERAGE:
        return "region_not_covered"
    if (evidence.fluid_share or 0.0) > source.most_fluid:
        return "region_not_tissue"
    if evidence.value is None and evidence.is_affected is None:
        return evidence.reason or lost.get(evidence.region, "region_not_covered")
    return None


def _score_columns(
    source: Source,
    judged: tuple[Mapping[tuple[str, str], bool], str | None],
    use: MapUse,
    found: Findings,
    clinical_side: str | None,
) -> dict[str, Any]:
    """Columns of one ``scores`` row of a measured participant."""
    affected, missing = judged
    low = source.low_score_probability(found)
    columns: dict[str, Any] = {"laterality": source.laterality, "low_score_probability": low}
    score = source.score(found)
    if score is None and "regions" in source.gives:
        if not use.table.is_aspects:
            return columns | {"status": "excluded", "reason": "not_an_aspects_map"}
        if len(affected) < len(HEMISPHERES) * len(ASPECTS_REGIONS):
            return columns | {"status": "excluded", "reason": missing or "region_not_covered"}
        lesion = source.lesion(found)
        score = aspects_score(
            affected,
            laterality=source.laterality,
            lesion_side=affected_side(affected) if lesion is None else lesion.side,
            clinical_side=clinical_side,
        )
    elif score is not None and score.score is None and score.left is not None and score.right is not None:
        score = choose_side(score.left, score.right, laterality=source.laterality, clinical_side=clinical_side)
    if score is None:
        score = Score(None, None, None, None, None if low is not None else "no_score_given")
    if source.laterality == "clinical_side" and {score.scored_side, clinical_side} == {*HEMISPHERES}:
        score = Score(score.left, score.right, None, None, "clinical_side_not_read")  # only the other side was stated
    is_ok = score.score is not None or low is not None
    return columns | {
        "score_left": score.left,
        "score_right": score.right,
        "score": score.score,
        "scored_side": score.scored_side,
        "status": "ok" if is_ok else "excluded",
        "reason": None if is_ok else score.reason,
    }


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
        common = {"participant_id": participant_id, "source": source, "rule": READER_RULE, "weights_state": NO_WEIGHTS}
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
        reason: str | None = "scan_not_readable" if rows[0].not_readable else "reading_without_score"
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
