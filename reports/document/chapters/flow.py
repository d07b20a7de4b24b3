"""Who is in the report: the flowchart, why each participant left, and what the coordinator can do about it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cohorts.tables.schemas import STAGES, UNGRADED
from reports.document.page import Block, Chapter, FigureView, Folded, Group, Material, TableView, Text
from reports.document.tables import EMPTY, Cell, whole, words
from reports.figures.flowchart import Departure, Reason, Station, flowchart
from reports.pages.remedies import remedy
from reports.statistics.rows import Row

ROWS_SHOWN = 30  # participants listed before the rest is folded
STAGE_TITLES = {
    "screening": "At screening",
    "intake": "At intake",
    "scoring": "At scoring",
    "eligibility": "By the eligibility rules",
}
_CHASE_COLUMNS = ("Participant", "File", "What was found, and what to do")
_CHASED = tuple(stage for stage in STAGES if stage != "eligibility")
_Line = tuple[Cell, ...]
_Folding = tuple[str, tuple[_Line, ...], Sequence[_Line]]  # title, leading lines, lines


def flow_chapter(material: Material) -> Chapter:
    """The flowchart with its check, and each reason explained."""
    counts = {row.quantity: row for row in material.statistics.select("flow") if row.stage is None}
    chart = flowchart(_stations(material, counts))
    terms = " + ".join(f"{whole(counts.get(f'n_{status}'))} {status}" for status in ("included", "excluded", "failed"))
    blocks: tuple[Block, ...] = (
        FigureView(
            chart,
            "Who was screened and who is left. A participant with several reasons is counted once, under the first "
            "stage "
            f"that it fails. n = {whole(counts.get('n_screened'))} screened.",
        ),
        Text(f"Check: {whole(counts.get('n_screened'))} screened = {terms}{_examined(material, counts)}.", "check"),
        _reasons_table(material),
    )
    return Chapter("flow", "Who is in this report", blocks)


def _examined(material: Material, counts: dict[str, Row]) -> str:
    """The sum of those whom the eligibility rules were asked of, where there are rules."""
    if len(material.sets) == 1:
        return ""
    examined, included = _count(counts.get("n_examined")), _count(counts.get("n_included"))
    return f"; {examined} examined = {included} included + {examined - included} excluded by the eligibility rules"


def chase_chapter(material: Material) -> Chapter:
    """Participants and scans with something to fix, and included patients whose clinical values are missing."""
    exclusions = material.data.exclusions
    todo = exclusions[exclusions["stage"].isin(_CHASED)]
    blocks: list[Block] = []
    scans = _further_scans(material.data.scans, todo)
    if todo.empty and scans.empty:
        blocks.append(Text("Nothing to chase: every participant was read and measured, and every scan was used."))
    if not todo.empty:
        blocks.append(
            Text("Each line is one thing to fix. After fixing, run the same command again: only these are redone.")
        )
        blocks += _chase_tables(todo, _paths(material.data.scans))
    if not scans.empty:
        blocks.append(
            Text(
                f"Further scans refused: {len(scans)}. Their patients were measured on another scan. The pictures and "
                "charts that the remedies speak of are on the patient's page."
            )
        )
        blocks += _scan_tables(scans)
    blocks.extend(_missing_values(material))
    return Chapter("next", "What to do next", tuple(blocks))


def _stations(material: Material, counts: dict[str, Row]) -> list[Station]:
    """The boxes of the flowchart, from the rows of section ``flow``."""
    departures: dict[str, list[Reason]] = {stage: [] for stage in STAGES}
    for row in material.statistics.select("flow"):
        if row.stage is None or row.reason is None or row.estimate is None:
            continue
        failed = " (failed)" if row.quantity == "n_failed" else ""
        departures[row.stage].append(Reason(f"{words(row.reason)}{failed}", int(row.estimate)))
    leaving = {
        stage: Departure(STAGE_TITLES[stage], tuple(reasons)) for stage, reasons in departures.items() if reasons
    }
    stations = [Station("Screened", _count(counts.get("n_screened")))]
    before = tuple(leaving[stage] for stage in _CHASED if stage in leaving)
    by_rules = tuple(leaving[stage] for stage in ("eligibility",) if stage in leaving)
    if len(material.sets) > 1:
        stations.append(Station("Examined for eligibility", _count(counts.get("n_examined")), before))
        before = ()
    included = Station(
        "Included", _count(counts.get("n_included")), (*before, *by_rules), _grades(material, "included")
    )
    stations.append(included)
    return stations


def _grades(material: Material, stratum: str) -> tuple[Reason, ...]:
    """How a set divides into severity grades."""
    found = [(grade, material.grade_n(stratum, grade)) for grade in (*material.grades, UNGRADED)]
    return tuple(
        Reason("without a severity grade" if grade == UNGRADED else grade, _count(row))
        for grade, row in found
        if row is not None and (grade != UNGRADED or row.estimate)
    )


def _reasons_table(material: Material) -> TableView:
    """Every reason with its count and, from one participant, what was found."""
    exclusions = material.data.exclusions.sort_values(["participant_id", "stage", "reason"], kind="stable")
    primary = exclusions[exclusions["is_primary"].fillna(False).astype(bool)]
    groups: list[Group] = []
    for stage in STAGES:
        rows = []
        for row in material.statistics.select("flow"):
            reason = row.reason
            if reason is None or row.stage != stage:
                continue
            status = row.quantity.removeprefix("n_")
            of_reason = primary[
                (primary["stage"] == stage) & (primary["reason"] == reason) & (primary["status"] == status)
            ]
            example = of_reason.iloc[0] if len(of_reason) else None
            rows.append(
                (
                    Cell(words(reason), badge=_failed(status)),
                    Cell(whole(row), statistic_id=row.statistic_id, method=row.method),
                    EMPTY if example is None else Cell(str(example["detail"]), str(example["participant_id"])),
                )
            )
        if rows:
            groups.append(Group(STAGE_TITLES[stage], tuple(rows)))
    return TableView(
        "Why participants left, with what was found in one of them",
        ("Reason", "n", "Example: what was found, and the remedy"),
        tuple(groups),
        is_prose=True,
    )


def _chase_tables(todo: pd.DataFrame, paths: dict[str, str]) -> list[Block]:
    """Some participants of every reason, the others folded by reason; all of them where they are few."""
    reasons = sorted(
        todo.groupby(["stage", "reason"], sort=False), key=lambda item: (STAGES.index(str(item[0][0])), str(item[0][1]))
    )
    groups: list[_Folding] = []
    for (stage, reason), rows in reasons:
        title = f"{words(str(reason))} · {str(STAGE_TITLES[str(stage)]).lower()}"
        lines = [
            (
                Cell(str(record["participant_id"]), badge=_failed(record["status"])),
                Cell(paths.get(str(record["participant_id"]), "no file")),
                Cell(str(record["detail"])),
            )
            for record in rows.sort_values("participant_id").to_dict("records")
        ]
        groups.append((title, (), lines))
    return _folded_groups("What was found, by stage and reason", groups)


def _further_scans(scans: pd.DataFrame, todo: pd.DataFrame) -> pd.DataFrame:
    """Refused scans that no exclusion of their participant names, because another scan could be used."""
    refused = scans[(scans["status"] != "ok") & scans["detail"].notna()]
    named = set(zip(todo["participant_id"], todo["reason"], strict=True))
    is_named = [key in named for key in zip(refused["participant_id"], refused["reason"], strict=True)]
    return refused[~pd.Series(is_named, index=refused.index, dtype=bool)]


def _scan_tables(scans: pd.DataFrame) -> list[Block]:
    """Refused scans by reason: how many and what to do, then what was found on each."""
    groups: list[_Folding] = []
    for reason, rows in sorted(scans.groupby("reason", sort=False), key=lambda item: str(item[0])):
        first = (
            Cell("What to do"),
            Cell(f"{len(rows)} scan{'s' if len(rows) > 1 else ''}"),
            Cell(remedy("intake", str(reason))),
        )
        lines = [
            (
                Cell(str(record["participant_id"]), badge=_failed(record["status"])),
                Cell(str(record["path"])),
                Cell(str(record["detail"])),
            )
            for record in rows.sort_values(["participant_id", "modality"]).to_dict("records")
        ]
        groups.append((f"{words(str(reason))} · another scan was used", (first,), lines))
    return _folded_groups("Refused scans of patients with another scan, by reason", groups)


def _folded_groups(caption: str, groups: Sequence[_Folding]) -> list[Block]:
    """A table of (title, leading lines, lines): some lines of every group, the others folded below it."""
    total = sum(len(lines) for _, _, lines in groups)
    shown = ROWS_SHOWN if total <= ROWS_SHOWN else max(ROWS_SHOWN // len(groups), 1)
    open_groups = tuple(Group(title, (*leading, *lines[:shown])) for title, leading, lines in groups)
    folded: list[Block] = []
    for title, _, lines in groups:
        if lines[shown:]:
            further = TableView(title, _CHASE_COLUMNS, (Group("", tuple(lines[shown:])),), n_text=3, is_prose=True)
            folded.append(Folded(f"{len(lines) - shown} more: {title}", (further,)))
    return [TableView(caption, _CHASE_COLUMNS, open_groups, n_text=3, is_prose=True), *folded]


def _missing_values(material: Material) -> list[Block]:
    """Included patients without severity or outcome, by name."""
    blocks: list[Block] = []
    table = material.main.patients.table
    for column in dict.fromkeys(c for c in (material.severity, material.data.config.outcome) if c):
        row = material.row("cohort", "n_missing", None, column, material.main.stratum)
        if row is None or not row.estimate or column not in table:
            continue
        names = table.loc[table[column].isna(), "participant_id"].astype(str).tolist()
        title = f"{whole(row)} included patients have no {material.label(column)}: find and enter it, or leave n/a"
        blocks.append(Folded(title, (Text(", ".join(names)),)))
    return blocks


def _paths(scans: pd.DataFrame) -> dict[str, str]:
    """Participant -> the paths of its scans that were not usable, or of all its scans where all were."""
    paths: dict[str, str] = {}
    for participant, rows in scans.groupby("participant_id", sort=True):
        bad = rows[rows["status"] != "ok"]
        chosen = bad if len(bad) else rows
        paths[str(participant)] = ", ".join(sorted(chosen["path"].dropna().astype(str)))
    return paths


def _failed(status: object) -> str:
    """The badge of a failure; exclusions have none."""
    return "failed" if status == "failed" else ""


def _count(row: Row | None) -> int:
    """The count of a row, 0 where there is none."""
    return 0 if row is None or row.estimate is None else int(row.estimate)
