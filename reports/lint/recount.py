"""The lint's second look: counts, shares and areas computed again from the contract tables, by other means.

Nothing here shares code with the sections that made the numbers: rows are grouped with pandas where those count with
numpy, and the area under the curve comes from rank sums where those take DeLong's components.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy import stats

from cohorts.folder.analysis_plan import ANALYSIS_SETS
from cohorts.folder.study import Dichotomy
from cohorts.tables.schemas import UNGRADED
from reports.statistics.inputs import ReportInput
from reports.statistics.rows import Row, Statistics
from tasks.anatomy import ASPECTS_REGIONS, CORTICAL_REGIONS, DEEP_REGIONS, HEMISPHERES, MAXIMUM_SCORE
from tasks.arrays import BoolArray, FloatArray

COMPARE: dict[str, Callable[[pd.Series, float], pd.Series]] = {
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
}
TOLERANCE = 1e-9
#: Strata of a reference's volume, in the order of their edges.
VOLUMES = ("0 to 3 ml", "3 to 16 ml", "16 to 66 ml", "66 ml or more")


class Recount:
    """The tables by participant, and the strata as sets of participants."""

    def __init__(self, data: ReportInput) -> None:
        self.config = data.config
        self.declared: dict[str, Dichotomy] = {item.name: item for item in data.config.dichotomy}
        self.people = data.participants.astype({"participant_id": object}).set_index("participant_id")
        self.scores = _pivot(data.scores, "score")
        self.volumes = _pivot(data.lesions, "volume_ml")
        regions = data.regions.astype({"participant_id": object})  # text of Arrow is slow to look up
        usable = regions[(regions["status"] == "ok") & regions["affected"].notna()]
        self.segmentation = data.segmentation[data.segmentation["status"] == "ok"]
        self.flags = {
            str(source): rows.assign(affected=rows["affected"].astype(int))  # noqa: PD010 - pivot_table would average
            .set_index(["participant_id", "region", "side"])["affected"]
            .unstack("side")
            for source, rows in usable.groupby("source")
        }
        self.evidence = _evidence(regions[regions["status"] == "ok"])
        self.strata = self._strata()
        self.suspects = {
            name: _suspects(data.scans, f"{name}_suspected") for name in ("chronic", "haemorrhage", "hyperdense_mca")
        }
        self._affected: dict[tuple[str, str, str], dict[str, tuple[int, int]]] = {}
        self._judged: dict[tuple[str, str, str, bool], pd.DataFrame] = {}
        self._tables: dict[tuple[str, str, str], dict[str, tuple[int, int]]] = {}
        self._positive = self._positive_class()

    def _strata(self) -> dict[str, pd.Index]:
        """Stratum -> participants."""
        sets = {"screened": self.people.index}
        for name in ANALYSIS_SETS[1:]:
            members = self.people[self.people[f"is_{name}"].fillna(False).astype(bool)]
            sets[name] = members.index
            grade = members["severity"]
            for item in self.config.severity.grades if self.config.severity else ():
                sets[f"{name}/{item.name}"] = members.index[grade == item.name]
            sets[f"{name}/{UNGRADED}"] = members.index[grade.isna()]
        return sets

    def numbers(self, stratum: str, measure: str, source: str | None) -> pd.Series:
        """A source's scores or volumes in a stratum, without the missing."""
        table = self.scores if measure == "score" else self.volumes
        if source not in table:
            return pd.Series(dtype=float)
        return table[source].reindex(self.strata[stratum]).dropna()

    def two_by_two(self, name: str, cell: Row) -> dict[str, tuple[int, int]]:
        """Numerator and denominator of each share of a declared dichotomy, for the cell's source and stratum."""
        key = (name, cell.source or "", cell.stratum)
        if key in self._tables:
            return self._tables[key]
        dichotomy = self.declared[name]
        values = self.numbers(cell.stratum, dichotomy.on, cell.source)
        every = COMPARE[dichotomy.operator](values, dichotomy.cut)
        positive = self.positive(values.index)
        test = every.reindex(positive.index)
        tp, tn = int((test & positive).sum()), int((~test & ~positive).sum())
        n, n_positive, n_test = len(test), int(positive.sum()), int(test.sum())
        self._tables[key] = {
            "test_positive": (int(every.sum()), len(every)),
            "sensitivity": (tp, n_positive),
            "specificity": (tn, n - n_positive),
            "accuracy": (tp + tn, n),
            "ppv": (tp, n_test),
            "npv": (tn, n - n_test),
            "prevalence": (n_positive, n),
        }
        return self._tables[key]

    def positive(self, ids: pd.Index) -> pd.Series:
        """Whether each participant is in the positive class; the missing are left out."""
        return self._positive[self._positive.index.isin(ids)]

    def affected(self, source: str, side: str, stratum: str) -> dict[str, tuple[int, int]]:
        """Region -> participants affected and participants seen, on one side or on ``any``."""
        key = (source, side, stratum)
        if key not in self._affected:
            flags = self.flags[source]
            sides = [one for one in (HEMISPHERES if side == "any" else (side,)) if one in flags]
            seen = flags[flags.index.get_level_values("participant_id").isin(self.strata[stratum])][sides].dropna()
            grouped = seen.max(axis=1).groupby(level="region")
            counts = zip(grouped.sum().items(), grouped.size(), strict=True)
            self._affected[key] = {str(region): (int(n_affected), int(n)) for (region, n_affected), n in counts}
        return self._affected[key]

    def judged(self, cell: Row, regions: tuple[str, ...], *, by_evidence: bool) -> tuple[BoolArray, FloatArray]:
        """Whether the reference calls each region affected, and what the candidate says of it."""
        key = (str(cell.reference), str(cell.source), cell.stratum, by_evidence)
        if key not in self._judged:
            tables = [self.flags[key[0]], self.evidence[key[1]] if by_evidence else self.flags[key[1]]]
            long = [
                one[[side for side in HEMISPHERES if side in one]].stack()  # noqa: PD013
                for one in tables
            ]
            both = pd.concat(long, axis=1, keys=["reference", "candidate"]).dropna().reset_index("region")
            inside = both.index.get_level_values("participant_id").isin(self.strata[cell.stratum])
            self._judged[key] = both[inside]
        found = self._judged[key]
        found = found[found["region"].isin(regions)]
        return (found["reference"] == 1).to_numpy(), found["candidate"].to_numpy(dtype=float)

    def _positive_class(self) -> pd.Series:
        """Whether the severity column reaches the positive class, where it is given."""
        severity = self.config.severity
        if severity is None or severity.column not in self.people:
            return pd.Series(dtype=bool)
        values = pd.to_numeric(self.people[severity.column], errors="coerce").dropna().astype(float)
        return values >= severity.positive_minimum


