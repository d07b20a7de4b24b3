"""Classifiers of regions: how they are fitted, everything chosen inside folds of patients.

``cta-radiomics`` is the second half of paper 1 (Tao 2024, J X-Ray Sci Technol 32:17-30, section 2.4): t-test of two
samples, Lasso, support vector machine with a grid search. ``ncct-radiomics`` is what paper 3 (Cao 2022, Hum Brain Mapp,
doi 10.1002/hbm.25845) compares with: a random forest for each region. Paper 1 chooses features on the patients that it
then judges by; here features, settings and thresholds are chosen without them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.classifier import LEAF, ClassifierKind, Column, Forests, RegionClassifier, Scaling, SupportVectors
from models.training.classifier_judging import area
from models.training.described import RegionTable, Rows
from tasks.anatomy import ASPECTS_REGIONS
from tasks.arrays import AnyArray, FloatArray, Mask
from tasks.radiomics.feature_lists import FeatureList, FeatureMode

OUTER, INNER = 5, 3  # folds of patients
P_VALUE = 0.05  # of the t-test: Tao 2024, section 2.4
NEGATIVES = 3  # unaffected regions for each affected one that a support vector machine sees: its kernel is a square
GRID = {"lasso__estimator__alpha": (0.002, 0.005, 0.02), "svm__C": (1.0, 10.0), "svm__gamma": (0.02, 0.1)}
TREES: Mapping[str, Any] = {"n_estimators": 120, "max_leaf_nodes": 24, "min_samples_leaf": 5, "max_features": 0.15}
SPECIFICITY = 0.95  # at the cuts, on validation patients
LEAST_WEIGHT = 1e-6  # of the Lasso: a column with less is left out


@dataclass(frozen=True)
class ClassifierRecipe:
    """What a classifier is.

    Attributes
    ----------
    image : ``ncct`` or ``cta``
    kind : how it decides
    modes : each is a column of every feature
    feature_list : what is described
    label_map : whose regions
    """

    image: str
    kind: ClassifierKind
    modes: tuple[FeatureMode, ...]
    feature_list: FeatureList = "pyradiomics2_105"
    label_map: str = "classic"


CLASSIFIERS: Mapping[str, ClassifierRecipe] = {
    "cta-radiomics": ClassifierRecipe("cta", "svm", ("contralateral_diff",)),
    "ncct-radiomics": ClassifierRecipe("ncct", "forest", ("absolute", "contralateral_diff")),
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """A classifier and how it was come by.

    Attributes
    ----------
    classifier : RegionClassifier
    nested : (rows,) float array, decision of every row of the training by a classifier that saw none of its patient
    chosen : column -> in how many of ``OUTER`` folds it was left in, most often first
    settings : what the grid search chose in the end
    """

    classifier: RegionClassifier
    nested: FloatArray
    chosen: tuple[tuple[Column, int], ...]
    settings: Mapping[str, float]


def fit(recipe: ClassifierRecipe, table: RegionTable, seed: int) -> Fitted:
    """Fit on all patients, and in nested folds to see how well that goes; neither calibrated nor with cuts yet.

    Parameters
    ----------
    recipe : ClassifierRecipe
    table : training patients
    seed : of folds, of the regions drawn and of trees
    """
    from sklearn.model_selection import StratifiedGroupKFold

    rows = table.rows([Column(name, mode) for mode in recipe.modes for name in table.names])
    one = _fit_svm if recipe.kind == "svm" else _fit_forests
    nested = np.full(len(rows.values), np.nan)
    counted: Counter[Column] = Counter()
    folds = StratifiedGroupKFold(OUTER, shuffle=True, random_state=seed)
    for learned, left_out in folds.split(rows.values, rows.is_affected, rows.patient):
        found, _ = one(rows.taken(learned), seed)
        counted.update(found.columns)
        nested[left_out] = decided(found, rows.taken(left_out))
    classifier, settings = one(rows, seed)
    return Fitted(classifier, nested, tuple(counted.most_common()), settings)


def decided(classifier: RegionClassifier, rows: Rows) -> FloatArray:
    """Decision of each row, (n,), before it is made a probability."""
    scaled = classifier.scaling.scaled(rows.seen_by(classifier.columns))
    return classifier.model.decided(scaled, list(rows.regions))


def _fit_svm(rows: Rows, seed: int) -> tuple[RegionClassifier, dict[str, float]]:
    """t-test, Lasso and a support vector machine whose settings are searched in folds of patients."""
    from sklearn.impute import SimpleImputer
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    drawn = rows.taken(_fewer_negatives(rows.is_affected, np.random.default_rng(seed)))
    whole = Pipeline(
        [
            ("median", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("scale", StandardScaler()),
            *_selection(),
            ("svm", SVC(class_weight="balanced")),
        ]
    )
    folds = StratifiedGroupKFold(INNER, shuffle=True, random_state=seed)
    searched = GridSearchCV(whole, dict(GRID), scoring="roc_auc", cv=folds)
    searched.fit(drawn.values, drawn.is_affected, groups=drawn.patient)
    best = searched.best_estimator_
    at = np.flatnonzero(best["t_test"].get_support())[best["lasso"].get_support()]
    machine = best["svm"]
    scaling = Scaling(best["median"].statistics_[at], best["scale"].mean_[at], best["scale"].scale_[at])
    model = SupportVectors(
        machine.support_vectors_, machine.dual_coef_[0], float(machine.intercept_[0]), float(machine.gamma)
    )
    settings = {f"{name.split('__')[0]}_{name.split('__')[-1]}": value for name, value in searched.best_params_.items()}
    return _uncalibrated(tuple(rows.columns[one] for one in at), scaling, model), settings


def _selection() -> list[tuple[str, Any]]:
    """t-test and Lasso; where one would leave nothing, its best column stays."""
    from sklearn.feature_selection import SelectFpr, SelectFromModel, f_classif
    from sklearn.linear_model import Lasso

    class TTest(SelectFpr):  # type: ignore[misc]
        def _get_support_mask(self) -> Mask:
            kept: Mask = super()._get_support_mask()
            return kept if kept.any() else np.arange(len(kept)) == np.nanargmin(self.pvalues_)

    class Weighted(SelectFromModel):  # type: ignore[misc]
        def _get_support_mask(self) -> Mask:
            kept: Mask = super()._get_support_mask()
            return kept if kept.any() else np.arange(len(kept)) == np.argmax(np.abs(self.estimator_.coef_))

    lasso = Lasso(max_iter=5000)
    # of two groups F is the square of t
    return [("t_test", TTest(f_classif, alpha=P_VALUE)), ("lasso", Weighted(lasso, threshold=LEAST_WEIGHT))]


def _fewer_negatives(truth: Mask, rng: np.random.Generator) -> Any:
    """Rows that are affected, and ``NEGATIVES`` as many that are not."""
    positive, negative = np.flatnonzero(truth), np.flatnonzero(~truth)
    drawn = rng.permutation(negative)[: NEGATIVES * max(1, len(positive))]
    return np.sort(np.concatenate([positive, drawn]))


def _fit_forests(rows: Rows, seed: int) -> tuple[RegionClassifier, dict[str, float]]:
    """A random forest for each region; both sides teach the same one."""
    from sklearn.ensemble import RandomForestClassifier

    n = len(rows.columns)
    scaling = Scaling(np.nan_to_num(np.nanmedian(rows.values, axis=0)), np.zeros(n), np.ones(n))
    scaled = scaling.scaled(rows.values)
    roots, grown = {}, []
    n_nodes = 0
    for region in ASPECTS_REGIONS:
        own = rows.regions == region
        forest = RandomForestClassifier(**TREES, class_weight="balanced", random_state=seed)
        forest.fit(scaled[own], rows.is_affected[own])
        affected = list(forest.classes_).index(True)
        firsts = []
        for tree in (one.tree_ for one in forest.estimators_):
            firsts.append(n_nodes)
            grown.append(_stored_tree(tree, affected, n_nodes))
            n_nodes += tree.node_count
        roots[region] = np.array(firsts, np.int32)
    column, left, right, threshold, chance = (np.concatenate(each) for each in zip(*grown, strict=True))
    model = Forests(roots, column, left, right, threshold, chance)
    return _uncalibrated(rows.columns, scaling, model), {name: float(value) for name, value in TREES.items()}


def _stored_tree(tree: Any, affected: int, first: int) -> tuple[AnyArray, ...]:
    """Column, left, right, threshold and chance of a tree of scikit-learn whose nodes are counted from ``first``."""
    is_leaf = tree.children_left < 0
    left, right = (np.where(is_leaf, LEAF, child + first) for child in (tree.children_left, tree.children_right))
    values = tree.value[:, 0]
    column = np.where(is_leaf, 0, tree.feature)
    chance = values[:, affected] / values.sum(axis=1)
    return column.astype(np.int32), left.astype(np.int32), right.astype(np.int32), tree.threshold, chance


def _uncalibrated(columns: tuple[Column, ...], scaling: Scaling, model: SupportVectors | Forests) -> RegionClassifier:
    return RegionClassifier(columns, scaling, model, (1.0, 0.0), dict.fromkeys(ASPECTS_REGIONS, 0.5))


def with_operating_points(classifier: RegionClassifier, table: RegionTable) -> RegionClassifier:
    """The classifier with probabilities and cuts from validation patients.

    The decision becomes a probability by ``platt``.

    Parameters
    ----------
    classifier : RegionClassifier
    table : validation patients
    """
    rows = table.rows(classifier.columns)
    truth = rows.is_affected
    calibrated = replace(classifier, calibration=platt(decided(classifier, rows), truth))
    return replace(calibrated, cuts=cuts_of(rows, calibrated.probabilities(rows.values, list(rows.regions))))


def cuts_of(rows: Rows, chance: FloatArray) -> dict[str, float]:
    """A region's cut is the least probability, rounded up to a thousandth, at which ``SPECIFICITY`` of the unaffected
    ones of that region lie below.

    Parameters
    ----------
    rows : regions of validation patients
    chance : (rows,) float array
    """
    cuts = {}
    for region in ASPECTS_REGIONS:
        without = np.sort(chance[(rows.regions == region) & ~rows.is_affected])
        at = without[min(len(without) - 1, int(np.ceil(SPECIFICITY * len(without))))] if len(without) else 0.5
        cuts[region] = float(min(0.999, np.ceil(at * 1000 + 1e-9) / 1000))
    return cuts


def platt(decisions: FloatArray, truth: Mask) -> tuple[float, float]:
    """Slope and intercept of the logistic curve from decision to probability (Platt 1999).

    Parameters
    ----------
    decisions : (n,) float array
    truth : (n,) bool array with both classes
    """
    from sklearn.linear_model import LogisticRegression

    curve = LogisticRegression(C=1e6).fit(decisions[:, None], truth)
    return float(curve.coef_[0, 0]), float(curve.intercept_[0])


def outside_area(fitted: Fitted, table: RegionTable, seed: int) -> float | None:
    """What paper 1 reports in place of a nested area: columns and settings chosen on everybody, then folds of regions.

    Its distance from the nested area is the optimism of choosing outside of folds. None of a forest, which chooses
    nothing.

    Parameters
    ----------
    fitted : Fitted on the table
    table : training patients
    seed : of the folds
    """
    if "svm_C" not in fitted.settings:
        return None
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.svm import SVC

    rows = table.rows(fitted.classifier.columns)
    scaled = fitted.classifier.scaling.scaled(rows.values)
    machine = SVC(C=fitted.settings["svm_C"], gamma=fitted.settings["svm_gamma"], class_weight="balanced")
    at = _fewer_negatives(rows.is_affected, np.random.default_rng(seed))
    folds = StratifiedKFold(OUTER, shuffle=True, random_state=seed)
    found = cross_val_predict(machine, scaled[at], rows.is_affected[at], cv=folds, method="decision_function")
    return area(rows.is_affected[at], found)
