"""Agreement with and without the patients in whom a plain CT shows an old infarct or a haemorrhage, as suspected.

Either looks to some systems like an acute infarct, or hides one. Nobody is excluded for it: what is printed is the same
agreement over those who are left, beside that over everybody. A participant is suspected where any of the scans is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reports.estimators.agreement import agreement_within, icc_a1
from reports.estimators.bland_altman import bland_altman
from reports.estimators.estimate import Proportion
from reports.statistics.patients import Patients
from reports.statistics.rows import LEVEL, Builder, Details, Scope, joined
from reports.statistics.sections.agreement import pairs_of, shared_method
from tasks.arrays import BoolArray

SECTION = "guards"
#: What is left out -> the guards that do; a hyperdense artery is a sign of the stroke itself.
WITHOUT: Mapping[str, tuple[str, ...]] = {
    "without_chronic": ("chronic",),
    "without_haemorrhage": ("haemorrhage",),
    "without_either": ("chronic", "haemorrhage"),
}


def add_guards(rows: Builder, patients: Patients, name: str) -> None:
    """Add how many are suspected of each finding, and the agreement of every pair without them."""
    for guard, flags in patients.guards.items():
        known = patients.complete(flags)
        if known.any():
            scope = Scope(section=SECTION, analysis_set=name, category=guard)
            share = Proportion(int(flags[known].sum()), int(known.sum()))
            rows.proportion(scope, "suspected", share, "of those with a plain CT that could be measured")
    for category, guards in WITHOUT.items():
        is_left_out = suspected_of(patients, guards)
        if is_left_out.any():
            _add_agreement(rows, patients, name, category, is_left_out)


def suspected_of(patients: Patients, guards: tuple[str, ...]) -> BoolArray:
    """(n,) whether a participant is suspected of any of these; nobody is whose scan was not measured."""
    found = np.zeros(patients.n, bool)
    for guard in guards:
        found |= patients.guards[guard] == 1
    return found


def _add_agreement(rows: Builder, patients: Patients, name: str, category: str, is_left_out: BoolArray) -> None:
    """Add the main figures of every pair over those who are left, where that leaves somebody out."""
    for reference, candidate in pairs_of(patients):
        if reference not in patients.scores or candidate not in patients.scores:
            continue
        first, second = patients.scores[reference], patients.scores[candidate]
        scored = patients.complete(first, second)
        kept = scored & ~is_left_out
        n_left_out = int((scored & is_left_out).sum())
        if not n_left_out or not kept.any():
            continue
        scope = Scope(section=SECTION, analysis_set=name, measure="score", source=candidate, reference=reference,
                      category=category)  # fmt: skip
        note = joined(shared_method(patients, reference, candidate), f"{n_left_out} suspected left out")
        icc = icc_a1(reference=first[kept], candidate=second[kept])
        rows.statistic(scope, "icc_a1", icc, icc.confidence_interval(LEVEL), Details(note=note))
        within = agreement_within(reference=first[kept], candidate=second[kept], tolerance=1)
        rows.proportion(scope, "within_1", within, note)
        limits = bland_altman(reference=first[kept], candidate=second[kept])
        details = Details(unit="points", note=note, p_value=limits.p)
        rows.statistic(scope, "bias", limits, limits.confidence_interval(LEVEL), details)