def recount_problems(book: Statistics, data: ReportInput) -> list[str]:
    """Every number that does not follow from the tables, and every row of the tables that contradicts another."""
    problems = [*_flow(book, data), *_region_sums(data)]
    recount = Recount(data)
    checks = {
        "cohort": _cohort,
        "distribution": _distribution,
        "regions": _regions,
        "roc": _roc,
        "dichotomies": _dichotomies,
        "agreement": _agreement,
        "guards": _guards,
        "regional": _regional,
        "reference_cuts": _reference_cuts,
        "segmentation": _segmentation,
    }
    for cell in book.rows:
        if cell.stratum not in recount.strata:
            known = ", ".join(recount.strata)
            problems.append(cell.must(f"have a stratum that is one of {known}", cell.stratum))
            continue
        size = len(recount.strata[cell.stratum])
        if cell.n is not None and cell.n > size and not (cell.section == "cohort" and cell.quantity == "n"):
            problems.append(cell.must(f"have n <= {size}, the participants of {cell.stratum}", cell.n))
        if cell.section in checks:
            problems += checks[cell.section](cell, recount)
    return problems


def _flow(book: Statistics, data: ReportInput) -> Iterator[str]:
    """The flowchart's counts against the tables, and each departure against its one primary exclusion."""
    people = data.participants.set_index("participant_id")
    counts: dict[str, int] = {"n_screened": len(people), "n_included": int((people["status"] == "included").sum())}
    counts |= {f"n_{status}": int((people["status"] == status).sum()) for status in ("excluded", "failed")}
    counts |= {f"n_{name}": int(people[f"is_{name}"].fillna(False).sum()) for name in ("measured", "examined")}
    left = people[people["status"] != "included"]
    for (status, stage, reason), rows in left.groupby(["status", "stage", "reason"]):
        counts[f"n_{status}:{stage}:{reason}"] = len(rows)
    for cell in book.rows:
        if cell.section == "flow" and cell.estimate != counts.get(cell.full_name, 0):
            yield cell.must(f"be {counts.get(cell.full_name, 0)} as in participants", cell.estimate)
    primary = data.exclusions[data.exclusions["is_primary"].fillna(False).astype(bool)]
    n_primary = primary["participant_id"].value_counts()
    for key in left.index[~left.index.isin(n_primary.index)]:
        yield f"participants: {key} must have a primary row in exclusions, got status {left['status'][key]} and none."
    for key in n_primary.index[n_primary > 1]:
        yield f"exclusions: {key} must have one primary reason, got {n_primary[key]}."
    for row in primary.itertuples():
        if row.participant_id not in people.index:
            yield f"exclusions: {row.participant_id} must be a row of participants, got none."
            continue
        told, found = people.loc[str(row.participant_id)], (row.status, row.stage, row.reason)
        if (told["status"], told["stage"], told["reason"]) != found:
            given = (told["status"], told["stage"], told["reason"])
            yield f"participants: {row.participant_id} must say {found} as its primary exclusion does, got {given}."
    if not (people["is_included"].fillna(False).astype(bool) == (people["status"] == "included")).all():
        yield "participants: is_included must be true where status is included and only there."
    for subset, whole in (("is_included", "is_examined"), ("is_examined", "is_listed")):
        inside = people[subset].fillna(False).astype(bool)
        for key in people.index[inside & ~people[whole].fillna(False).astype(bool)]:
            yield f"participants: {key} must be {whole} to be {subset}, got {whole} false."


