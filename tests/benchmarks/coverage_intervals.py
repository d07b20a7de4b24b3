"""Coverage of the intervals by simulation, in one run: ``python -m tests.benchmarks.coverage_intervals``.

Each line draws cohorts whose truth is known and counts how often a 95 % interval holds it, beside three Monte Carlo
standard errors of .95. An interval that is known to be an approximation may lie outside; the line shows by how much.
The last line is the error rate of a family of declared questions whose claims are all false.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import special, stats

from reports.estimators.auc_covariance import auc_covariance, compare_independent_aucs
from reports.estimators.bland_altman import bland_altman
from reports.estimators.calibration import calibration
from reports.estimators.decision_curve import net_benefit
from reports.estimators.dichotomy import BinaryPerformance
from reports.estimators.estimate import Interval, Proportion
from reports.estimators.multi_reader import reader_mean
from reports.estimators.ordinal_shift import generalised_odds_ratio
from reports.estimators.pooling import SiteEstimate, pool
from reports.estimators.rater_agreement import rater_agreement
from reports.estimators.repeated_differences import ratio_agreement, repeated_bland_altman
from reports.statistics.sections.plan import adjusted_p_values

N_TRIALS = 2000
N_FAMILIES = 500
Draw = Callable[[np.random.Generator], list[Interval]]


def multi_reader(rng: np.random.Generator, n: int = 60, n_readers: int = 5) -> list[Interval]:
    """Mean area of readers and cases that are both a sample; the truth is that of the mean shift."""
    condition = np.arange(n) < n // 2
    shift = MEAN_SHIFT + rng.normal(0, 0.3, n_readers)
    values = condition[:, None] * shift + rng.normal(size=(n, 1)) + rng.normal(size=(n, n_readers))
    areas = auc_covariance(reference=condition, candidates=values, positive_when="high")
    return [reader_mean(estimates=areas.estimates, covariance=areas.covariance, n=n).confidence_interval()]


MEAN_SHIFT = 1.5
#: Mean area over readers whose shift varies: Phi(mean / sqrt(variance of a difference of ratings + that of the shift)).
MULTI_READER_TRUTH = float(stats.norm.cdf(MEAN_SHIFT / math.sqrt(2 * 2 + 0.3**2)))


def repeated(rng: np.random.Generator) -> list[Interval]:
    """Twenty patients with two pairs each: bias 1, variance between 1 and within 0.5."""
    patients = np.repeat(np.arange(20), 2)
    difference = 1 + rng.normal(size=20)[patients] + rng.normal(0, math.sqrt(0.5), 40)
    result = repeated_bland_altman(patients=patients, reference=np.zeros(40), candidate=difference)
    return [result.confidence_interval(), result.limit_intervals()[1]]


def ratios(rng: np.random.Generator) -> list[Interval]:
    """Thirty volumes whose ratio is 1.2 in the mean, SD .3 of the logarithm."""
    reference = rng.lognormal(2, 1, 30)
    result = ratio_agreement(reference=reference, candidate=reference * np.exp(rng.normal(math.log(1.2), 0.3, 30)))
    return [result.confidence_interval(), result.limit_intervals()[1]]


def sites(rng: np.random.Generator) -> list[Interval]:
    """Six sites of unequal size about a mean of .5, standard deviation .1 between them."""
    errors = np.array([0.05, 0.06, 0.08, 0.1, 0.12, 0.15])
    found = 0.5 + rng.normal(0, 0.1, 6) + rng.normal(0, errors)
    result = pool([SiteEstimate(str(at), float(value), float(error), 50) for at, (value, error)
                   in enumerate(zip(found, errors, strict=True))])  # fmt: skip
    return [result.confidence_interval(), result.prediction_interval()]


def predict() -> None:
    """Print how often the prediction interval holds the true value of a seventh site."""
    rng = np.random.default_rng(16)
    n_held = 0
    for _ in range(N_TRIALS):
        interval = sites(rng)[1]
        n_held += interval.lower <= rng.normal(0.5, 0.1) <= interval.upper
    error = 3 * math.sqrt(0.95 * 0.05 / N_TRIALS)
    print(f"{'6 sites, prediction of a seventh':<48} {n_held / N_TRIALS:.3f}   .95 +- {error:.3f}")


def raters(rng: np.random.Generator) -> list[Interval]:
    """Three raters of fifty patients who copy the truth with probability .8 and guess otherwise: kappa .64."""
    truth = rng.random(50) < 0.5
    says = np.where(rng.random((50, 3)) < 0.8, truth[:, None], rng.random((50, 3)) < 0.5)
    return [
        rater_agreement(ratings=says, categories=(0, 1), coefficient=name).confidence_interval()
        for name in ("fleiss_kappa", "gwet_ac")
    ]


def usefulness(rng: np.random.Generator) -> list[Interval]:
    """Net benefit at 20 %, calibration slope and intercept, and the Brier score of true probabilities."""
    probability = special.expit(rng.normal(0, 1.2, 200))
    happened = rng.random(200) < probability
    result = calibration(reference=happened, probability=probability)
    benefit = net_benefit(reference=happened, is_treated=probability >= 0.5, threshold=0.2)
    return [one.confidence_interval() for one in (result.slope, result.intercept, result.brier, benefit)]


def _usefulness_truth() -> list[float]:
    """The truths of ``usefulness``, the last two by integration over the probabilities."""
    grid = special.expit(1.2 * stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000))
    treated = grid >= 0.5
    return [1.0, 0.0, float(np.mean(grid * (1 - grid))), float(np.mean(treated * (grid - (1 - grid) * 0.25)))]


def shift(rng: np.random.Generator) -> list[Interval]:
    """Two groups of sixty on six grades."""
    outcome = np.concatenate([rng.choice(6, 60, p=WORSE), rng.choice(6, 60, p=BETTER)])
    return [generalised_odds_ratio(outcome=outcome, group=np.repeat([1, 0], 60)).confidence_interval()]


WORSE, BETTER = np.array([1, 1, 2, 2, 3, 3]) / 12, np.array([3, 3, 2, 2, 1, 1]) / 12
_AHEAD = float(np.sum(np.tril(np.outer(WORSE, BETTER), -1)) + np.sum(WORSE * BETTER) / 2)
SHIFT_TRUTH = _AHEAD / (1 - _AHEAD)


def independent_areas(rng: np.random.Generator) -> list[Interval]:
    """Areas of two sites of forty patients, shifts 1.5 and 1."""
    parts = []
    for mean in (1.5, 1.0):
        condition = np.arange(40) < 20
        parts.append((condition, mean * condition + rng.normal(size=40)))
    (ref_a, a), (ref_b, b) = parts
    result = compare_independent_aucs(
        reference_a=ref_a, candidate_a=a, reference_b=ref_b, candidate_b=b, positive_when_a="high",
        positive_when_b="high",
    )  # fmt: skip
    return [result.confidence_interval()]


def classes(rng: np.random.Generator) -> list[Interval]:
    """Balanced accuracy of a sensitivity of .8 in thirty patients and a specificity of .9 in fifty."""
    tp, tn = int(rng.binomial(30, 0.8)), int(rng.binomial(50, 0.9))
    return [BinaryPerformance(tp, 30 - tp, 50 - tn, tn).balanced_accuracy().confidence_interval()]


def plain(rng: np.random.Generator) -> list[Interval]:
    """A share of .8 in forty patients, and limits of agreement of fifteen."""
    limits = bland_altman(reference=np.zeros(15), candidate=rng.normal(1, 2, 15))
    return [Proportion(int(rng.binomial(40, 0.8)), 40).confidence_interval(), limits.limit_intervals()[1]]


def cover(names: list[str], truths: list[float], draw: Draw, seed: int) -> None:
    """Print the coverage of each interval that one draw gives."""
    rng = np.random.default_rng(seed)
    drawn = [draw(rng) for _ in range(N_TRIALS)]
    for at, (name, truth) in enumerate(zip(names, truths, strict=True)):
        intervals = [one[at] for one in drawn if math.isfinite(one[at].lower)]
        share = np.mean([one.lower <= truth <= one.upper for one in intervals])
        error = 3 * math.sqrt(0.95 * 0.05 / len(intervals))
        verdict = "within" if abs(share - 0.95) <= error else f"outside by {abs(share - 0.95) - error:.3f}"
        print(f"{name:<48} {share:.3f}   .95 +- {error:.3f}   {verdict}   {len(intervals)} of {N_TRIALS}")


def family_error() -> None:
    """Print how often any claim of a primary and three confirmatory questions is shown though all are false."""
    rng = np.random.default_rng(9)
    roles = ("primary", "confirmatory", "confirmatory", "confirmatory")
    n_false = 0
    for _ in range(N_FAMILIES):
        tests = [(role, float(p), True) for role, p in zip(roles, rng.random(4), strict=True)]
        n_false += min(adjusted_p_values(tests)) < 0.05
    print(f"{'any false claim of a family':<48} {n_false / N_FAMILIES:.3f}   at most .05")


if __name__ == "__main__":
    area = float(stats.norm.cdf(1.5 / math.sqrt(2)) - stats.norm.cdf(1 / math.sqrt(2)))
    cover(["share, Wilson", "limit of agreement, exact"], [0.8, 1 + 1.96 * 2], plain, 1)
    cover(["mean area of 5 readers, 60 cases (MRMC)"], [MULTI_READER_TRUTH], multi_reader, 2)
    cover(["difference of independent areas, DeLong"], [area], independent_areas, 3)
    cover(["repeated pairs, bias", "repeated pairs, upper limit"], [1, 1 + 1.96 * math.sqrt(1.5)], repeated, 4)
    cover(["ratio, mean", "ratio, upper limit"], [1.2, 1.2 * math.exp(1.96 * 0.3)], ratios, 5)
    cover(["6 sites, mean over sites"], [0.5], sites, 6)
    predict()
    cover(["Fleiss's kappa, 3 raters of 50", "AC1, 3 raters of 50"], [0.64, 0.64], raters, 7)
    cover(["calibration slope", "calibration in the large", "Brier score", "net benefit at .2"],
          _usefulness_truth(), usefulness, 8)  # fmt: skip
    cover(["generalised odds ratio, 60 and 60"], [SHIFT_TRUTH], shift, 9)
    cover(["balanced accuracy, 30 and 50, Newcombe"], [0.85], classes, 10)
    family_error()
