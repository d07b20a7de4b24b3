"""How well a classifier of regions tells affected ones: over regions of patients that it never saw, with intervals.

The area under the ROC curve is over regions, all of them or those of one group. Sensitivity and specificity are those
at the classifier's own cuts. Intervals are percentiles over resampled patients, since regions of one patient go
together; single regions have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy import stats

from models.classifier import RegionClassifier
from models.training.described import RegionTable, Rows
from models.training.judging import INTERVAL_LEVEL
from tasks.anatomy import ASPECTS_REGIONS, CORTICAL_REGIONS, DEEP_REGIONS
from tasks.arrays import AnyArray, FloatArray, Mask

RESAMPLED = 500  # times
EVERY_REGION, PATIENTS = "all regions", "patients"
GROUPS: Mapping[str, tuple[str, ...]] = {
    EVERY_REGION: ASPECTS_REGIONS,
    "deep": DEEP_REGIONS,
    "cortical": CORTICAL_REGIONS,
    **{region: (region,) for region in ASPECTS_REGIONS},
}


def judge(classifier: RegionClassifier, table: RegionTable, seed: int) -> list[dict[str, Any]]:
    """Metrics of every group of regions, as a card has them.

    Parameters
    ----------
    classifier : RegionClassifier, calibrated and with cuts
    table : patients that it never saw
    seed : of the resamples
    """
    rows = table.rows(classifier.columns)
    return judge_rows(rows, classifier.probabilities(rows.values, list(rows.regions)), classifier.cuts, seed)


def judge_rows(rows: Rows, chance: FloatArray, cuts: Mapping[str, float], seed: int) -> list[dict[str, Any]]:
    """Metrics of every group of regions whose chances are known, as a card has them.

    Parameters
    ----------
    rows : regions of patients
    chance : (rows,) float array
    cuts : region -> least chance of an affected one
    seed : of the resamples
    """
    is_called = chance >= np.array([cuts[region] for region in rows.regions])
    found = []
    for group, regions in GROUPS.items():
        at = np.flatnonzero(np.isin(rows.regions, regions))
        found += list(
            _of_group(group, rows.taken(at), (chance[at], is_called[at]), None if len(regions) == 1 else seed)
        )
    return found


def judge_patients(chance: FloatArray, truth: Mask, threshold: float, seed: int) -> list[dict[str, Any]]:
    """Metrics of a chance for each patient, as a card has them.

    Parameters
    ----------
    chance : (n,) float array
    truth : (n,) bool array
    threshold : a chance of at least this is called
    seed : of the resamples
    """
    n = len(truth)
    rows = Rows((), np.zeros((n, 0)), np.full(n, PATIENTS), truth, np.arange(n), np.zeros(n, int))
    return list(_of_group(PATIENTS, rows, (chance, chance >= threshold), seed))


def nested_area(rows: Rows, decided: FloatArray, seed: int) -> dict[str, Any]:
    """Area of decisions that were made without the patient, over all regions of the training."""
    return _metric(EVERY_REGION, "auc", rows, lambda at: area(rows.is_affected[at], decided[at]), seed)


def area(truth: Mask, values: FloatArray) -> float:
    """Area under the ROC curve; NaN where there is one class alone.

    >>> area(np.array([False, True, True]), np.array([0.1, 0.1, 0.4]))
    0.75
    """
    n_true = int(truth.sum())
    if not 0 < n_true < len(truth):
        return float("nan")
    ranks = stats.rankdata(values)  # ties have the mean of their ranks
    return float((ranks[truth].sum() - n_true * (n_true + 1) / 2) / (n_true * (len(truth) - n_true)))


def _of_group(group: str, rows: Rows, said: tuple[FloatArray, Mask], seed: int | None) -> Iterator[dict[str, Any]]:
    """Area, sensitivity and specificity of chances and calls; without a seed no interval."""
    truth, (chance, called) = rows.is_affected, said
    yield _metric(group, "auc", rows, lambda at: area(truth[at], chance[at]), seed)
    for metric, which in (("sensitivity", truth), ("specificity", ~truth)):

        def share(at: AnyArray, which: Mask = which, wanted: Mask = called == truth) -> float:
            n = which[at].sum()
            return float((wanted[at] & which[at]).sum() / n) if n else float("nan")

        yield _metric(group, metric, rows, share, seed)


def _metric(group: str, metric: str, rows: Rows, value_of: Any, seed: int | None) -> dict[str, Any]:
    """One value with its interval; None where it is not defined."""
    everyone = np.arange(len(rows.patient))
    order = np.argsort(rows.patient, kind="stable")
    _, firsts = np.unique(rows.patient[order], return_index=True)
    of_patient = np.split(order, firsts[1:])
    rng = np.random.default_rng(seed)
    resampled = [
        value_of(np.concatenate([of_patient[one] for one in rng.integers(len(of_patient), size=len(of_patient))]))
        for _ in range(RESAMPLED if seed is not None and len(of_patient) > 1 else 0)
    ]
    value = value_of(everyone)
    known = np.array(resampled)[np.isfinite(resampled)] if resampled else np.zeros(0)
    low, high = np.quantile(known, [(1 - INTERVAL_LEVEL) / 2, (1 + INTERVAL_LEVEL) / 2]) if len(known) else (None, None)
    return {
        "stratum": group,
        "metric": metric,
        "n": len(of_patient),
        "n_affected": int(rows.is_affected.sum()),
        "n_regions": len(everyone),
        "value": value if np.isfinite(value) else None,
        "lower": None if low is None else float(low),
        "upper": None if high is None else float(high),
    }
