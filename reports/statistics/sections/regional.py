"""Region by region against a reference: how well a source names the affected regions, patients being clusters.

Every region of either side is one judgement, all of a patient one cluster. ``category`` says which regions are taken
together: ``all`` twenty, ``subcortical`` (caudate, lentiform nucleus, internal capsule, insula) or ``cortical`` (M1 to
M6); a row with a ``region`` is of that region on both sides. ``numerator`` and ``denominator`` count regions, ``n``
counts patients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from reports.estimators.calibration import calibration
from reports.estimators.clustered import clustered_auc, gee_share, region_table
from reports.statistics.patients import EVIDENCE, Patients
from reports.statistics.rows import LEVEL, Builder, Details, Scope, joined
from reports.statistics.sections.agreement import pairs_of, shared_method
from tasks.anatomy import ASPECTS_REGIONS, CORTICAL_REGIONS, DEEP_REGIONS
from tasks.arrays import BoolArray, FloatArray, IntArray

ALL = "all"
#: Regions taken together; each is also taken alone.
GROUPS = {ALL: ASPECTS_REGIONS, "subcortical": DEEP_REGIONS, "cortical": CORTICAL_REGIONS}
#: Fewer patients than this are too few for clusters; the row says so. Chosen here.
FEW_PATIENTS = 20
POSITIVE = "region affected by the reference"


def add_regional(rows: Builder, patients: Patients, name: str) -> None:
    """Add sensitivity to area under the curve of every pair in which both sources judge all ten regions."""
    for reference, candidate in regional_pairs(patients):
        scope = Scope(section="regional", analysis_set=name, source=candidate, reference=reference)
        note = shared_method(patients, reference, candidate)
        for group, regions in GROUPS.items():
            _add_group(rows, replace(scope, category=group), patients, regions, note)
        for region in ASPECTS_REGIONS:
            _add_group(rows, replace(scope, region=region), patients, (region,), note)


def add_region_calibration(rows: Builder, patients: Patients, name: str) -> None:
    """Add whether the chances of regions come true by each reference, for sources that give chances."""
    for reference, candidate in regional_pairs(patients):
        if candidate not in patients.evidence or patients.evidence[candidate].column != "probability":
            continue
        affected, chance, whose = judgements(patients, reference, candidate, ASPECTS_REGIONS)
        scope = Scope(
            section="calibration", analysis_set=name, source=candidate, reference=reference, category="regions"
        )
        scope = replace(scope, positive_class=POSITIVE)
        result = calibration(reference=affected, probability=chance, patients=whose)
        note = joined(_few(np.unique(whose).size), f"{chance.size} regions, {result.n_positive} of them affected")
        for quantity, one in (("calibration_intercept", result.intercept), ("calibration_slope", result.slope),
                              ("brier", result.brier)):  # fmt: skip
            rows.statistic(scope, quantity, one, one.confidence_interval(LEVEL), Details(note=note))


def regional_pairs(patients: Patients) -> Iterator[tuple[str, str]]:
    """(reference, candidate) of the pairs of which both judge all ten regions."""
    for pair in pairs_of(patients):
        flags = [patients.flags.get(source) for source in pair]
        if all(one is not None and one.regions == ASPECTS_REGIONS for one in flags):
            yield pair


def judgements(
    patients: Patients, reference: str, candidate: str, regions: tuple[str, ...]
) -> tuple[BoolArray, FloatArray, IntArray]:
    """Of every region with a reference and evidence: (m,) whether it is affected, its evidence, and whose it is."""
    at = [ASPECTS_REGIONS.index(region) for region in regions]
    affected = patients.flags[reference].affected[:, :, at].reshape(patients.n, -1)
    values = patients.evidence[candidate].values[:, :, at].reshape(patients.n, -1)
    kept = ~np.isnan(affected) & ~np.isnan(values)
    whose = np.broadcast_to(np.arange(patients.n)[:, None], kept.shape)
    return np.asarray(affected[kept] == 1), np.asarray(values[kept]), np.asarray(whose[kept])


def _add_group(rows: Builder, scope: Scope, patients: Patients, regions: tuple[str, ...], note: str | None) -> None:
    """Add the indices of some regions."""
    at = [ASPECTS_REGIONS.index(region) for region in regions]
    first, second = (
        patients.flags[source or ""].affected[:, :, at].reshape(patients.n, -1)
        for source in (scope.reference, scope.source)
    )
    seed = scope.seed_of("sensitivity", patients.config.study.seed)
    n_resamples = patients.config.study.bootstrap_resamples
    table = region_table(reference=first, candidate=second, seed=seed, n_resamples=n_resamples)
    scope = replace(scope, positive_class=POSITIVE)
    note = joined(_few(table.n), note)
    shares = table.proportions()
    for quantity, index in table.indices().items():
        share = shares.get(quantity)
        details = Details(
            note=note, seed=seed, numerator=share.count if share else None, denominator=share.n if share else None
        )
        rows.statistic(scope, quantity, index, index.confidence_interval(LEVEL), details)
    if scope.category == ALL:
        tp, fn, fp, tn = table.counts.T
        for quantity, hits, others in (("sensitivity_gee", tp, fn), ("specificity_gee", tn, fp)):
            result = gee_share(hits=hits, sizes=hits + others)
            rows.statistic(scope, quantity, result, result.confidence_interval(LEVEL), Details(note=note))
    if scope.source in patients.evidence:
        column = patients.evidence[scope.source].column
        affected, values, whose = judgements(patients, scope.reference or "", scope.source, regions)
        area = clustered_auc(
            reference=affected, candidate=values, patients=whose, seed=seed, n_resamples=n_resamples,
            positive_when="high" if EVIDENCE[column] else "low",
        )  # fmt: skip
        noted = Details(note=joined(note, f"of {column.replace('_', ' ')}"))
        rows.statistic(scope, "auc", area, area.confidence_interval(LEVEL), noted)
        if scope.category == ALL:
            resampled = area.bootstrap()
            how = resampled.confidence_interval(LEVEL)
            rows.statistic(scope, "auc_bootstrap", resampled, how, replace(noted, seed=seed))


def _few(n: int) -> str | None:
    """A warning for few clusters."""
    return f"{n} patients are few for clusters: intervals are too narrow" if n < FEW_PATIENTS else None
