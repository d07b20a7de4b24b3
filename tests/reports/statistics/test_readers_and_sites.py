"""Readers together, sites, failures, net benefit and precision: the rows against answers worked by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cohorts.folder.study import StudyConfig
from flows.sources.registry import STUDY
from reports.estimators.discrimination import auc
from reports.lint.bounds import bounds_of
from reports.statistics.patients import Patients, RegionFlags
from reports.statistics.rows import Builder, Statistics
from reports.statistics.sections.agreement import add_agreement, add_volume_ratios
from reports.statistics.sections.readers import _readers, add_reader_agreement, add_reader_discrimination
from reports.statistics.sections.sites import add_sites
from reports.statistics.sections.usefulness import add_benefit, add_intention, add_precision
from tasks.anatomy import ASPECTS_REGIONS

N = 60


def config(**changes: object) -> StudyConfig:
    """A mask, readers and one primary cut."""
    return STUDY.model_validate(
        {
            "study": {"name": "Readers", "bootstrap_resamples": 100},
            "source": [{"name": "mask", "kind": "mask"}, {"name": "readers", "kind": "readings"}],
            "clinical": [{"column": "nihss", "read_as": "integer", "label": "NIHSS"}],
            "severity": {},
            "dichotomy": [{"name": "low", "cut": 6, "operator": "le", "primary": True}],
        }
        | changes
    )


def patients(study: StudyConfig | None = None) -> Patients:
    """Sixty patients at three sites, two readers of two sessions, a mask that missed every tenth patient."""
    rng = np.random.default_rng(4)
    nihss = rng.integers(0, 25, N)
    truth = np.clip(10 - nihss / 4 + rng.normal(0, 1.5, N), 0, 10)
    scores = {name: np.clip(np.round(truth + rng.normal(0, 1, N)), 0, 10)
              for name in ("mask", "reader:A", "reader:B", "reader:A:2", "reader:B:2")}  # fmt: skip
    scores["mask"][::10] = np.nan
    scores["reader:B"][0] = np.nan
    flags = {}
    for name in ("reader:A", "reader:B"):
        affected = np.zeros((N, 2, len(ASPECTS_REGIONS)))
        for at, score in enumerate(scores[name]):
            affected[at, at % 2, : 0 if math.isnan(score) else int(10 - score)] = 1
        affected[np.isnan(scores[name])] = np.nan
        flags[name] = RegionFlags(ASPECTS_REGIONS, affected)
    table = pd.DataFrame({"site": np.array(["east", "north", "west"])[np.arange(N) % 3], "nihss": nihss})
    volumes = {"lesion": np.exp(rng.normal(2, 1, N)), "core": np.exp(rng.normal(2, 1, N))}
    volumes["core"][3] = 0
    return Patients(study or config(), table, scores, volumes, flags, frozenset())


@pytest.fixture(scope="module")
def book() -> Statistics:
    everyone, rows = patients(), Builder()
    add_agreement(rows, everyone, "included")
    add_volume_ratios(rows, everyone, "included")
    add_reader_agreement(rows, everyone, "included")
    add_reader_discrimination(rows, everyone, "included")
    add_sites(rows, everyone, "included")
    add_intention(rows, everyone)
    add_benefit(rows, everyone, "included")
    add_precision(rows, everyone)
    return Statistics(rows.frame())


def one(book: Statistics, statistic_id: str):
    """The row of an id."""
    return next(row for row in book.rows if row.statistic_id == statistic_id)


def test_readers_agree_on_scores_cuts_and_regions(book: Statistics) -> None:
    details = {row.detail for row in book.select("readers", "fleiss_kappa")}
    assert details == {"score", "score:low", *ASPECTS_REGIONS}
    score = one(book, "readers/fleiss_kappa:score/-/-/included")
    assert (score.n, score.note) == (N, "reader:A, reader:B")  # sessions of one reader are not further readers
    assert 0.5 < (score.lower or 0) < (score.estimate or 0) < (score.upper or 0) <= 1


def test_a_machine_less_the_readers_is_the_difference_of_areas(book: Statistics) -> None:
    everyone = patients()
    positive = everyone.positive()
    kept = everyone.complete(positive, *(everyone.scores[name] for name in ("mask", "reader:A", "reader:B")))
    areas = {
        name: auc(reference=positive[kept], candidate=everyone.scores[name][kept], positive_when="low").estimate
        for name in ("mask", "reader:A", "reader:B")
    }
    row = one(book, "readers/reader_auc_difference:score/mask/nihss/included")
    assert row.estimate == pytest.approx(areas["mask"] - (areas["reader:A"] + areas["reader:B"]) / 2)
    assert (row.n, row.n_positive) == (int(kept.sum()), int(positive[kept].sum()))
    assert row.note == "less the mean of reader:A, reader:B"
    sessions = one(book, "readers/session_auc_difference:score:2 less first/-/nihss/included")
    assert sessions.n == N - 1
    assert (sessions.lower or 0) < (sessions.estimate or 9) < (sessions.upper or 0)


def test_sites_are_pooled_and_left_out(book: Statistics) -> None:
    shares = [one(book, f"sites/site_specificity:score:low:{site}/mask/nihss/included")
              for site in ("east", "north", "west")]  # fmt: skip
    whole = patients()
    kept = whole.complete(whole.scores["mask"]) & (whole.positive() == 0)
    assert sum(row.denominator or 0 for row in shares) == kept.sum()
    pooled = one(book, "sites/pooled_specificity:score:low/mask/nihss/included")
    estimates = [row.estimate or 0 for row in shares]
    assert min(estimates) < (pooled.estimate or 0) < max(estimates)
    predicted = one(book, "sites/predicted_specificity:score:low/mask/nihss/included")
    assert (predicted.lower or 1) <= (pooled.lower or 0) < (pooled.upper or 1) <= (predicted.upper or 0)
    without = one(book, "sites/without_specificity:score:low:east/mask/nihss/included")
    assert without.n == pooled.n - (shares[0].denominator or 0)
    assert one(book, "sites/i_squared_icc_a1:score/reader:B/reader:A/included").p_value is not None


def test_every_tenth_failure_is_in_the_bounds(book: Statistics) -> None:
    failed = one(book, "intention/failed:score:low/mask/nihss/screened")
    assert (failed.numerator, failed.denominator) == (6, N)
    for quantity in ("sensitivity", "specificity"):
        worst, scored, best = (
            one(book, f"intention/{quantity}_{suffix}:score:low/mask/nihss/screened")
            for suffix in ("worst", "complete", "best")
        )
        assert (worst.numerator, worst.denominator) == (scored.numerator, best.denominator)
        assert (worst.estimate or 0) <= (scored.estimate or 0) <= (best.estimate or 0)
    readers = [row.source for row in book.select("intention", "failed")]
    assert readers == ["mask"]  # a reader who was not asked has not failed


def test_net_benefit_of_all_is_that_of_the_prevalence(book: Statistics) -> None:
    row = one(book, "benefit/net_benefit_all:score:low:0.2/reader:A/nihss/included")
    share = patients().positive().mean()
    assert row.estimate == pytest.approx(share - (1 - share) * 0.25)


def test_precision_is_the_width_of_its_number(book: Statistics) -> None:
    icc = one(book, "agreement/icc_a1/reader:B/reader:A/included")
    width = one(book, "precision/width:score:icc_a1/reader:B/reader:A/included")
    assert width.estimate == pytest.approx((icc.upper or 0) - (icc.lower or 0))
    needed = one(book, "precision/n_for_width:score:icc_a1/reader:B/reader:A/included")
    rho = icc.estimate or 0
    assert needed.estimate == math.ceil(8 * 1.959963984540054**2 * (1 - rho) ** 2 * (1 + rho) ** 2 / 0.02 + 1)


def test_a_declared_width_is_the_one_that_counts() -> None:
    plan = {"question": [{"name": "icc", "role": "primary", "width": 0.2,
                          "statistic": "agreement/icc_a1/reader:B/reader:A/measured"}]}  # fmt: skip
    everyone, rows = patients(config(analysis=plan)), Builder()
    add_agreement(rows, everyone, "measured")
    add_precision(rows, everyone)
    needed = rows.found("precision/n_for_width:score:icc_a1/reader:B/reader:A/measured")
    assert needed is not None
    assert needed.note == "for a width of 0.2"


def test_pairs_have_their_symmetry_and_sides(book: Statistics) -> None:
    symmetry = one(book, "agreement/bowker/reader:B/reader:A/included")
    assert symmetry.n == N - 1
    assert 0 < (symmetry.p_value or 0) <= 1
    side = one(book, "agreement/side_bias/reader:B/reader:A/included")
    whole = one(book, "agreement/bias/reader:B/reader:A/included")
    assert side.estimate == pytest.approx((whole.estimate or 0) / 2)  # one side of each patient is not affected
    assert side.note == f"{2 * (N - 1)} hemispheres"


def test_volumes_differ_by_factors(book: Statistics) -> None:
    ratio = one(book, "agreement/volume_ratio/core/lesion/included")
    volumes = patients().volumes
    kept = volumes["core"] > 0
    assert ratio.estimate == pytest.approx(np.exp(np.mean(np.log(volumes["core"][kept] / volumes["lesion"][kept]))))
    assert ratio.note == "candidate / reference; 1 pairs with 0 ml left out"


def test_every_number_keeps_its_bounds(book: Statistics) -> None:
    for row in book.rows:
        low, high = bounds_of(row, {}).estimate
        assert row.estimate is None or low - 1e-9 <= row.estimate <= high + 1e-9, row.statistic_id


@pytest.mark.filterwarnings("error")
def test_one_reader_one_site_and_nobody_say_nothing_or_why() -> None:
    whole = patients()
    lonely = Patients(whole.config, whole.table.assign(site="east"), {"reader:A": whole.scores["reader:A"]}, {}, {},
                      frozenset())  # fmt: skip
    rows = Builder()
    for add in (add_reader_agreement, add_reader_discrimination, add_sites):
        add(rows, lonely, "included")
    add_intention(rows, lonely)
    assert rows.rows == ()
    nobody = whole.within(np.zeros(N, dtype=bool))
    for add in (add_reader_agreement, add_reader_discrimination, add_sites, add_benefit):
        add(rows, nobody, "included")
    add_intention(rows, nobody)
    assert all(row.estimate is not None or row.note for row in rows.rows)


def test_a_reader_with_named_sessions_alone_has_the_first_of_them_as_first_reading():
    scores = dict.fromkeys(["mask", "reader:A:1", "reader:A:2", "reader:B", "reader:B:2"])
    assert _readers(SimpleNamespace(scores=scores)) == {
        "": {"A": "reader:A:1", "B": "reader:B"},
        "2": {"A": "reader:A:2", "B": "reader:B:2"},
    }
