"""What a page of the report is made of, and what every chapter is written from.

A chapter is a list of *blocks*: text, tables, figures, and folded parts that hold further blocks. The template knows
how to set each kind and nothing about statistics.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from reports.document.tables import Cell, signs
from reports.figures.brain_maps import AtlasSlices
from reports.figures.drawing import Chart, file_stem
from reports.statistics.inputs import ReportInput, RunInfo
from reports.statistics.patients import SCORE, VOLUME, Patients, agreement_sets, analysis_sets, patients_of
from reports.statistics.rows import Row, Statistics

_ROWS_KEPT_TOGETHER = 14  # in print
NO_SEVERITY = "The study names no severity column, so nothing can be said about telling severe strokes apart."
SET_TITLES = {
    "included": "Included patients",
    "examined": "Examined patients",
    "measured": "Everyone whom both sources measured",
}


@dataclass(frozen=True)
class Text:
    """A paragraph; ``kind`` is plain, note or check."""

    text: str
    kind: str = "plain"
    template: str = field(default="text", init=False)


@dataclass(frozen=True)
class Listing:
    """A list of sentences."""

    items: tuple[str, ...]
    template: str = field(default="listing", init=False)


@dataclass(frozen=True)
class Group:
    """Rows of a table under a common heading; the first cell of a row names it."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]
    badge: str = ""

    @property
    def is_short(self) -> bool:
        """Whether it is kept on one page."""
        return len(self.rows) <= _ROWS_KEPT_TOGETHER


@dataclass(frozen=True)
class TableView:
    """A table: its caption says what it shows and of how many; ``n_text`` leading columns are text."""

    caption: str
    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    n_text: int = 1
    is_prose: bool = False
    template: str = field(default="table", init=False)

    @property
    def is_short(self) -> bool:
        """Whether it is kept on one page."""
        return sum(len(group.rows) for group in self.groups) <= _ROWS_KEPT_TOGETHER // 2


@dataclass(frozen=True)
class FigureView:
    """A figure with its caption; ``is_half`` ones stand two in a row."""

    chart: Chart
    caption: str
    is_half: bool = False
    template: str = field(default="figure", init=False)


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown on demand."""

    title: str
    blocks: tuple[Block, ...]
    template: str = field(default="folded", init=False)


@dataclass(frozen=True)
class Pre:
    """Text in its own line breaks, such as settings."""

    text: str
    template: str = field(default="pre", init=False)


Block = Text | Listing | TableView | FigureView | Folded | Pre


@dataclass(frozen=True)
class Chapter:
    """A section of the report."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]

    @property
    def open_blocks(self) -> tuple[Block, ...]:
        """What is not folded: what is sent on paper."""
        return tuple(block for block in self.blocks if not isinstance(block, Folded | Pre))

    def charts(self) -> list[Chart]:
        """Every figure of the chapter, folded ones included."""
        return _charts(self.blocks)


@dataclass(frozen=True)
class AnalysisSet:
    """One analysis set: its name in ``statistics``, its title and its patients."""

    stratum: str
    title: str
    patients: Patients


@dataclass(frozen=True, eq=False)
class Material:
    """What the chapters are written from."""

    data: ReportInput
    statistics: Statistics
    run: RunInfo
    atlas: AtlasSlices | None
    sets: tuple[AnalysisSet, ...]
    agreement_sets: tuple[AnalysisSet, ...]

    @property
    def main(self) -> AnalysisSet:
        """The set that the summary and the first figures show."""
        return self.sets[0]

    @property
    def score_sources(self) -> tuple[str, ...]:
        """Sources that gave a score, mask sources first and in the study's order."""
        return tuple(self.main.patients.scores)

    @property
    def volume_sources(self) -> tuple[str, ...]:
        """Modalities whose lesions were measured."""
        return tuple(self.main.patients.volumes)

    @property
    def grades(self) -> tuple[str, ...]:
        """Names of the severity grades."""
        return tuple(grade.name for grade in self.main.patients.grades())

    @property
    def severity(self) -> str | None:
        """The severity column."""
        return self.data.config.severity.column if self.data.config.severity else None

    @property
    def positive_class(self) -> str:
        """The positive class as printed, such as ``NIHSS ≥ 8``."""
        return signs(self.main.patients.positive_class()) or "the positive class"

    def label(self, column: str) -> str:
        """A clinical column's label."""
        clinical = self.main.patients.clinical(column)
        return clinical.title if clinical else column

    def title(self, column: str) -> str:
        """A clinical column's label with its unit."""
        clinical = self.main.patients.clinical(column)
        if clinical is None:
            return column
        return f"{clinical.title}, {clinical.unit}" if clinical.unit else clinical.title

    def stem(self, *sources: str) -> str:
        """Sources as part of a file name: readable, and different for different sources."""
        known = [*self.score_sources, *self.volume_sources]
        return "-".join(f"{file_stem(source)[:30]}-{known.index(source) + 1}" for source in sources)

    def row(self, section: str, name: str, source: str | None, against: str | None, stratum: str) -> Row | None:
        """One statistics row by the parts of its id, or None."""
        return self.statistics.get(section, name, source, against, stratum)

    def grade_n(self, stratum: str, grade: str) -> Row | None:
        """How many patients of a set have a grade."""
        return self.row("cohort", "n", None, None, f"{stratum}/{grade}")


def material(data: ReportInput, statistics: Statistics, run: RunInfo, atlas: AtlasSlices | None) -> Material:
    """Lay the tables side by side once for all chapters."""
    everyone = patients_of(data)
    sets, of_agreement = (
        tuple(AnalysisSet(name, SET_TITLES[name], part) for name, part in found.items())
        for found in (analysis_sets(everyone), agreement_sets(everyone))
    )
    return Material(data, statistics, run, atlas, sets, of_agreement)


def measure_title(measure: str) -> str:
    """A measure in words."""
    return {SCORE: "ASPECTS", VOLUME: "Lesion volume, ml"}.get(measure, measure)


def in_sets(views: list[tuple[AnalysisSet, tuple[Block, ...]]]) -> tuple[Block, ...]:
    """The first set's blocks open, those of the further sets folded under their name."""
    blocks: list[Block] = []
    for position, (analysis_set, part) in enumerate(views):
        if not part:
            continue
        if position == 0:
            blocks.extend(part)
        else:
            blocks.append(Folded(f"The same for {analysis_set.title.lower()} (n = {analysis_set.patients.n})", part))
    return tuple(blocks)


def _charts(blocks: tuple[Block, ...]) -> list[Chart]:
    """Figures among blocks, depth first."""
    found = []
    for block in blocks:
        if isinstance(block, FigureView):
            found.append(block.chart)
        elif isinstance(block, Folded):
            found.extend(_charts(block.blocks))
    return found
