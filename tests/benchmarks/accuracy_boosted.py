"""Whether gradient boosting on densities of all regions tells more than the difference of each from its mirror-image.

    python -m tests.benchmarks.accuracy_boosted CACHE --train NAME [NAME ...] --judge NAME [NAME ...]
        [--against uncorrected]

CACHE holds tables of ``tests.benchmarks.boosted_tables``. Judged are the relative difference alone (``ncct-ratio``) and
the same before the tilt of the head's density is taken off (``uncorrected``); and with either a booster, a logistic
regression on the same columns, and the sum of the logits of difference and booster (``fused``). Where the tables hold
what weights say, so are the probability of a region by each (the mean of a network's, or a classifier's), and a
logistic regression on that, on its difference from the other side and on the relative difference (``NAME, fused``; of
several weights together ``all, fused``).
The measure is the area under the ROC curve over regions. Two questions are told apart: which side (the one with the
higher mean), and which regions of the affected side. Intervals are of resampled patients, and say nothing where a
patient is there twice, as in ``real``. No threshold is chosen, and nothing is fitted on what is judged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.anatomy.template import load_label_map
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES
from tests.benchmarks.boosted_tables import AFFECTED, MAP

DIFFERENCE = 7  # column of ``Patient.features``
PAIRED = ("spread_hu", "low_density_share", "high_density_share", "fluid_share")
CONTRASTS_HU = ((1, 2), (2, 3), (3, 5), (5, 9))
N_RESAMPLES = 500
LEAST = 3  # patients of a stratum
SIMPLE = ("ncct-ratio", "uncorrected")  # what is not fitted
Scores = Sequence[np.ndarray]


@dataclass(frozen=True, eq=False)
class Patient:
    """The twenty regions of one patient, left first.

    Attributes
    ----------
    differences : name of ``SIMPLE`` -> (20,) float array, relative difference; NaN where it could not be taken
    others : (20, 7) float array: the region, then columns against the other side
    is_affected : (20,) bool array
    lowering_hu : by which the infarct is less dense; 0 where it is not known
    chances : name of weights -> (20,) float array, what they say of each region
    """

    differences: dict[str, np.ndarray]
    others: np.ndarray
    is_affected: np.ndarray
    lowering_hu: float
    chances: dict[str, np.ndarray]

    @property
    def is_known(self) -> np.ndarray:
        """Regions whose difference could be taken."""
        return np.isfinite(self.differences[SIMPLE[0]])

    @property
    def side(self) -> slice | None:
        """Where the regions of the side with more affected regions are; None where both have as many."""
        left, right = self.is_affected[:10].sum(), self.is_affected[10:].sum()
        return None if left == right else slice(0, 10) if left > right else slice(10, 20)

    def features(self, difference: str) -> np.ndarray:
        """(20, 11) float array: ``others``, the difference, and its mean, lowest and spread over the whole side.

        There are no absolute densities: heads and scanners differ in them by more than an infarct does. The tilt's
        share is left out as well: with it a model takes back the correction, whatever it is told of differences.
        """
        own = self.differences[difference]
        sides = []
        for half in (own[:10], own[10:]):
            known = half[np.isfinite(half)]
            summary = (known.mean(), known.min(), known.std()) if len(known) else (np.nan,) * 3
            sides += [summary] * 10
        return np.column_stack([self.others, own, np.array(sides)])

    def overlaid(self, names: Sequence[str]) -> np.ndarray:
        """Relative difference; of each of these weights the logit of the chance, and that less the other side's."""
        columns = [self.differences[SIMPLE[0]]]
        for name in names:
            logit = _logit(self.chances[name])
            columns += [logit, logit - np.roll(logit, 10)]
        return np.column_stack(columns)


def _logit(probability: Any) -> np.ndarray:
    """Of a mean of probabilities, which may be 0."""
    kept = np.clip(probability, 1e-4, 1 - 1e-4)
    return np.log(kept / (1 - kept))


Scorer = Callable[[Patient], np.ndarray]


