"""Multi-reader multi-case analysis (MRMC) after Obuchowski and Rockette, for any measure with a covariance.

*Treatments* are the conditions under which the same readers read the same cases: with and without help, or two
modalities. The covariances of the readers' estimates (of ``auc_covariance``) are averaged to an error variance and
three covariances: ``cov1`` of one reader under two treatments, ``cov2`` of two readers under one treatment, ``cov3`` of
two readers under two treatments. What a result speaks for is its *inference*: readers and cases like these, cases like
these for these very readers, or readers like these for these very cases.

References
----------
Obuchowski NA, Rockette HE (1995). Commun Stat Simul Comput 24:285-308. Hillis SL et al. (2005). Statistics in Medicine
24:1579-1607, DOI 10.1002/sim.2024. Hillis SL (2007). Statistics in Medicine 26:596-619, DOI 10.1002/sim.2532 (degrees
of freedom).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import stats

from reports.estimators.estimate import Interval, checked_level, checked_option, not_estimable
from tasks.arrays import FloatArray

Inference = Literal["readers_and_cases", "cases", "readers"]
INFERENCES: tuple[Inference, ...] = get_args(Inference)


@dataclass(frozen=True)
class ErrorCovariances:
    """Error variance and covariances of the readers' estimates, as averages; NaN where there is no such pair."""

    variance: float
    cov1: float
    cov2: float
    cov3: float


@dataclass(frozen=True)
class ReaderEffect:
    """A mean over readers, or a difference of two such means, of ``n`` cases and ``n_readers`` readers."""

    estimate: float
    standard_error: float
    df: float
    p: float
    n: int
    n_readers: int
    inference: Inference
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Interval by Student's t with Hillis's degrees of freedom (normal where readers are fixed)."""
        checked_level(level)
        method = f"Obuchowski-Rockette, random {self.inference.replace('_', ' ')}"
        if self.reason is not None:
            return not_estimable(method, level, self.reason)
        margin = float(stats.t.ppf((1 + level) / 2, self.df)) * self.standard_error
        return Interval(self.estimate - margin, self.estimate + margin, level, method)


@dataclass(frozen=True)
class TreatmentComparison:
    """The global test that all treatments are alike, and what it is made of.

    ``estimate`` is F, or chi-square over its degrees of freedom where readers are fixed; ``differences`` are those of
    every pair of treatments (first less second), by their positions.
    """

    estimate: float
    df_treatments: int
    df_error: float
    p: float
    n: int
    means: tuple[float, ...]
    mean_squares: tuple[float, float, float]
    components: ErrorCovariances
    differences: dict[tuple[int, int], ReaderEffect]
    inference: Inference
    reason: str | None = None


def reader_mean(*, estimates: npt.ArrayLike, covariance: npt.ArrayLike, n: int, null: float = 0.0) -> ReaderEffect:
    """Mean of one treatment over random readers and cases, tested against ``null``.

    With ``estimates`` the areas of the readers this is their mean area; with the differences of a machine's area and
    each reader's it compares the machine with readers like these.

    Parameters
    ----------
    estimates : (r,) float array, one per reader, r >= 2
    covariance : (r, r) float array
    n : int
        Cases that the estimates rest on.
    null : float

    Returns
    -------
    ReaderEffect
        NaN with a reason for fewer than two readers, a missing value, and where nothing varies.
    """
    areas, matrix = _checked(np.atleast_2d(np.asarray(estimates, dtype=np.float64)), covariance)
    r = areas.shape[1]
    reason = _not_estimable(areas, matrix)
    if reason is None:
        cov2 = _mean_off_diagonal(matrix)
        spread = float(areas.var(ddof=1))
        whole = spread + r * max(cov2, 0.0)
        if whole > 0:
            df = math.inf if spread == 0 else whole**2 / (spread**2 / (r - 1))
            return _effect(float(areas.mean()), math.sqrt(whole / r), df, n, (r, "readers_and_cases"), null)
        reason = "neither readers nor cases vary"
    nan = math.nan
    mean = float(areas.mean()) if areas.size else nan
    return ReaderEffect(mean, nan, nan, nan, n, r, "readers_and_cases", reason)


def compare_treatments(
    *, estimates: npt.ArrayLike, covariance: npt.ArrayLike, n: int, inference: Inference = "readers_and_cases"
) -> TreatmentComparison:
    """Obuchowski-Rockette analysis of a complete treatment-by-reader table.

    Parameters
    ----------
    estimates : (t, r) float array, one row per treatment, one column per reader, t >= 2 and r >= 2
    covariance : (t * r, t * r) float array
        Of the estimates in row order: first treatment's readers, then the second's.
    n : int
        Cases that the estimates rest on.
    inference : {"readers_and_cases", "cases", "readers"}

    Returns
    -------
    TreatmentComparison
        NaN with a reason for a missing value and where nothing varies.

    Raises
    ------
    ValueError
        The shapes do not fit, or the inference is unknown.
    """
    checked_option("inference", inference, INFERENCES)
    areas, matrix = _checked(np.asarray(estimates, dtype=np.float64), covariance)
    t, r = areas.shape
    if t < 2:
        raise ValueError(f"estimates must have at least 2 treatments, got {t}. Take reader_mean for one.")
    means = tuple(float(value) for value in areas.mean(axis=1))
    reason = _not_estimable(areas, matrix)
    squares = _mean_squares(areas) if reason is None else (math.nan,) * 3
    parts = _components(matrix, t, r) if reason is None else ErrorCovariances(*(math.nan,) * 4)
    error, df = _error_term(squares, parts, (t, r), inference)
    if reason is None and not error > 0:
        reason = "the treatments do not vary between readers or cases"
    df_treatments = t - 1
    if reason is None:
        ratio = squares[0] / error
        p = (
            float(stats.f.sf(ratio, df_treatments, df))
            if math.isfinite(df)
            else float(stats.chi2.sf(df_treatments * ratio, df_treatments))
        )
    else:
        ratio, p = math.nan, math.nan
    differences = {
        (first, second): _effect(means[first] - means[second], math.sqrt(2 * error / r), df, n, (r, inference))
        if reason is None
        else ReaderEffect(means[first] - means[second], *(math.nan,) * 3, n, r, inference, reason)
        for first, second in combinations(range(t), 2)
    }
    return TreatmentComparison(
        estimate=ratio, df_treatments=df_treatments, df_error=df, p=p, n=n, means=means, mean_squares=squares,
        components=parts, differences=differences, inference=inference, reason=reason,
    )  # fmt: skip


def _error_term(
    squares: tuple[float, float, float], parts: ErrorCovariances, shape: tuple[int, int], inference: Inference
) -> tuple[float, float]:
    """Return the denominator of F, on the scale of MS(T), and its degrees of freedom (Hillis 2007)."""
    t, r = shape
    interaction, between = squares[2], max(parts.cov2 - parts.cov3, 0.0)
    if inference == "cases":
        return parts.variance - parts.cov1 + (r - 1) * between, math.inf
    df = float((t - 1) * (r - 1))
    if inference == "readers":
        return interaction, df
    error = interaction + r * between
    return error, math.inf if interaction == 0 else error**2 / (interaction**2 / df)


def _effect(
    estimate: float, standard_error: float, df: float, n: int, of: tuple[int, Inference], null: float = 0.0
) -> ReaderEffect:
    """The effect with its two-sided p."""
    p = float(2 * stats.t.sf(abs(estimate - null) / standard_error, df))
    return ReaderEffect(estimate, standard_error, df, p, n, *of)


def _checked(areas: FloatArray, covariance: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return both as arrays whose shapes fit, or raise ValueError."""
    matrix = np.atleast_2d(np.asarray(covariance, dtype=np.float64))
    if areas.ndim != 2 or matrix.shape != (areas.size, areas.size):
        raise ValueError(
            f"covariance must have shape ({areas.size}, {areas.size}), one row per estimate, got {matrix.shape} for "
            f"estimates of shape {areas.shape}."
        )
    return areas, matrix


