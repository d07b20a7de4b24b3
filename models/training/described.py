"""The table that a classifier of regions learns from: features and truth of every region of described patients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.classifier import Column, columns_of
from tasks.anatomy import HEMISPHERES, LabelTable, other_side
from tasks.arrays import AnyArray, FloatArray, IntArray, Mask
from tasks.scoring import LEAST_COVERAGE, MOST_FLUID

AFFECTED = 0.10  # of a region that is infarct: more is affected (Cao 2022, ground truth; METHODS A.3)


@dataclass(frozen=True, eq=False)
class Rows:
    """Regions, a row each.

    Attributes
    ----------
    columns : Column, C
    values : (n, C) float array, NaN where one could not be taken
    regions : (n,) array of names
    is_affected : (n,) bool array
    patient, label : (n,) int arrays, places in the table
    """

    columns: tuple[Column, ...]
    values: FloatArray
    regions: AnyArray
    is_affected: Mask
    patient: IntArray
    label: AnyArray

    def taken(self, at: AnyArray) -> Rows:
        """Some of the rows."""
        return Rows(
            self.columns, self.values[at], self.regions[at], self.is_affected[at], self.patient[at], self.label[at]
        )

    def seen_by(self, columns: Sequence[Column]) -> FloatArray:
        """(n, fewer) float array, some of the columns."""
        return self.values[:, [self.columns.index(one) for one in columns]]


@dataclass(frozen=True, eq=False)
class RegionTable:
    """Regions of patients, in the order of a label table.

    Attributes
    ----------
    patients : names, P
    anatomies : of each patient
    regions, sides : of each label, R
    names : of the features, F
    own, other : (P, R, F) float arrays, features of a region and of the same one of the other side; NaN without
    is_affected : (P, R) bool array
    is_there : (P, R) bool array, regions that are covered, tissue and described
    n_refused : patients whose image could not be used; they are not among the P
    """

    patients: tuple[str, ...]
    anatomies: tuple[str, ...]
    regions: tuple[str, ...]
    sides: tuple[str, ...]
    names: tuple[str, ...]
    own: FloatArray
    other: FloatArray
    is_affected: Mask
    is_there: Mask
    n_refused: int = 0

    def rows(self, columns: Sequence[Column]) -> Rows:
        """The regions that are there, a row each."""
        patient, label = np.nonzero(self.is_there)
        own, other = self.own[patient, label], self.other[patient, label]
        named = np.array(self.regions)[label]
        values = columns_of(own, other, self.names, columns)
        return Rows(tuple(columns), values, named, self.is_affected[patient, label], patient.astype(np.int64), label)


def read_described(paths: Sequence[Path], table: LabelTable, names: Sequence[str]) -> RegionTable:
    """Read what ``flows.training.describing`` kept.

    Parameters
    ----------
    paths : a file for each patient
    table : of the label map
    names : of the features

    Raises
    ------
    ValueError
        Nobody could be described.
    """
    kept = {path.stem: json.loads(path.read_bytes()) for path in paths}
    used = {name: one for name, one in kept.items() if not one["reason"]}
    if not used:
        raise ValueError(f"at least one patient must be described, got none of {len(kept)}. Draw others.")
    labels = [label for label in table.labels if label.side in HEMISPHERES]
    place = {label.index: at for at, label in enumerate(table.labels)}
    mine = [place[label.index] for label in labels]
    at = {(label.side, label.region): number for number, label in enumerate(labels)}
    across = [at[other_side(label.side), label.region] for label in labels]
    own = np.full((len(used), len(labels), len(names)), np.nan)
    is_there = np.zeros((len(used), len(labels)), bool)
    for number, one in enumerate(used.values()):
        for label, row in enumerate(one["rows"][each] for each in mine):
            if row["values"]:
                own[number, label] = [np.nan if value is None else value for value in row["values"]]
            is_there[number, label] = (
                not row["reason"] and row["coverage"] >= LEAST_COVERAGE and (row["fluid_share"] or 0.0) <= MOST_FLUID
            )
    other = np.where(is_there[:, across, None], own[:, across], np.nan)
    shares = np.array([[one["shares"][each] for each in mine] for one in used.values()])
    return RegionTable(
        tuple(used),
        tuple(str(one["facts"]["anatomy"]) for one in used.values()),
        tuple(label.region for label in labels),
        tuple(label.side for label in labels),
        tuple(names),
        own,
        other,
        shares > AFFECTED,
        is_there,
        len(kept) - len(used),
    )
