"""Classifiers of regions: from the features of a region and of its mirror-image to the chance that it is affected.

Stored as arrays in safetensors with a card, applied by NumPy: nothing is unpickled, and no version of scikit-learn that
a classifier was fitted with is needed again. A *column* is a feature in a mode: a region's own value, or held against
the same region of the other side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from scipy.special import expit

from models.weights import Weights, WeightsMissingError, find_weights
from tasks.arrays import AnyArray, FloatArray
from tasks.radiomics.feature_lists import FeatureMode
from tasks.scoring import ProbabilityRule

ClassifierKind = Literal["svm", "forest"]
LEAF = -1  # in place of a child
#: The rule whose cuts come with weights that give chances of regions.
OWN_CUTS = "specificity-95"


@dataclass(frozen=True)
class Column:
    """A feature in a mode."""

    feature: str
    mode: FeatureMode


@dataclass(frozen=True, eq=False)
class SupportVectors:
    """A support vector machine with a Gaussian kernel, all regions alike.

    Attributes
    ----------
    vectors : (S, C) float array, scaled as ``Scaling`` does
    weights : (S,) float array
    intercept, gamma : of the decision function
    """

    vectors: FloatArray
    weights: FloatArray
    intercept: float
    gamma: float

    def decided(self, scaled: FloatArray, regions: Sequence[str]) -> FloatArray:  # noqa: ARG002 - all alike
        """Decision function, (n,)."""
        squares = (scaled**2).sum(1)[:, None] + (self.vectors**2).sum(1)[None] - 2 * scaled @ self.vectors.T
        return np.asarray(np.exp(-self.gamma * np.maximum(squares, 0)) @ self.weights + self.intercept, np.float64)


@dataclass(frozen=True, eq=False)
class Forests:
    """A random forest for each region.

    Attributes
    ----------
    roots : region -> first nodes of its trees
    column, left, right : (nodes,) int arrays; where a node has no children both are ``LEAF``
    threshold, chance : (nodes,) float arrays; a row goes left where its value is at most the threshold
    """

    roots: Mapping[str, AnyArray]
    column: AnyArray
    left: AnyArray
    right: AnyArray
    threshold: FloatArray
    chance: FloatArray

    def decided(self, scaled: FloatArray, regions: Sequence[str]) -> FloatArray:
        """Mean chance over the trees of each row's region, less a half, (n,)."""
        rows = scaled.astype(np.float32)  # as scikit-learn splits
        return np.array([self._of_one(row, self.roots[region]) for row, region in zip(rows, regions, strict=True)])

    def _of_one(self, row: AnyArray, roots: AnyArray) -> float:
        at = np.array(roots)
        while (inner := self.left[at] != LEAF).any():
            node = at[inner]
            goes_left = row[self.column[node]] <= self.threshold[node]
            at[inner] = np.where(goes_left, self.left[node], self.right[node])
        return float(self.chance[at].mean()) - 0.5


@dataclass(frozen=True, eq=False)
class Scaling:
    """What is done to columns first: a missing one becomes the training's median, then mean 0 and deviation 1.

    Attributes
    ----------
    median, mean, deviation : (C,) float arrays
    """

    median: FloatArray
    mean: FloatArray
    deviation: FloatArray

    def scaled(self, rows: FloatArray) -> FloatArray:
        """(n, C) rows."""
        return np.asarray((np.where(np.isfinite(rows), rows, self.median) - self.mean) / self.deviation, np.float64)


@dataclass(frozen=True, eq=False)
class RegionClassifier:
    """A classifier that can be asked.

    Attributes
    ----------
    columns : what it looks at
    scaling : Scaling
    model : SupportVectors or Forests
    calibration : slope and intercept of the logistic curve from decision to probability
    cuts : region -> least probability of an affected one
    """

    columns: tuple[Column, ...]
    scaling: Scaling
    model: SupportVectors | Forests
    calibration: tuple[float, float]
    cuts: Mapping[str, float]

    def probabilities(self, rows: FloatArray, regions: Sequence[str]) -> FloatArray:
        """Chance that each region is affected, (n,).

        Parameters
        ----------
        rows : (n, C) float array of ``columns``; NaN where one could not be taken
        regions : the region of each row
        """
        return chance_of(self.model.decided(self.scaling.scaled(rows), regions), self.calibration)


