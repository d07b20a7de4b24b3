"""The largest disagreements between sources, with the key slices on which they can be judged.

Two lists: the largest differences of the score, and the largest of those in which a difference crosses the primary cut.
Each patient stands in a list once, with its largest difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports.document.document import DISCLAIMER, FILE_NAME
from reports.document.page_template import page_template
from reports.document.tables import MINUS
from reports.pages.scans import picture_rows
from reports.pages.view import INDEX_PAGE, PAGES_FOLDER, CohortView, Drawing, TableRow, modality_title, page_name
from tasks.thresholds import Threshold

GALLERY_PAGE = "gallery.html"
MOST_SHOWN = 8  # of each list


@dataclass(frozen=True)
class Disagreement:
    """Two scores of one patient, in points; ``crosses`` says whether the primary cut lies between them."""

    participant_id: str
    reference: str
    candidate: str
    reference_score: int
    candidate_score: int
    crosses: bool

    @property
    def difference(self) -> int:
        """Candidate less reference."""
        return self.candidate_score - self.reference_score

    @property
    def words(self) -> str:
        """The difference with its sign."""
        return f"{'+' if self.difference > 0 else MINUS}{abs(self.difference)}"


def disagreements(scores: pd.DataFrame, pairs: Iterable[tuple[str, str]], cut: Threshold | None) -> list[Disagreement]:
    """Every difference of two scores, the largest first, then by participant and pair.

    Parameters
    ----------
    scores : the ``scores`` contract
    pairs : (reference, candidate)
    cut : the primary cut of the score; None where the study has none
    """
    known = scores[(scores["status"] == "ok") & scores["score"].notna()]
    by_source = {name: rows.set_index("participant_id")["score"].astype(int) for name, rows in known.groupby("source")}
    found = []
    for reference, candidate in pairs:
        if reference not in by_source or candidate not in by_source:
            continue
        both = pd.concat([by_source[reference], by_source[candidate]], axis=1, keys=["first", "second"]).dropna()
        for participant_id, first, second in both.astype(int).itertuples(name=None):
            if first != second:
                crosses = cut is not None and len(set(cut.is_positive(np.array([first, second])).tolist())) == 2
                found.append(Disagreement(str(participant_id), reference, candidate, first, second, crosses))
    return sorted(found, key=lambda one: (-abs(one.difference), one.participant_id, one.reference, one.candidate))


def once_each(found: Iterable[Disagreement]) -> list[Disagreement]:
    """The first of every patient, at most ``MOST_SHOWN``."""
    first: dict[str, Disagreement] = {}
    for one in found:
        first.setdefault(one.participant_id, one)
    return list(first.values())[:MOST_SHOWN]


def gallery_page(
    found: Sequence[Disagreement],
    regions: Mapping[str, Sequence[TableRow]],
    drawings_of: Callable[[str], Iterable[Drawing]],
    cohort: CohortView,
    cut: Threshold | None,
) -> str:
    """Render the gallery.

    Parameters
    ----------
    found : as ``disagreements`` gives them
    regions : participant -> rows of the ``regions`` contract
    drawings_of : gives what was drawn of a participant
    cohort : what all pages share
    cut : the primary cut
    """
    lists = [("size", "The largest differences of the score", once_each(found))]
    if cut is not None:
        across = once_each(one for one in found if one.crosses)
        lists.append(("cut", f"The largest differences across the primary cut, {cut.positive_text}", across))
    drawn: dict[str, tuple[Drawing, ...]] = {}
    sections = []
    for anchor, title, chosen in lists:
        for one in chosen:
            if one.participant_id not in drawn:
                drawn[one.participant_id] = tuple(drawings_of(one.participant_id))
        items = [
            _item(f"{anchor}-{place}", one, drawn[one.participant_id], regions.get(one.participant_id, ()), cohort)
            for place, one in enumerate(chosen, start=1)
        ]
        sections.append({"anchor": anchor, "title": title, "shown": items})
    n_crossed = sum(one.crosses for one in found)
    return page_template("gallery.html.j2").render(
        title="Largest disagreements",
        kicker="Gallery",
        disclaimer=DISCLAIMER,
        links=[(FILE_NAME, "Report of the cohort"), (f"{PAGES_FOLDER}/{INDEX_PAGE}", "All patients")],
        facts=cohort.facts,
        cohort=cohort,
        sections=sections,
        lead=f"{len(found)} differences between two sources that are compared, {n_crossed} of them across the primary "
        "cut. Slices are those of the first scan on which a region of either source was drawn; outlines without a fill "
        "are regions that the named source does not call affected.",
    )


def _item(
    name: str, one: Disagreement, drawings: Sequence[Drawing], regions: Sequence[TableRow], cohort: CohortView
) -> dict[str, Any]:
    """One disagreement with slices of the candidate's scan, else of the reference's, else of any."""
    sources = [one.reference, one.candidate]
    of_pair = [drawing for source in reversed(sources) for drawing in drawings if source in drawing.sources]
    chosen = next((drawing for drawing in [*of_pair, *drawings] if drawing.picture is not None), None)
    judged = {row["source"] for row in regions}
    shown = [source for source in sources if source in judged]
    picture = chosen and chosen.picture
    slices = picture and picture_rows(picture, regions, shown, cohort.pictures)
    if slices:
        slices["rows"] = [row for row in slices["rows"] if row.kind == "regions"]
    return {
        "name": name,
        "item": one,
        "link": f"{PAGES_FOLDER}/{page_name(one.participant_id)}",
        "scan": modality_title(chosen.modality) if chosen else "",
        "picture": slices,
    }