def _region_sums(data: ReportInput) -> Iterator[str]:
    """Each side's score is ten minus its affected regions, where all ten were given."""
    rows = data.regions[(data.regions["status"] == "ok") & data.regions["affected"].notna()]
    rows = rows[rows["region"].isin(ASPECTS_REGIONS)]
    grouped = rows.assign(affected=rows["affected"].astype(int)).groupby(["participant_id", "source", "side"])[
        "affected"
    ]
    sums, sizes = grouped.sum().unstack("side"), grouped.size().unstack("side")  # noqa: PD010
    scores = data.scores[data.scores["status"] == "ok"].set_index(["participant_id", "source"])
    for side in HEMISPHERES:
        if side not in sums:
            continue
        expected = MAXIMUM_SCORE - sums[side][sizes[side] == len(ASPECTS_REGIONS)]
        printed = scores[f"score_{side}"].reindex(expected.index).dropna()
        expected = expected.reindex(printed.index)
        for key in printed.index[printed.to_numpy(dtype=float) != expected.to_numpy(dtype=float)]:
            yield (
                f"scores: score_{side} of {key[0]} by {key[1]} must be 10 - affected regions = {expected[key]:g}, "
                f"got {printed[key]}."
            )


def _cohort(cell: Row, recount: Recount) -> Iterator[str]:
    """Group sizes and the counts of categories."""
    members = recount.strata[cell.stratum]
    if cell.quantity == "n" and cell.estimate != len(members):
        yield cell.must(f"be {len(members)} as in participants", cell.estimate)
    if cell.quantity == "share" and cell.variable in recount.people:
        known = recount.people[cell.variable].reindex(members).dropna().astype(str)
        if known.isin(["True", "False"]).all():
            known = known.str.lower()
        yield from _shares(cell, int((known == cell.category).sum()), len(known))


def _distribution(cell: Row, recount: Recount) -> Iterator[str]:
    """Counts of score values."""
    if cell.quantity == "share":
        values = recount.numbers(cell.stratum, "score", cell.source)
        yield from _shares(cell, int((values == int(cell.category or -1)).sum()), len(values))


def _regions(cell: Row, recount: Recount) -> Iterator[str]:
    """Affected regions by side and stratum."""
    if cell.quantity != "affected":
        return
    side, region = cell.side or "", cell.region or ""
    if cell.source not in recount.flags:
        yield from _shares(cell, 0, 0)
        return
    yield from _shares(cell, *recount.affected(cell.source, side, cell.stratum).get(region, (0, 0)))


