"""The values that each number of ``statistics`` can take: the bounds of its estimator, as functions of n where needed.

A lint with tighter bounds than the estimator's own refuses honest reports of small cohorts. So every bound is derived
here, and none is a habit of the field. ``limits`` bound the confidence limits: an estimator's own bounds where its
interval keeps them, wider where the interval is a margin around an estimate.

References
----------
McGraw KO, Wong SP (1996). Psychological Methods 1:30-46 (ICC). Cohen J (1968). Psychological Bulletin 70:213-220.
Gwet KL (2014). Handbook of Inter-Rater Reliability, 4th ed. Szekely GJ, Rizzo ML (2013). J Stat Plan Inference
143:1249-1272 (energy distance, for the bound of weighted kappa).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cohorts.folder.clinical_column import ClinicalColumn
from reports.estimators.bland_altman import LIMIT_FACTOR
from reports.statistics.patients import SCORE, VOLUME
from reports.statistics.rows import Row
from tasks.anatomy import MAXIMUM_SCORE

UNBOUNDED = (-math.inf, math.inf)
POSITIVE = (0.0, math.inf)
SHARE = (0.0, 1.0)
SIGNED = (-1.0, 1.0)


@dataclass(frozen=True)
class Bounds:
    """What an estimate and its confidence limits can be, (low, high) inclusive."""

    estimate: tuple[float, float]
    limits: tuple[float, float]

    @classmethod
    def same(cls, low: float, high: float) -> Bounds:
        """The interval keeps the bounds of the estimate."""
        return cls((low, high), (low, high))


def icc_a1_minimum(n: int, k: int = 2) -> float:
    """Least ICC(A,1) of n subjects and k raters.

    (MSS - MSE) / (MSS + (k - 1) MSE + k/n (MSR - MSE)) is least where MSS and MSR are 0: -n / ((k - 1)(n - 1) - 1). Two
    subjects of two raters leave nothing in the denominator, and there is no least value. The F limits have the same
    bound.

    >>> icc_a1_minimum(2), icc_a1_minimum(3), icc_a1_minimum(6), icc_a1_minimum(6, k=3)
    (-inf, -3.0, -1.5, -0.6666666666666666)
    """
    rest = (k - 1) * (n - 1) - 1
    return -n / rest if rest > 0 else -math.inf


def gwet_minimum(mean_credit: float) -> float:
    """A value that Gwet's coefficient cannot fall below, from the mean credit of all pairs of categories.

    Chance agreement is at most ``mean_credit`` (reached where all categories are used alike) and observed agreement at
    least 0, so (observed - chance) / (1 - chance) is at least -mean_credit / (1 - mean_credit). For two categories
    without weights (mean credit 1/2) this is -1.

    >>> gwet_minimum(0.5)
    -1.0
    """
    return -mean_credit / (1 - mean_credit)


def quadratic_mean_credit(q: int) -> float:
    """Mean quadratic credit of q equally spaced categories, 1 - (q + 1) / (6 (q - 1)).

    >>> round(quadratic_mean_credit(11), 12)
    0.8
    """
    return 1 - (q + 1) / (6 * (q - 1))


def spread_maximum(low: float, high: float, n: int | None) -> float:
    """Largest standard deviation (n - 1) of n values within low..high: half of them at either end.

    >>> spread_maximum(0, 10, 2)
    7.0710678118654755
    """
    if not n or n < 2 or math.isinf(high - low):
        return math.inf
    return math.sqrt((n // 2) * (n - n // 2) / n / (n - 1)) * (high - low)


def limit_of_agreement_maximum(n: int | None) -> float:
    """Largest distance of a limit of agreement from 0, of scores.

    |m| + f s with s^2 <= n / (n - 1) (r^2 - m^2), r = 10, is at most r sqrt(1 + f^2 n / (n - 1)) by Cauchy-Schwarz.
    """
    return MAXIMUM_SCORE * math.sqrt(1 + LIMIT_FACTOR**2 * n / (n - 1)) if n and n > 1 else math.inf


def _of_icc(row: Row) -> Bounds:
    return Bounds.same(icc_a1_minimum(row.n or 0), 1)


def _of_limit(row: Row) -> Bounds:
    edge = limit_of_agreement_maximum(row.n)
    return Bounds((-edge, edge), UNBOUNDED)


def _of_ratio(row: Row) -> Bounds:
    """Either likelihood ratio is at most the number of negatives: (a / P) / (b / N) with a <= P and b >= 1."""
    n_negative = math.inf if row.n is None or row.n_positive is None else row.n - row.n_positive
    return Bounds((0, n_negative), POSITIVE)


def _fixed(low: float, high: float, limits: tuple[float, float] | None = None) -> Callable[[Row], Bounds]:
    """Bounds that do not depend on the row."""
    return lambda _: Bounds((low, high), limits or (low, high))


def _count(row: Row) -> Bounds:
    return Bounds.same(0, math.inf if row.n is None else row.n)


_AC2 = gwet_minimum(quadratic_mean_credit(MAXIMUM_SCORE + 1))
#: Quantities that are a share of patients and so carry both counts.
PROPORTIONS = (
    *("sensitivity", "specificity", "accuracy", "ppv", "npv", "prevalence", "test_positive"),
    *("exact", "within_1", "within_2", "affected", "share", "region_agreement", "failed", "suspected"),
    *(f"{name}_{what}" for name in ("sensitivity", "specificity") for what in ("complete", "worst", "best")),
    *("site_sensitivity", "site_specificity"),
)
_SHARES = (
    *PROPORTIONS,
    *("sensitivity_corrected", "specificity_corrected", "sensitivity_published", "specificity_published"),
    *("balanced_accuracy", "f1_positive", "f1_negative", "auc", "auc_bootstrap", "sensitivity_gee", "specificity_gee"),
    *("region_prevalence_reference", "region_prevalence_candidate"),
    *("region_positive_agreement", "region_negative_agreement", "site_auc"),
    *(
        f"{kind}_{name}"
        for kind in ("pooled", "predicted", "without")
        for name in ("auc", "sensitivity", "specificity")
    ),
    *(f"i_squared_{name}" for name in ("auc", "sensitivity", "specificity", "icc_a1")),
)
_SEGMENTATION = {"dice": SHARE, "surface_dice": SHARE, "lesion_f1": SHARE, "hd95_mm": POSITIVE,
                 "volume_difference_ml": UNBOUNDED}  # fmt: skip
_COUNTS = (
    "n_both_empty",
    "n_reference_empty",
    "n_candidate_empty",
    "n",
    "n_missing",
    "n_screened",
    "n_included",
    "n_excluded",
    "n_failed",
    "n_measured",
    "n_examined",
    "n_unknown",
)
#: Weighted kappa is 1 - observed over expected disagreement. With a distance of negative type (0/1, linear, quadratic)
#: observed disagreement is at most twice the expected one (Szekely & Rizzo 2013), so kappa is at least -1.
_SIGNED = (
    *(
        "kappa",
        "kappa_linear",
        "kappa_quadratic",
        "region_kappa",
        "region_ac1",
        "spearman",
        "kendall",
        "mcc",
        "auc_difference",
    ),
    *("j", "j_corrected", "j_published", "pooled_icc_a1", "predicted_icc_a1", "without_icc_a1"),
)
#: Of a measure or a clinical column; what the values are bounded by is asked of the column.
LOCATIONS = ("median", "q1", "q3", "mean", "cut", "cut_published")

#: Quantity -> its bounds. A test holds that every quantity of an analysis is here or among the locations.
BOUNDS: Mapping[str, Callable[[Row], Bounds]] = {
    **dict.fromkeys(_SHARES, _fixed(*SHARE)),
    **dict.fromkeys(_COUNTS, _count),
    **dict.fromkeys(_SIGNED, _fixed(*SIGNED)),
    **{f"{name}{part}": _fixed(*edges) for name, edges in _SEGMENTATION.items() for part in ("", "_q1", "_q3")},
    "icc_a1": _of_icc,
    "icc_a1_bootstrap": _of_icc,  # a resample has n patients too
    "ac2": _fixed(_AC2, 1),
    "site_icc_a1": _of_icc,
    # of few patients, of whom some have one rating, a coefficient of several raters has no least value of its own
    **dict.fromkeys(("fleiss_kappa", "fleiss_ac"), _fixed(-math.inf, 1)),
    "reader_auc": _fixed(*SHARE, UNBOUNDED),
    **dict.fromkeys(("reader_auc_difference", "session_auc_difference"), _fixed(*SIGNED, UNBOUNDED)),
    **dict.fromkeys(("volume_ratio", "volume_ratio_loa_lower", "volume_ratio_loa_upper"), _fixed(*POSITIVE)),
    "side_bias": _fixed(-MAXIMUM_SCORE, MAXIMUM_SCORE, UNBOUNDED),
    **dict.fromkeys(("side_loa_lower", "side_loa_upper"), _fixed(*UNBOUNDED)),
    "bowker": _fixed(*POSITIVE),
    "generalised_odds_ratio": _fixed(*POSITIVE),
    # everybody treated wrongly costs the odds of the risk
    **dict.fromkeys(("net_benefit", "net_benefit_all"), _fixed(-math.inf, 1, UNBOUNDED)),
    **dict.fromkeys(("width", "n_for_width"), _fixed(*POSITIVE)),
    **dict.fromkeys(("calibration_intercept", "calibration_slope"), _fixed(*UNBOUNDED)),
    "brier": _fixed(*SHARE, UNBOUNDED),
    "bias": _fixed(-MAXIMUM_SCORE, MAXIMUM_SCORE, UNBOUNDED),
    "loa_lower": _of_limit,
    "loa_upper": _of_limit,
    "proportional_slope": _fixed(*UNBOUNDED),  # the variance of the means may be as small as it likes
    "lr_positive": _of_ratio,
    "lr_negative": _of_ratio,
    "odds_ratio": _fixed(*POSITIVE),
    "smd": _fixed(*UNBOUNDED),  # so may that of the groups
    "difference": _fixed(*POSITIVE),  # U, H, chi-square, or Fisher's odds ratio
    "grades_test": _fixed(*POSITIVE),
    "class_test": _fixed(*POSITIVE),
    **dict.fromkeys(("primary", "confirmatory", "exploratory"), _fixed(*UNBOUNDED)),  # as the number they point at
}


def bounds_of(row: Row, columns: Mapping[str, ClinicalColumn]) -> Bounds:
    """The bounds of a row.

    Parameters
    ----------
    row : Row
    columns : column of participants -> its declaration, whose range bounds what is said of its values
    """
    if row.quantity == "sd":
        low, high = _values(row, columns)
        return Bounds.same(0, spread_maximum(low, high, row.n))
    if row.quantity in LOCATIONS:
        return Bounds.same(*_values(row, columns))
    return BOUNDS[row.quantity](row) if row.quantity in BOUNDS else Bounds.same(*UNBOUNDED)


def _values(row: Row, columns: Mapping[str, ClinicalColumn]) -> tuple[float, float]:
    """What single values may be: those of the measure, or as the clinical column was declared."""
    if row.measure in (SCORE, VOLUME):
        return (0, MAXIMUM_SCORE) if row.measure == SCORE else POSITIVE
    column = columns.get(row.variable or "")
    if column is None:
        return UNBOUNDED
    low = -math.inf if column.minimum is None else column.minimum
    return low, math.inf if column.maximum is None else column.maximum
