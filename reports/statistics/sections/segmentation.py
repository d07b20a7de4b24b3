"""How lesions agree that lie on one grid, by the volume of the reference, and how drawn regions do with a source's."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pandas as pd

from cohorts.tables.segmentation import lesion_pairs
from reports.estimators.median import median
from reports.statistics.inputs import ReportInput
from reports.statistics.patients import Patients
from reports.statistics.rows import LEVEL, Builder, Details, Scope
from tasks.arrays import FloatArray

#: Strata of the reference's volume, ml: the lower edge belongs to each (METHODS A.6 T3).
VOLUME_EDGES_ML = (0.0, 3.0, 16.0, 66.0, math.inf)
#: Column of ``segmentation`` -> its unit.
MEASURES = {"dice": None, "surface_dice": None, "hd95_mm": "mm", "lesion_f1": None, "volume_difference_ml": "ml"}
#: Masks without a voxel, counted beside every table.
EMPTINESS = ("both_empty", "reference_empty", "candidate_empty")


def strata() -> dict[str | None, tuple[float, float]]:
    """Every volume under None, then each stratum -> its edges, [low, high) ml."""
    edges = list(pairwise(VOLUME_EDGES_ML))
    return {None: (-math.inf, math.inf)} | {_name(low, high): (low, high) for low, high in edges}


def _name(low: float, high: float) -> str:
    """A stratum as its rows call it."""
    return f"{low:g} to {high:g} ml" if math.isfinite(high) else f"{low:g} ml or more"


def add_segmentation(rows: Builder, data: ReportInput, patients: Patients, name: str) -> None:
    """Add the agreement of every pair of lesions in one analysis set.

    Pairs of which both masks are empty have no Dice and are counted; of which one is empty have a Dice of 0, and no
    distance.
    """
    table = data.segmentation.sort_values("participant_id", kind="stable")
    _add_regions(rows, table[table["region"].notna()], patients, name)
    table = table[table["region"].isna()]
    known = _known(table, patients)
    declared = [(pair.reference, pair.candidate) for pair in lesion_pairs(data.config)]
    given = sorted(set(zip(table["reference"], table["candidate"], strict=True)))
    for reference, candidate in [
        *(one for one in declared if one in given),
        *(one for one in given if one not in declared),
    ]:
        scope = Scope(section="segmentation", analysis_set=name, source=candidate, reference=reference)
        found = known[(known["reference"] == reference) & (known["candidate"] == candidate)]
        for presence in EMPTINESS:
            rows.count(scope, f"n_{presence}", int((found["presence"] == presence).sum()), len(found))
        for stratum, (low, high) in strata().items():
            volume = found["reference_volume_ml"].astype(float)
            inside = found[(volume >= low) & (volume < high)]
            _add_medians(rows, replace(scope, category=stratum), inside, patients)


def _known(table: pd.DataFrame, patients: Patients) -> pd.DataFrame:
    """Comparisons that were made, of these patients."""
    return table[table["participant_id"].isin(patients.table["participant_id"]) & (table["status"] == "ok")]


def _add_regions(rows: Builder, table: pd.DataFrame, patients: Patients, name: str) -> None:
    """Add the Dice of every region: medians over patients, of whom each counts with the mean of both sides."""
    known = _known(table, patients)
    for reference, candidate, region in table[["reference", "candidate", "region"]].drop_duplicates().to_numpy():
        scope = Scope(section="segmentation", analysis_set=name, source=candidate, reference=reference, region=region)
        is_it = (known["reference"] == reference) & (known["candidate"] == candidate) & (known["region"] == region)
        dice = known[is_it].astype({"dice": float}).groupby("participant_id", sort=True)["dice"].mean()
        _add_median(rows, scope, "dice", dice.dropna().to_numpy(), patients)


def _add_medians(rows: Builder, scope: Scope, found: pd.DataFrame, patients: Patients) -> None:
    """Add median and quartiles of every measure; that of Dice has an interval."""
    for measure in MEASURES:
        _add_median(rows, scope, measure, found[measure].dropna().to_numpy(dtype=float), patients)


def _add_median(rows: Builder, scope: Scope, measure: str, values: FloatArray, patients: Patients) -> None:
    """Add median and quartiles of one measure."""
    study = patients.config.study
    seed = scope.seed_of(measure, study.seed) if measure == "dice" else None
    one = median(values=values, seed=seed or 0, n_resamples=study.bootstrap_resamples)
    details = Details(unit=MEASURES[measure], note=one.reason)
    if seed is None:
        rows.add(scope, measure, one.estimate, one.n, "median", details)
    else:
        rows.add(scope, measure, one.estimate, one.n, one.confidence_interval(LEVEL), replace(details, seed=seed))
    for quantity, value in ((f"{measure}_q1", one.q1), (f"{measure}_q3", one.q3)):
        rows.add(scope, quantity, value, one.n, "quantile, linear interpolation", details)