def read(path: Path) -> tuple[list[Patient], int]:
    """Patients of a table, and how many scans were refused."""
    places = {(label.side, label.region): at for at, label in enumerate(load_label_map(MAP).table.labels)}
    order = [places[side, region] for side in HEMISPHERES for region in ASPECTS_REGIONS]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    patients = []
    for one in lines:
        if one["rows"] is not None:
            rows = [one["rows"][at] for at in order]
            mirrored = rows[10:] + rows[:10]
            values = np.array([_differences(row) for row in rows])
            patients.append(
                Patient(
                    dict(zip(SIMPLE, values.T, strict=True)),
                    np.array([[at % 10, *_others(*pair)] for at, pair in enumerate(zip(rows, mirrored, strict=True))]),
                    np.array(one["shares"])[order] > AFFECTED,
                    float(one["facts"].get("lowering_hu", 0.0)),
                    _chances(rows),
                )
            )
    return patients, len(lines) - len(patients)


def _chances(rows: Any) -> dict[str, np.ndarray]:
    """Of every region by each of the weights that were asked, 0 of one out of view."""
    names = rows[0].get("chances", {})
    return {name: np.array([row["chances"][name] or 0.0 for row in rows]) for name in names}


def _differences(row: Any) -> tuple[float, float]:
    """Relative difference, as it is and with the tilt's share put back; NaN without one."""
    if row["relative_difference"] is None:
        return np.nan, np.nan
    mirrored = row["density_hu"] - row["difference_hu"] - row["bias_hu"]
    return row["relative_difference"], (row["difference_hu"] + row["bias_hu"]) / mirrored


def _others(one: Any, other: Any) -> list[float]:
    """Columns of one region besides its difference."""
    pairs = [[np.nan if each[name] is None else each[name] for each in (one, other)] for name in PAIRED]
    voxels = np.log(max(1, one["n_voxels_used"]) / max(1, other["n_voxels_used"]))
    fluid = np.nan if one["fluid_share"] is None else one["fluid_share"]
    return [fluid, voxels, *(own - mirrored for own, mirrored in pairs)]


def scorers(patients: Sequence[Patient]) -> dict[str, Scorer]:
    """Name -> patient to the score of each region; all but the first two are fitted on these patients.

    Settings were chosen by cross-validation over patients that fitted: trees of eight leaves, all ten differences of
    the side as columns, or no constraint, are as good or worse.
    """
    truth = np.concatenate([one.is_affected for one in patients])
    found: dict[str, Scorer] = {name: lambda one, name=name: -one.differences[name] for name in SIMPLE}
    for difference in SIMPLE:
        features = np.concatenate([one.features(difference) for one in patients])
        booster = HistGradientBoostingClassifier(
            learning_rate=0.05,
            max_iter=100,
            max_leaf_nodes=4,
            min_samples_leaf=40,
            l2_regularization=5.0,
            categorical_features=[0],
            monotonic_cst=[0] * 7 + [-1, -1, -1, 0],  # less density never makes a region less likely affected
            random_state=0,
        ).fit(features, truth)
        linear = _linear().fit(features[:, 1:], truth)
        alone = _linear().fit(features[:, [DIFFERENCE]], truth)

        def boosted(one: Patient, booster: Any = booster, name: str = difference) -> np.ndarray:
            return booster.decision_function(one.features(name))

        def logistic(one: Patient, linear: Any = linear, name: str = difference) -> np.ndarray:
            return linear.decision_function(one.features(name)[:, 1:])

        def fused(one: Patient, boosted: Scorer = boosted, alone: Any = alone, name: str = difference) -> np.ndarray:
            return boosted(one) + alone.decision_function(one.features(name)[:, [DIFFERENCE]])

        found |= {
            f"{name}, {difference}": one
            for name, one in (("booster", boosted), ("logistic", logistic), ("fused", fused))
        }
    names = sorted(patients[0].chances)
    for name in names:
        found[name] = lambda one, name=name: _logit(one.chances[name])
    together = [(f"{name}, fused", (name,)) for name in names] + ([("all, fused", tuple(names))] if names[1:] else [])
    for title, some in together:
        both = _linear().fit(np.concatenate([one.overlaid(some) for one in patients]), truth)
        found[title] = lambda one, both=both, some=some: both.decision_function(one.overlaid(some))
    return found


def _linear() -> Any:
    """Logistic regression; a missing number is the mean."""
    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(C=0.1))


