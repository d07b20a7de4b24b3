"""Intention to diagnose: every patient whom the test was meant for counts, also where it gave no result.

Sensitivity among the patients who could be scored flatters a method that fails on hard scans. Beside the complete cases
stand two bounds: *worst* counts every failure as an error (a severe patient missed, a mild one called severe), *best*
as a correct answer. The truth lies between them; a wide gap says that failures decide.

References
----------
Schuetz GM et al. (2012). BMJ 345:e6717 (3 x 2 tables). Shinkins B et al. (2013). BMJ 346:f2778.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.estimators.dichotomy import BinaryPerformance, counted
from reports.estimators.estimate import Proportion, checked_flags
from tasks.thresholds import Threshold


@dataclass(frozen=True)
class IntentionToDiagnose:
    """A three-by-two table: positive, negative and no result, with and without the condition.

    ``n_unknown`` further patients have no reference and are in no cell.
    """

    complete: BinaryPerformance
    failed_positive: int
    failed_negative: int
    n_unknown: int

    @property
    def n(self) -> int:
        """Number of patients with a reference."""
        return self.complete.n + self.failed_positive + self.failed_negative

    @property
    def failures(self) -> Proportion:
        """Patients without a result, of those with a reference."""
        return Proportion(self.failed_positive + self.failed_negative, self.n)

    @property
    def worst(self) -> BinaryPerformance:
        """Every failure counted as an error."""
        table = self.complete
        return BinaryPerformance(
            table.tp, table.fn + self.failed_positive, table.fp + self.failed_negative, table.tn, table.threshold
        )

    @property
    def best(self) -> BinaryPerformance:
        """Every failure counted as a correct answer."""
        table = self.complete
        return BinaryPerformance(
            table.tp + self.failed_positive, table.fn, table.fp, table.tn + self.failed_negative, table.threshold
        )


def intention_to_diagnose(
    *, reference: npt.ArrayLike, candidate: npt.ArrayLike, threshold: Threshold
) -> IntentionToDiagnose:
    """Three-by-two table of a number cut at a declared threshold.

    Parameters
    ----------
    reference : (n,) float array, 1 with the condition, 0 without, NaN where it is not known
    candidate : (n,) float array, in the unit of the threshold; NaN where the test gave no result
    threshold : Threshold

    Examples
    --------
    >>> cut = Threshold("low", 6, "le", "low", "", "ASPECTS")
    >>> table = intention_to_diagnose(reference=[1, 1, 1, 0, 0], candidate=[4, 8, np.nan, 9, np.nan], threshold=cut)
    >>> [one.proportions()["sensitivity"].count for one in (table.worst, table.complete, table.best)]
    [1, 1, 2]
    """
    condition, values = np.asarray(reference, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if condition.ndim != 1 or condition.shape != values.shape:
        raise ValueError(
            f"reference and candidate must have one value per patient, got {condition.shape} and {values.shape}."
        )
    known = ~np.isnan(condition)
    is_positive = checked_flags("reference", condition[known])
    values = values[known]
    has_result = ~np.isnan(values)
    says = threshold.is_positive(values[has_result])
    truth = is_positive[has_result]
    table = counted(truth, says, threshold)
    failed = is_positive[~has_result]
    n_failed_positive = int(np.count_nonzero(failed))
    return IntentionToDiagnose(table, n_failed_positive, failed.size - n_failed_positive, int(np.count_nonzero(~known)))
