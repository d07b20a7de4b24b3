"""What several readers say together: their agreement, and how a machine compares with readers like them (MRMC)."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from reports.estimators.auc_covariance import auc_covariance
from reports.estimators.multi_reader import ReaderEffect, compare_treatments, reader_mean
from reports.estimators.rater_agreement import rater_agreement
from reports.statistics.patients import SCORE, Patients
from reports.statistics.rows import LEVEL, Builder, Details, Scope
from reports.statistics.sections.severity import DIRECTION, asked, threshold_of
from tasks.anatomy import ASPECTS_REGIONS, MAXIMUM_SCORE
from tasks.arrays import FloatArray

PREFIX = "reader:"
SCORES = range(MAXIMUM_SCORE + 1)


def add_reader_agreement(rows: Builder, patients: Patients, name: str) -> None:
    """Add Fleiss's kappa and Gwet's coefficient of all readers: of the score, of every declared cut, of each region."""
    readers = _readers(patients).get("", {})
    if len(readers) < 2:
        return
    scope = Scope(section="readers", analysis_set=name, measure=SCORE)
    note = ", ".join(readers.values())
    scores = np.column_stack([patients.scores[source] for source in readers.values()])
    _add_pair(rows, scope, scores, note, is_score=True)
    for item in patients.config.dichotomy:
        if item.on == SCORE:
            flags = np.full(scores.shape, np.nan)
            flags[~np.isnan(scores)] = threshold_of(item).is_positive(scores[~np.isnan(scores)])
            _add_pair(rows, replace(scope, dichotomy=item.name), flags, note)
    flagged = [patients.flags.get(source) for source in readers.values()]
    if all(one is not None and one.regions == ASPECTS_REGIONS for one in flagged):
        either = np.stack([one.of_side("any") for one in flagged if one is not None], axis=2)
        for at, region in enumerate(ASPECTS_REGIONS):
            _add_pair(rows, replace(scope, region=region, measure=None), either[:, at], note)


def add_reader_discrimination(rows: Builder, patients: Patients, name: str) -> None:
    """Add the readers' mean area, each computed source less the readers, and one session less another."""
    by_session = _readers(patients)
    readers = tuple(by_session.get("", {}).values())
    if patients.config.severity is None or len(readers) < 2:
        return
    scope = Scope(section="readers", analysis_set=name, measure=SCORE)
    _add_effect(rows, scope, "reader_auc", patients, (readers, ()))
    for source in (one.name for one in patients.config.computed_sources if one.name in patients.scores):
        _add_effect(rows, replace(scope, source=source), "reader_auc_difference", patients, (readers, (source,)))
    for (first, of_first), (second, of_second) in combinations(by_session.items(), 2):
        both = [reader for reader in of_first if reader in of_second]
        if len(both) > 1:
            pairs = tuple(of_first[reader] for reader in both), tuple(of_second[reader] for reader in both)
            about = replace(scope, category=f"{second or 'first'} less {first or 'first'}")
            _add_sessions(rows, about, patients, pairs)


def _readers(patients: Patients) -> dict[str, dict[str, str]]:
    """Session -> reader -> source; the first reading has the session '', whatever the study calls it."""
    sessions: dict[str, dict[str, str]] = {}
    for source in patients.scores:
        if source.startswith(PREFIX):
            reader, _, session = source.removeprefix(PREFIX).partition(":")
            sessions.setdefault(reader, {})[session] = source
    found: dict[str, dict[str, str]] = {"": {}}
    for reader, of_reader in sessions.items():
        first = "" if "" in of_reader else next(iter(of_reader))
        for session, source in of_reader.items():
            found.setdefault("" if session == first else session, {})[reader] = source
    return found


def _add_pair(rows: Builder, scope: Scope, ratings: FloatArray, note: str, *, is_score: bool = False) -> None:
    """Add both coefficients of one table of ratings; those of the score have quadratic weights."""
    categories, weights = (SCORES, "quadratic") if is_score else ((0, 1), "none")
    for quantity, coefficient in (("fleiss_kappa", "fleiss_kappa"), ("fleiss_ac", "gwet_ac")):
        result = rater_agreement(ratings=ratings, categories=categories, coefficient=coefficient, weights=weights)  # type: ignore[arg-type]
        rows.statistic(scope, quantity, result, result.confidence_interval(LEVEL), Details(note=note))


def _add_effect(
    rows: Builder, scope: Scope, quantity: str, patients: Patients, of: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    """Add a mean over the readers: of their areas, or of a machine's area less each of theirs."""
    readers, machine = of
    table = np.column_stack([patients.scores[source] for source in (*readers, *machine)])
    positive = patients.positive()
    kept = patients.complete(positive, *table.T)
    areas = auc_covariance(reference=positive[kept], candidates=table[kept], positive_when=DIRECTION[SCORE])
    estimates, covariance = areas.estimates, areas.covariance
    if machine:
        contrast = np.column_stack([-np.eye(len(readers)), np.ones(len(readers))])
        estimates, covariance = contrast @ estimates, contrast @ covariance @ contrast.T
    null = 0.0 if machine else 0.5
    result = reader_mean(estimates=estimates, covariance=covariance, n=areas.n, null=null)
    note = f"{'less the mean of ' if machine else 'mean of '}{', '.join(readers)}"
    _add(rows, asked(scope, patients, positive[kept]), quantity, result, areas.reason or "", note)


def _add_sessions(rows: Builder, scope: Scope, patients: Patients, of: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    """Add the mean difference of the second session and the first, same readers and patients."""
    first, second = of
    table = np.column_stack([patients.scores[source] for source in (*second, *first)])
    positive = patients.positive()
    kept = patients.complete(positive, *table.T)
    areas = auc_covariance(reference=positive[kept], candidates=table[kept], positive_when=DIRECTION[SCORE])
    result = compare_treatments(
        estimates=areas.estimates.reshape(2, len(first)), covariance=areas.covariance, n=areas.n
    ).differences[0, 1]
    note = f"readers {', '.join(first)}"
    _add(rows, asked(scope, patients, positive[kept]), "session_auc_difference", result, areas.reason or "", note)


def _add(rows: Builder, scope: Scope, quantity: str, result: ReaderEffect, reason: str, note: str) -> None:
    """Add an effect with its p; why there are no areas goes before why there is no effect."""
    if reason:
        rows.missing(scope, quantity, result.n, "Obuchowski-Rockette", f"{note}; {reason}")
        return
    rows.statistic(scope, quantity, result, result.confidence_interval(LEVEL), Details(p_value=result.p, note=note))
