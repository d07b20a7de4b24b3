"""Speed of the statistics beside the obvious way, in one run: ``python -m tests.benchmarks.bench_statistics``.

Each pair computes the same numbers, which is asserted before the ratio is printed. Our times are the best of three.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pingouin

from reports.estimators.agreement import bootstrap_icc_a1, intraclass_correlation
from reports.estimators.discrimination import compare_aucs
from reports.estimators.youden import bootstrap_youden
from tests.reports.estimators.test_discrimination import delong_by_definition
from tests.reports.estimators.test_youden import loop, marker

N = 1000
N_RESAMPLES = 2000
N_PINGOUIN = 20  # resamples timed by pingouin; its time is scaled up to N_RESAMPLES


def seconds(function: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Best time of some calls, and the last result."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return min(times), result


def line(name: str, ours: float, other: str, theirs: float) -> None:
    """Print one comparison."""
    print(f"{name:<44} {ours * 1e3:9.1f} ms   {other:<34} {theirs * 1e3:10.1f} ms   x {theirs / ours:7.1f}")


def bench_delong(rng: np.random.Generator) -> None:
    """Paired DeLong by midranks and by all pairs."""
    condition = rng.random(N) < 0.35
    first, second = np.round(condition + rng.normal(size=(2, N)), 1)
    ours, result = seconds(
        lambda: compare_aucs(
            reference=condition, candidate_a=first, candidate_b=second, positive_when_a="high", positive_when_b="high"
        )
    )
    theirs, (areas, covariance) = seconds(lambda: delong_by_definition(condition, first, second), repeats=1)
    assert abs(result.auc_a.estimate - areas[0]) < 1e-12
    assert abs(result.auc_a.variance - covariance[0, 0]) < 1e-12
    line(f"paired DeLong, n = {N}", ours, "all pairs", theirs)


def bench_icc(rng: np.random.Generator) -> None:
    """Bootstrap of ICC(A,1): closed form under scipy's bootstrap, a loop of numpy, and a loop of pingouin."""
    truth = rng.normal(7, 2, N)
    reference, candidate = truth + rng.normal(size=(2, N))
    ours, _ = seconds(
        lambda: bootstrap_icc_a1(
            reference=reference, candidate=candidate, seed=1, n_resamples=N_RESAMPLES
        ).confidence_interval()
    )

    name = f"bootstrap ICC, n = {N}, {N_RESAMPLES} resamples"
    table = np.column_stack([reference, candidate])

    def numpy_loop() -> list[float]:
        drawn = np.random.default_rng(1).integers(N, size=(N_RESAMPLES, N))
        return [intraclass_correlation(table[rows]).estimate for rows in drawn]

    theirs, samples = seconds(numpy_loop, repeats=1)
    percentile = bootstrap_icc_a1(
        reference=reference, candidate=candidate, seed=1, n_resamples=N_RESAMPLES
    ).confidence_interval(method="percentile")
    assert abs(np.quantile(samples, 0.025) - percentile.lower) < 1e-10
    line(name, ours, "numpy loop (no BCa)", theirs)

    def pingouin_loop() -> None:
        for rows in np.random.default_rng(1).integers(N, size=(N_PINGOUIN, N)):
            long = pd.DataFrame(table[rows]).rename_axis("subject").reset_index()
            long = long.melt("subject", var_name="rater", value_name="rating")
            pingouin.intraclass_corr(long, "subject", "rater", "rating")

    theirs, _ = seconds(pingouin_loop, repeats=1)
    line(name, ours, f"pingouin loop (from {N_PINGOUIN})", theirs * N_RESAMPLES / N_PINGOUIN)


def bench_youden() -> None:
    """Youden bootstrap on a continuous volume and on a score of few steps, and a loop of scikit-learn."""
    for label, decimals in (("volume", 6), ("score", 0)):
        condition, values = marker(N, seed=3, direction="low", decimals=decimals)
        ours, result = seconds(
            lambda c=condition, v=values: bootstrap_youden(
                reference=c, candidate=v, positive_when="low", seed=5, n_resamples=N_RESAMPLES
            )
        )
        theirs, expected = seconds(lambda c=condition, v=values: loop(c, v, "low", N_RESAMPLES, 5), repeats=1)
        # the loop draws all positives first; the blocks draw alternately, so only the distributions agree
        assert abs(np.mean(result.cuts) - np.mean(expected[:, 0])) < 0.02
        line(f"bootstrap Youden, {label}, n = {N}, {N_RESAMPLES} resamples", ours, "scikit-learn loop", theirs)


if __name__ == "__main__":
    generator = np.random.default_rng(0)
    bench_delong(generator)
    bench_icc(generator)
    bench_youden()
