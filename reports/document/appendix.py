"""The appendix of a report: method cards, published numbers beside ours, and checklists with what the data answer."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from reports.document.document import DISCLAIMER, FILE_NAME
from reports.document.facts import facts_of
from reports.document.page import Block, Chapter, Group, Material, TableView, Text
from reports.document.page_template import page_template
from reports.document.tables import EMPTY, Cell, cell, proportion_cell
from reports.statistics.rows import Row

APPENDIX_NAME = "appendix.html"
NOT_ANSWERED = "not answerable from the data: the authors' to write"
_MODALITIES = {"ncct": "Plain CT", "cta": "CT angiography", "dwi": "Diffusion MR"}


@dataclass(frozen=True)
class MethodCard:
    """A published system as it is built here.

    Attributes
    ----------
    kind : of source
    title, paper : what it is, after whom
    parameters : name, value, origin (paper, code or chosen here), where or why
    contradictions : mark, what the paper says against itself, what is done
    """

    kind: str
    title: str
    paper: str
    parameters: tuple[tuple[str, str, str, str], ...]
    contradictions: tuple[tuple[str, str, str], ...]

    @classmethod
    def of(cls, kind: str, text: str) -> MethodCard:
        """A card as its file has it.

        Raises
        ------
        ValueError
            A parameter does not say origin it is.
        """
        read = tomllib.loads(text)
        parameters = tuple((str(a), str(b), str(c), str(d)) for a, b, c, d in read["parameter"])
        unknown = [name for name, _, origin, _ in parameters if origin not in ORIGINS]
        if unknown:
            raise ValueError(f"{kind}: parameters must be of {', '.join(ORIGINS)}, got others of {', '.join(unknown)}.")
        contradictions = tuple((str(a), str(b), str(c)) for a, b, c in read["contradiction"])
        return cls(kind, read["title"], read["paper"], parameters, contradictions)


ORIGINS = ("paper", "code", "chosen here")


def appendix_page(material: Material, cards: Mapping[str, MethodCard]) -> str:
    """Render the appendix."""
    study = material.data.config.study
    chapters = (cards_chapter(material, cards), published_chapter(material), *checklist_chapters(material))
    return page_template("appendix.html.j2").render(
        title="Appendix",
        kicker="Method cards, published numbers, checklists",
        disclaimer=DISCLAIMER,
        links=[(FILE_NAME, "Report of the cohort")],
        facts=(("Study", study.name), ("Run", material.run.run_id), ("aspects-cohort", material.run.version)),
        cohort={"study": study.name, "is_synthetic": study.synthetic, "run": material.run},
        chapters=chapters,
    )


def cards_chapter(material: Material, cards: Mapping[str, MethodCard]) -> Chapter:
    """One card for each published system, whether it ran or not."""
    used: dict[str, list[str]] = {}
    for source in material.data.config.computed_sources:
        used.setdefault(source.kind, []).append(source.name)
    blocks: list[Block] = [
        Text(
            "Where a parameter comes from: the paper, its code, or a choice made here because neither says it or "
            "because what they say cannot be. Weights have cards of their own (models/weights)."
        )
    ]
    for kind, card in cards.items():
        names = used.get(kind, [])
        absent = [name for name in names if name in material.data.absent]
        state = f"in this run as {', '.join(names)}" if names else "not in this run"
        state += f"; not measured: {material.data.absent[absent[0]]}" if absent else ""
        lines = tuple((Cell(name), Cell(value), Cell(origin, where, wraps=True))
                      for name, value, origin, where in card.parameters)  # fmt: skip
        against = tuple((Cell(mark), Cell(what), Cell(done)) for mark, what, done in card.contradictions)
        blocks += [
            Text(card.title, "heading"),
            Text(f"{card.paper}. Source kind {kind}, {state}."),
            TableView("Parameters", ("Parameter", "Value here", "Comes from"), (Group("", lines),), 3, is_prose=True),
            TableView("What the paper says against itself, and what is done", ("", "Found", "Done here"),
                      (Group("", against),), 3, is_prose=True),
        ]  # fmt: skip
    return Chapter("cards", "Method cards", tuple(blocks))


def published_chapter(material: Material) -> Chapter:
    """Published numbers by modality, and ours below them."""
    columns = ("Study or source", "Reference", "n", "Score", "Cut", "Regions")
    blocks: list[Block] = [
        Text(
            "Numbers as printed; the line below says which of them cannot be right. State the reference with every "
            "number: an expert who reads the same scan agrees by .54 in the pooled studies, a reference that knows the "
            "outcome by .72. Ours are of this cohort: the primary cut against the reference's score, all regions "
            "with intervals by patient."
        )
    ]
    for modality, title in _MODALITIES.items():
        studies = [one for one in _data("published")["study"] if one["modality"] == modality]
        groups = [Group("Published", tuple(_published(one) for one in studies))]
        ours = tuple(_ours(material, modality))
        groups.append(
            Group("Ours, in this run", ours) if ours else Group("Ours: no source on this modality was compared", ())
        )
        blocks.append(TableView(title, columns, tuple(groups), 6, is_prose=True))
    return Chapter("published", "Published numbers beside ours", tuple(blocks))


def checklist_chapters(material: Material) -> tuple[Chapter, ...]:
    """Each checklist with where the report answers an item, in red where only the authors can."""
    facts = facts_of(material)
    chapters = []
    for position, one in enumerate(_data("checklists")["checklist"], start=1):
        lines = tuple(_item(*item, facts=facts) for item in one["items"])
        n_answered = sum(not line[2].is_absent for line in lines)
        blocks: tuple[Block, ...] = (
            Text(
                f"After {one['source']}; items in short words of our own: take the guideline's form to submit. "
                f"{n_answered} of {len(lines)} are answered by the data; the others are in red."
            ),
            TableView("Items", ("Item", "Asked for", "Answer"), (Group("", lines),), 3, is_prose=True),
        )
        chapters.append(Chapter(f"checklist-{position}", one["name"], blocks))
    return tuple(chapters)


def _item(number: str, asked: str, by: str, *, facts: Mapping[str, str | None]) -> tuple[Cell, Cell, Cell]:
    """One line of a checklist."""
    answer = facts[by] if by else None
    return Cell(number), Cell(asked), Cell(answer or NOT_ANSWERED, is_absent=answer is None)


def _published(study: Mapping[str, str]) -> tuple[Cell, ...]:
    """One published study."""
    texts = (study["reference"], study["n"], *(study.get(name, "") for name in ("score", "cut", "regions")))
    return (Cell(study["name"], study.get("doubt", ""), wraps=True), *map(Cell, texts))


def _ours(material: Material, modality: str) -> list[tuple[Cell, ...]]:
    """Every comparison of a source on a modality with a reference."""
    config, statistics = material.data.config, material.statistics
    names = {source.name for source in config.computed_sources if source.is_scoring and source.lies_on == modality}
    primary = next((item.name for item in config.dichotomy if item.primary), None)
    pairs: dict[tuple[str | None, str | None], Row] = {}
    stratum = material.agreement_sets[0].stratum
    for section, quantity in (("agreement", "icc_a1"), ("reference_cuts", "sensitivity")):
        for row in statistics.select(section, quantity, stratum):
            if row.source in names and row.estimate is not None:
                pairs.setdefault((row.source, row.reference), row)
    lines: list[tuple[Cell, ...]] = []
    for (source, reference), row in pairs.items():
        icc = material.row("agreement", "icc_a1", source, reference, stratum)
        cut, regions = (
            [
                material.row(section, f"{name}:{detail}", source, reference, stratum)
                for name in ("sensitivity", "specificity", "auc")
            ]
            for section, detail in (("reference_cuts", primary), ("regional", "all"))
        )
        score = EMPTY if icc is None or icc.estimate is None else Cell(f"ICC {cell(icc).text}", cell(icc).under)
        lines.append(
            (
                Cell(str(source)),
                Cell(str(reference)),
                Cell(f"{row.n} patients"),
                score,
                _indices(cut),
                _indices(regions),
            )
        )
    return lines


def _indices(rows: list[Row | None]) -> Cell:
    """Sensitivity, specificity and area in one cell, intervals below."""
    words = ("sensitivity", "specificity", "AUC")
    found = [(word, row) for word, row in zip(words, rows, strict=True) if row is not None and row.estimate is not None]
    shown = [proportion_cell(row, separator=" · ") if row.denominator else cell(row) for _, row in found]
    text = ", ".join(f"{word} {one.text}" for (word, _), one in zip(found, shown, strict=True))
    return Cell(text, "; ".join(one.under for one in shown if one.under), wraps=True)


@cache
def _data(name: str) -> dict[str, Any]:
    """A file of the package's data."""
    return tomllib.loads((files("reports") / "data" / f"{name}.toml").read_text(encoding="utf-8"))