def _roc(cell: Row, recount: Recount) -> Iterator[str]:
    """Areas under the curve from rank sums."""
    if cell.quantity != "auc":
        return
    measure = cell.measure or ""
    values = recount.numbers(cell.stratum, measure, cell.source)
    positive = recount.positive(values.index)
    values = values.reindex(positive.index)
    n, n_positive = len(values), int(positive.sum())
    if (cell.n, cell.n_positive) != (n, n_positive):
        yield cell.must(f"have n = {n} and n_positive = {n_positive}", f"{cell.n} and {cell.n_positive}")
    if 0 < n_positive < n:
        ranks = (values if measure == "volume_ml" else -values).rank()
        area = (ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * (n - n_positive))
        if cell.estimate is None or abs(cell.estimate - area) > TOLERANCE:
            yield cell.must(f"be {area:.6g}, the area that the rank sums give", cell.estimate)


def _dichotomies(cell: Row, recount: Recount) -> Iterator[str]:
    """The counts of every two-by-two table."""
    name = cell.dichotomy or ""
    if name not in recount.declared:
        yield cell.must("be about a declared dichotomy", name)
        return
    counts = recount.two_by_two(name, cell)
    if cell.quantity in counts:
        yield from _shares(cell, *counts[cell.quantity])


def _agreement(cell: Row, recount: Recount) -> Iterator[str]:
    """Shares within a tolerance and the bias, from the scores of both sources."""
    candidate = recount.numbers(cell.stratum, "score", cell.source)
    yield from _distances(cell, (candidate - recount.numbers(cell.stratum, "score", cell.reference)).dropna())


def _distances(cell: Row, difference: pd.Series) -> Iterator[str]:
    """Shares within a tolerance and the bias of scores that differ so."""
    tolerance = {"exact": 0, "within_1": 1, "within_2": 2}.get(cell.quantity)
    if (tolerance is None and cell.quantity != "bias") or cell.estimate is None:
        return
    if tolerance is not None:
        yield from _shares(cell, int((difference.abs() <= tolerance).sum()), len(difference))
    elif cell.n != len(difference) or not np.isclose(cell.estimate, difference.mean(), rtol=0, atol=TOLERANCE):
        rule = f"be the mean difference {difference.mean():.6g} of {len(difference)} participants"
        yield cell.must(rule, f"{cell.estimate:.6g} of {cell.n}")


def _guards(cell: Row, recount: Recount) -> Iterator[str]:
    """Who is suspected, and the shares and biases of those who are left."""
    members = recount.strata[cell.stratum]
    if cell.quantity == "suspected":
        found = recount.suspects[cell.category or ""].reindex(members).dropna()
        yield from _shares(cell, int(found.sum()), len(found))
        return
    named = (
        ("chronic", "haemorrhage")
        if cell.category == "without_either"
        else ((cell.category or "").removeprefix("without_"),)
    )
    out = pd.concat([recount.suspects[name] for name in named], axis=1).reindex(members).eq(1).any(axis=1)
    scores = (recount.numbers(cell.stratum, "score", source) for source in (cell.source, cell.reference))
    candidate, reference = (one[~out.reindex(one.index)] for one in scores)
    yield from _distances(cell, (candidate - reference).dropna())


def _regional(cell: Row, recount: Recount) -> Iterator[str]:
    """Counts of regions of two sources, and the area from rank sums of what stands behind the candidate's."""
    if cell.quantity not in ("sensitivity", "specificity", "auc"):
        return
    groups = {"all": ASPECTS_REGIONS, "subcortical": DEEP_REGIONS, "cortical": CORTICAL_REGIONS}
    regions = (cell.region,) if cell.region else groups[cell.category or ""]
    truth, values = recount.judged(cell, regions, by_evidence=cell.quantity == "auc")
    if cell.quantity != "auc":
        kept = truth if cell.quantity == "sensitivity" else ~truth
        wanted = 1 if cell.quantity == "sensitivity" else 0
        yield from _shares(cell, int((values[kept] == wanted).sum()), int(kept.sum()))
    elif 0 < (n_positive := int(truth.sum())) < len(truth):
        ranks = stats.rankdata(values)[truth].sum()
        area = (ranks - n_positive * (n_positive + 1) / 2) / (n_positive * (len(truth) - n_positive))
        if cell.estimate is None or abs(cell.estimate - area) > TOLERANCE:
            yield cell.must(f"be {area:.6g}, the area that the rank sums give", cell.estimate)