def _not_estimable(areas: FloatArray, matrix: FloatArray) -> str | None:
    """Return why there is no analysis, or None."""
    if areas.shape[1] < 2:
        return f"{areas.shape[1]} reader, at least 2 are needed"
    if not (np.all(np.isfinite(areas)) and np.all(np.isfinite(matrix))):
        return "an estimate or covariance is not defined"
    return None


def _mean_squares(areas: FloatArray) -> tuple[float, float, float]:
    """Mean squares of treatments, readers and their interaction."""
    t, r = areas.shape
    grand, treatment, reader = areas.mean(), areas.mean(axis=1, keepdims=True), areas.mean(axis=0, keepdims=True)
    return (
        float(r * np.sum((treatment - grand) ** 2) / (t - 1)),
        float(t * np.sum((reader - grand) ** 2) / (r - 1)),
        float(np.sum((areas - treatment - reader + grand) ** 2) / ((t - 1) * (r - 1))),
    )


def _components(matrix: FloatArray, t: int, r: int) -> ErrorCovariances:
    """Averages of the covariance matrix over pairs of one kind."""
    treatment, reader = np.divmod(np.arange(t * r), r)
    same_treatment, same_reader = np.equal.outer(treatment, treatment), np.equal.outer(reader, reader)
    kinds = (
        same_treatment & same_reader,
        ~same_treatment & same_reader,
        same_treatment & ~same_reader,
        ~same_treatment & ~same_reader,
    )
    return ErrorCovariances(*(float(matrix[kind].mean()) for kind in kinds))


def _mean_off_diagonal(matrix: FloatArray) -> float:
    """Mean covariance of two different readers."""
    return float(matrix[~np.eye(len(matrix), dtype=bool)].mean())
