"""The same numbers site by site, pooled over sites by random effects, and with each site left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from reports.estimators.agreement import icc_a1
from reports.estimators.discrimination import auc
from reports.estimators.estimate import Interval, Proportion
from reports.estimators.pooling import LEAST_SITES, Scale, SiteEstimate, leave_one_site_out, pool
from reports.statistics.patients import Patients
from reports.statistics.rows import LEVEL, Builder, Details, Scope, Statistic, joined
from reports.statistics.sections.agreement import pairs_of
from reports.statistics.sections.severity import DIRECTION, asked, threshold_of

COLUMN = "site"
_Z = float(stats.norm.ppf((1 + LEVEL) / 2))
Found = tuple[Statistic, Interval, SiteEstimate]


@dataclass(frozen=True, eq=False)
class SiteQuestion:
    """A number that every site has: how its patients give it, and on which scale sites are pooled."""

    quantity: str
    scope: Scope
    scale: Scale
    of: Callable[[Patients, str], Found]


def add_sites(rows: Builder, patients: Patients, name: str) -> None:
    """Add area, sensitivity and specificity at the primary cut, and ICC, of each site and over sites."""
    if COLUMN not in patients.table:
        return
    site = patients.table[COLUMN].astype(object).where(patients.table[COLUMN].notna(), "").to_numpy(dtype=object)
    sites = sorted({str(one) for one in site if one != ""})
    if len(sites) < 2:
        return
    at_site = {one: patients.within(np.asarray(site == one)) for one in sites}
    for question in _questions(patients, name):
        found = {one: question.of(part, one) for one, part in at_site.items()}
        for one, (result, interval, _) in found.items():
            scope, quantity = replace(question.scope, category=one), f"site_{question.quantity}"
            if isinstance(result, Proportion):
                rows.proportion(scope, quantity, result)
            else:
                rows.statistic(scope, quantity, result, interval)
        _add_pooled(rows, question, [one for _, _, one in found.values()])


def _add_pooled(rows: Builder, question: SiteQuestion, sites: list[SiteEstimate]) -> None:
    """Add the mean over sites, a further site's interval, the share of variance between sites, and each left out."""
    pooled = pool(sites, scale=question.scale)
    left_out = f"left out: {', '.join(pooled.left_out)}" if pooled.left_out else None
    details = Details(note=joined(f"{pooled.n_sites} sites", left_out))
    scope, quantity = question.scope, question.quantity
    rows.statistic(scope, f"pooled_{quantity}", pooled, pooled.confidence_interval(LEVEL), details)
    further = replace(details, note=joined(details.note, pooled.reason))
    rows.add(scope, f"predicted_{quantity}", pooled.estimate, pooled.n, pooled.prediction_interval(LEVEL), further)
    tested = replace(further, p_value=pooled.heterogeneity_p)
    rows.add(scope, f"i_squared_{quantity}", pooled.i_squared, pooled.n, "I2 of Cochran's Q", tested)
    if len(sites) < LEAST_SITES:
        return  # without one of two sites there is the other, which has its own row
    for one, rest in leave_one_site_out(sites, scale=question.scale).items():
        rows.statistic(replace(scope, category=one), f"without_{quantity}", rest, rest.confidence_interval(LEVEL))


def _questions(patients: Patients, name: str) -> Iterator[SiteQuestion]:
    """What is asked of every site."""
    if patients.config.severity is not None:
        for measure, source, _ in patients.measures():
            scope = asked(Scope(section="sites", analysis_set=name, measure=measure, source=source), patients, None)
            yield SiteQuestion("auc", scope, "logit", _area(measure, source))
        for item in (one for one in patients.config.dichotomy if one.primary):
            for measure, source, _ in patients.measures():
                if measure == item.on:
                    base = Scope(section="sites", analysis_set=name, measure=measure, source=source)
                    scope = asked(replace(base, dichotomy=item.name), patients, None)
                    for quantity in ("sensitivity", "specificity"):
                        yield SiteQuestion(quantity, scope, "logit", _share(item.name, source, quantity))
    for reference, candidate in pairs_of(patients):
        if reference in patients.scores and candidate in patients.scores:
            scope = Scope(section="sites", analysis_set=name, measure="score", source=candidate, reference=reference)
            yield SiteQuestion("icc_a1", scope, "fisher_z", _icc(reference, candidate))


def _area(measure: str, source: str) -> Callable[[Patients, str], Found]:
    """Area of one source at a site."""

    def of(part: Patients, site: str) -> Found:
        values = (part.scores if measure == "score" else part.volumes)[source]
        positive = part.positive()
        kept = part.complete(positive, values)
        area = auc(reference=positive[kept], candidate=values[kept], positive_when=DIRECTION[measure])
        error = math.sqrt(area.variance) if area.variance > 0 else math.nan
        return area, area.confidence_interval(LEVEL), SiteEstimate(site, area.estimate, error, area.n)

    return of


def _share(dichotomy: str, source: str, quantity: str) -> Callable[[Patients, str], Found]:
    """Sensitivity or specificity at a cut; all or none of a site count half a patient more and less when pooled."""

    def of(part: Patients, site: str) -> Found:
        item = next(one for one in part.config.dichotomy if one.name == dichotomy)
        values = (part.scores if item.on == "score" else part.volumes)[source]
        positive = part.positive()
        kept = part.complete(positive, values) & (positive == (1 if quantity == "sensitivity" else 0))
        is_right = threshold_of(item).is_positive(values[kept]) == (quantity == "sensitivity")
        share = Proportion(int(np.count_nonzero(is_right)), is_right.size)
        k, n = (share.count, share.n) if 0 < share.count < share.n else (share.count + 0.5, share.n + 1)
        error = math.sqrt(k / n * (1 - k / n) / n) if share.n else math.nan
        return share, share.confidence_interval(LEVEL), SiteEstimate(site, k / n, error, share.n)

    return of


def _icc(reference: str, candidate: str) -> Callable[[Patients, str], Found]:
    """ICC(A,1) of one pair; its standard error from the width of its interval on Fisher's z."""

    def of(part: Patients, site: str) -> Found:
        first, second = part.scores[reference], part.scores[candidate]
        kept = part.complete(first, second)
        icc = icc_a1(reference=first[kept], candidate=second[kept])
        interval = icc.confidence_interval(LEVEL)
        error = math.nan
        if interval.lower > -1 and interval.upper < 1 and abs(icc.estimate) < 1:
            width = math.atanh(interval.upper) - math.atanh(interval.lower)
            error = width / (2 * _Z) * (1 - icc.estimate**2)
        return icc, interval, SiteEstimate(site, icc.estimate, error, icc.n)

    return of