def chance_of(decided: FloatArray, calibration: Sequence[float]) -> FloatArray:
    """Probabilities of decisions, by slope and intercept of a logistic curve."""
    slope, intercept = calibration
    return np.asarray(expit(slope * decided + intercept), np.float64)


def columns_of(own: FloatArray, other: FloatArray, names: Sequence[str], columns: Sequence[Column]) -> FloatArray:
    """Columns of regions from their features and those of the other side, (n, C); NaN where one cannot be taken.

    Parameters
    ----------
    own, other : (n, features) float arrays
    names : of the features
    columns : Column

    >>> names = ("a", "b")
    >>> wanted = (Column("b", "absolute"), Column("a", "contralateral_diff"), Column("a", "ratio"))
    >>> columns_of(np.array([[1.0, 2.0]]), np.array([[4.0, 0.0]]), names, wanted).tolist()
    [[2.0, -3.0, 0.25]]
    """
    at = {name: number for number, name in enumerate(names)}
    found = np.empty((len(own), len(columns)))
    with np.errstate(divide="ignore", invalid="ignore"):
        for number, column in enumerate(columns):
            mine, across = own[:, at[column.feature]], other[:, at[column.feature]]
            if column.mode == "absolute":
                found[:, number] = mine
            elif column.mode == "contralateral_diff":
                found[:, number] = mine - across
            else:
                found[:, number] = np.where(across == 0, np.nan, mine / across)
    return found


def arrays_of(classifier: RegionClassifier) -> dict[str, AnyArray]:
    """What is stored of a classifier besides its card."""
    scaling = {name: getattr(classifier.scaling, name) for name in ("median", "mean", "deviation")}
    model = classifier.model
    if isinstance(model, SupportVectors):
        own = {"vectors": model.vectors, "weights": model.weights, "curve": np.array([model.intercept, model.gamma])}
    else:
        own = {name: getattr(model, name) for name in ("column", "left", "right", "threshold", "chance")}
        own |= {f"roots.{region}": roots for region, roots in model.roots.items()}
    return {name: np.ascontiguousarray(value) for name, value in (scaling | own).items()}


def facts_of(classifier: RegionClassifier) -> dict[str, Any]:
    """What its card says of a classifier, JSON-able."""
    return {
        "kind": "svm" if isinstance(classifier.model, SupportVectors) else "forest",
        "columns": [[one.feature, one.mode] for one in classifier.columns],
        "calibration": list(classifier.calibration),
        "cuts": dict(classifier.cuts),
    }


def classifier_from(arrays: Mapping[str, AnyArray], facts: Mapping[str, Any]) -> RegionClassifier:
    """The classifier of stored arrays and a card's facts.

    Raises
    ------
    KeyError
        Something is not there.
    """
    model: SupportVectors | Forests
    if facts["kind"] == "svm":
        intercept, gamma = (float(one) for one in arrays["curve"])
        model = SupportVectors(arrays["vectors"], arrays["weights"], intercept, gamma)
    else:
        roots = {name.removeprefix("roots."): value for name, value in arrays.items() if name.startswith("roots.")}
        parts = (arrays[name] for name in ("column", "left", "right", "threshold", "chance"))
        model = Forests(roots, *parts)
    slope, intercept = (float(one) for one in facts["calibration"])
    return RegionClassifier(
        tuple(Column(feature, mode) for feature, mode in facts["columns"]),
        Scaling(arrays["median"], arrays["mean"], arrays["deviation"]),
        model,
        (slope, intercept),
        {str(region): float(cut) for region, cut in facts["cuts"].items()},
    )


@lru_cache(maxsize=4)
def load_classifier(weights: Weights) -> RegionClassifier:
    """The classifier of weights that were found, read once per process."""
    from safetensors.numpy import load_file

    return classifier_from(load_file(weights.path), card_facts(weights))


def own_cuts(name: str) -> ProbabilityRule:
    """The rule ``OWN_CUTS`` of weights; where they cannot be used it has no cuts, and there is nothing to judge."""
    try:
        cuts = card_facts(find_weights(name))["cuts"]
    except WeightsMissingError:
        cuts = {}
    return ProbabilityRule(OWN_CUTS, {str(region): float(cut) for region, cut in cuts.items()})


def card_facts(weights: Weights) -> Mapping[str, Any]:
    """The part ``classifier`` of a card."""
    facts: Mapping[str, Any] = json.loads(weights.path.with_suffix(".json").read_bytes())["classifier"]
    return facts