def _reference_cuts(cell: Row, recount: Recount) -> Iterator[str]:
    """Counts of two scores at one cut."""
    if cell.quantity not in ("sensitivity", "specificity") or cell.source not in recount.scores:
        return
    item = recount.declared[cell.dichotomy or ""]
    first, second = (recount.numbers(cell.stratum, "score", source) for source in (cell.reference, cell.source))
    both = pd.concat([first, second], axis=1, keys=["reference", "candidate"]).dropna()
    truth, test = (COMPARE[item.operator](both[name], item.cut) for name in both)
    if cell.quantity == "specificity":
        truth, test = ~truth, ~test
    yield from _shares(cell, int((truth & test).sum()), int(truth.sum()))


def _segmentation(cell: Row, recount: Recount) -> Iterator[str]:
    """Counts of empty masks and medians over patients, from the rows of ``segmentation``."""
    table = recount.segmentation
    table = table[(table["reference"] == cell.reference) & (table["candidate"] == cell.source)]
    table = table[table["participant_id"].isin(recount.strata[cell.stratum])]
    table = table[table["region"].isna() if cell.region is None else table["region"] == cell.region]
    if cell.region is not None and cell.quantity in table:
        by_side = table.set_index(["participant_id", "side"])[cell.quantity].astype(float).unstack("side")  # noqa: PD010
        table = by_side.mean(axis=1).to_frame(cell.quantity).assign(reference_volume_ml=0.0)
    if cell.quantity.startswith("n_"):
        n_empty = int((table["presence"] == cell.quantity.removeprefix("n_")).sum())
        if (cell.estimate, cell.n) != (n_empty, len(table)):
            yield cell.must(f"be {n_empty} of {len(table)} as in segmentation", f"{cell.estimate} of {cell.n}")
    elif cell.quantity in table:
        bins = pd.cut(table["reference_volume_ml"].astype(float), [0, 3, 16, 66, np.inf], right=False, labels=VOLUMES)
        values = (table if cell.category is None else table[bins == cell.category])[cell.quantity].dropna()
        middle = float(values.astype(float).median()) if len(values) else None
        is_same = middle is None if cell.estimate is None else middle is not None and np.isclose(cell.estimate, middle)
        if cell.n != len(values) or not is_same:
            yield cell.must(f"be the median {middle} of {len(values)} participants", f"{cell.estimate} of {cell.n}")


def _shares(cell: Row, numerator: int, denominator: int) -> Iterator[str]:
    """The printed counts against the recounted ones."""
    if (cell.numerator, cell.denominator) != (numerator, denominator):
        yield cell.must(f"count {numerator}/{denominator} as the tables do", f"{cell.numerator}/{cell.denominator}")


def _evidence(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Source -> what stands behind its regions, high where it speaks for an affected one; a column for each side."""
    found = {}
    for source, of_source in rows.groupby("source"):
        for column, sign in (("probability", 1), ("fraction", 1), ("relative_difference", -1)):
            values = of_source.dropna(subset=[column]) if column in of_source else of_source.iloc[:0]
            if len(values):
                values = values.assign(value=sign * values[column].astype(float))
                found[str(source)] = values.set_index(["participant_id", "region", "side"])["value"].unstack("side")  # noqa: PD010
                break
    return found


def _suspects(scans: pd.DataFrame, flag: str) -> pd.Series:
    """Participant -> 1 where any scan has the flag, 0 where none has; those without one are absent."""
    if flag not in scans:
        return pd.Series(dtype=float, name=flag)
    known = scans.dropna(subset=[flag]).astype({"participant_id": object, flag: float})
    return known.pivot_table(index="participant_id", values=flag, aggfunc="max")[flag] if len(known) else known[flag]


def _pivot(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """One column per source, one row per participant, of the rows that are ok and have a value."""
    rows = table[(table["status"] == "ok") & table[value].notna()]
    rows = rows.astype({"participant_id": object, value: float})
    return rows.set_index(["participant_id", "source"])[value].unstack("source")  # noqa: PD010
