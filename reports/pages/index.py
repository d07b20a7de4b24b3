"""The index of patients: one small row each, sorted and filtered inside the page; it loads nothing.

The table is whole without the script, which only sorts it and hides rows. The page's policy names the script by its
digest, so that nothing else can run, whatever people wrote into a table.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from reports.document.document import DISCLAIMER, FILE_NAME
from reports.document.page_template import page_template
from reports.document.tables import DASH, words
from reports.pages.sides import difference
from reports.pages.view import QUALITY_PAGE, CohortView, TableRow, given, page_name, text_of


@dataclass(frozen=True)
class IndexRow:
    """One patient: what the table shows, and what it is filtered by."""

    name: str
    link: str
    site: str
    status: str
    reason: str
    severity: str
    scores: tuple[str, ...]
    sides: str


def index_rows(
    participants: Iterable[TableRow],
    scores: Mapping[str, Sequence[TableRow]],
    sides: Mapping[str, Mapping[str, str]],
    sources: Sequence[str],
) -> list[IndexRow]:
    """One row per participant, in the order given.

    Parameters
    ----------
    participants : rows of ``participants``
    scores : participant -> rows of ``scores``
    sides : participant -> who names an affected side -> side
    sources : whose scores are columns
    """
    rows = []
    for one in participants:
        name = str(one["participant_id"])
        found = {str(row["source"]): given(row.get("score")) for row in scores.get(name, ())}
        printed = tuple(DASH if found.get(source) is None else str(int(found[source])) for source in sources)
        of_patient = sides.get(name, {})
        row = IndexRow(
            name=name,
            link=page_name(name),
            site=text_of(one.get("site")),
            status=str(one.get("status")),
            reason=words(text_of(one.get("reason"), "")),
            severity=text_of(one.get("severity")),
            scores=printed,
            sides=difference(of_patient),
        )
        rows.append(row)
    return rows


def index_page(rows: Sequence[IndexRow], sources: Sequence[str], cohort: CohortView) -> str:
    """Render the index.

    Parameters
    ----------
    rows : of ``index_rows``
    sources : whose scores the rows have
    cohort : CohortView
    """
    options: dict[str, Any] = {
        name: sorted({value for row in rows if (value := getattr(row, name)) != DASH}) for name in ("status", "site")
    }
    script, digest = _script()
    return page_template("index.html.j2").render(
        title="All patients",
        kicker="Stroke cohort",
        disclaimer=DISCLAIMER,
        links=((f"../{FILE_NAME}", "Report of the cohort"), (f"../{QUALITY_PAGE}", "Quality of all scans")),
        facts=cohort.facts,
        cohort=cohort,
        rows=rows,
        sources=sources,
        options=options,
        n_sides=sum(bool(row.sides) for row in rows),
        script=script,
        script_digest=digest,
    )


@lru_cache(maxsize=1)
def _script() -> tuple[str, str]:
    """The script that sorts and filters, and its digest as a policy names it."""
    text = (files("reports") / "templates" / "index.js").read_text(encoding="utf-8")
    return text, base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