def area(patients: Sequence[Patient], scores: Scores, *, is_inside: bool = False) -> float:
    """Area under the ROC curve over regions of all patients, or over those of the affected sides; NaN without both."""
    truths, values = [], []
    for patient, score in zip(patients, scores, strict=True):
        chosen = patient.is_known.copy()
        if is_inside:
            if patient.side is None:
                continue
            chosen[slice(10, 20) if patient.side.start == 0 else slice(0, 10)] = False
        truths.append(patient.is_affected[chosen])
        values.append(score[chosen])
    truth = np.concatenate(truths) if truths else np.zeros(0)
    return roc_auc_score(truth, np.concatenate(values)) if 0 < truth.sum() < len(truth) else np.nan


def interval(patients: Sequence[Patient], one: Scores, other: Scores, *, is_inside: bool) -> tuple[float, float]:
    """95 % percentile interval of the difference of two areas over resampled patients."""
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(N_RESAMPLES):
        drawn = rng.integers(len(patients), size=len(patients))
        chosen = [patients[at] for at in drawn]
        areas = [area(chosen, [each[at] for at in drawn], is_inside=is_inside) for each in (one, other)]
        differences.append(areas[0] - areas[1])
    low, high = np.nanpercentile(differences, [2.5, 97.5])
    return float(low), float(high)


def sides_right(patients: Sequence[Patient], scores: Scores) -> tuple[int, int]:
    """In how many patients the side with more affected regions has the higher mean score, and of how many."""
    right = []
    for patient, score in zip(patients, scores, strict=True):
        if patient.side is not None:
            known = np.where(patient.is_known, score, np.nan)
            left_is_higher = np.nanmean(known[:10]) > np.nanmean(known[10:])
            right.append(left_is_higher == (patient.side.start == 0))
    return sum(right), len(right)


def report(name: str, patients: Sequence[Patient], scores: dict[str, Scores], against: str) -> None:
    """One judged table; differences are from the scorer ``against``."""
    n_affected = sum(int(one.is_affected.sum()) for one in patients)
    print(f"\n{name}: {len(patients)} patients, {n_affected} of {20 * len(patients)} regions affected")
    base = scores[against]
    for scorer, own in scores.items():
        n_right, n_sides = sides_right(patients, own)
        text = [f"  {scorer:21s} side right {n_right}/{n_sides}"]
        for question, is_inside in (("all regions", False), ("inside the side", True)):
            found = area(patients, own, is_inside=is_inside)
            text.append(f"{question} {found:.3f}")
            if own is not base:
                low, high = interval(patients, own, base, is_inside=is_inside)
                change = found - area(patients, base, is_inside=is_inside)
                text[-1] += f" ({change:+.3f}, {low:+.3f} to {high:+.3f})"
        print(", ".join(text), flush=True)
    for low, high in CONTRASTS_HU:
        chosen = [at for at, one in enumerate(patients) if one.is_affected.any() and low <= one.lowering_hu < high]
        if len(chosen) < LEAST:
            continue
        some = [patients[at] for at in chosen]
        rows = {scorer: [own[at] for at in chosen] for scorer, own in scores.items()}
        print(
            f"  {low}-{high} HU, {len(some)} patients, all / inside / side: "
            + ", ".join(
                f"{scorer} {area(some, own):.2f} / {area(some, own, is_inside=True):.2f} / "
                f"{sides_right(some, own)[0] / max(1, sides_right(some, own)[1]):.2f}"
                for scorer, own in rows.items()
            ),
            flush=True,
        )


def main() -> None:
    """Read the arguments, fit and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--judge", nargs="+", required=True)
    parser.add_argument(
        "--against", choices=SIMPLE, default=SIMPLE[0], help="from which scorer the others' differences are taken"
    )
    given = parser.parse_args()
    if both := sorted({*given.train} & {*given.judge}):
        parser.error(f"--judge must name tables that nothing was fitted on, got {', '.join(both)}. Measure others.")
    train = [patient for name in given.train for patient in read(given.cache / f"{name}.jsonl")[0]]
    print(f"fitted on {len(train)} patients, {sum(int(one.is_affected.sum()) for one in train)} regions affected")
    fitted = scorers(train)
    for name in given.judge:
        patients, n_refused = read(given.cache / f"{name}.jsonl")
        if n_refused:
            print(f"\n{name}: {n_refused} scans refused")
        report(name, patients, {key: [score(one) for one in patients] for key, score in fitted.items()}, given.against)


if __name__ == "__main__":
    main()
