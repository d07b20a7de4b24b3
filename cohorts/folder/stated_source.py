"""Sources whose results stand in a table that somebody else's software writes: what of it is read, and as what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from cohorts.folder.clinical_column import ClinicalColumn, clinical_column
from cohorts.folder.problems import did_you_mean
from cohorts.folder.source import Gives, MapUse, Source
from cohorts.folder.table_mapping import READING_COLUMNS, REGIONS
from cohorts.folder.table_reading import TableReading
from cohorts.store.findings import Findings
from cohorts.store.stated_findings import StatedFindings, StatedResult
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, MAXIMUM_SCORE
from tasks.scoring import AsGiven, ProbabilityRule, RegionEvidence, Rule, Score

FAILURE = "failure"
SIDED_REGIONS = tuple(f"{side}_{region}" for side in HEMISPHERES for region in ASPECTS_REGIONS)
#: Without a side in their name they are of the side in the column ``side``.
REGION_COLUMNS = (*SIDED_REGIONS, *ASPECTS_REGIONS)
_SCORES = ("score", "score_left", "score_right")
_VOLUMES = ("volume_ml", "hypoperfused_volume_ml")

#: What a column of such a table can be, and how it is read; regions follow ``region_cells``.
STATED_COLUMNS: Mapping[str, ClinicalColumn] = {
    **{name: clinical_column(column=name, read_as="integer", minimum=0, maximum=MAXIMUM_SCORE) for name in _SCORES},
    "side": READING_COLUMNS["side"],
    "low_score_probability": clinical_column(
        column="low_score_probability", read_as="number", minimum=0, maximum=1, unit="%"
    ),
    **{name: clinical_column(column=name, read_as="boolean") for name in REGION_COLUMNS},
    REGIONS: READING_COLUMNS[REGIONS],
    **{name: clinical_column(column=name, read_as="number", minimum=0, unit="ml") for name in _VOLUMES},
    **{name: clinical_column(column=name, read_as="text") for name in ("version", FAILURE)},
    "run_on": clinical_column(column="run_on", read_as="date"),
}


class StatedSource(Source, TableReading):
    """A source that states scores, regions, probabilities or volumes in a table of its own."""

    findings: ClassVar[type[Findings]] = StatedFindings
    takes_declared_rules: ClassVar[bool] = False
    is_foreign: ClassVar[bool] = True

    id: str | None = Field(  # type: ignore[assignment]  # a table that was written for one patient needs none
        None, description="Column of the table that names the participant; default: it has one row"
    )
    columns: dict[str, str] = Field(
        {},
        description="Column of the table -> what it holds: score, side, regions, left_m1, volume_ml, failure, ...",
    )
    region_cells: Literal["flags", "probabilities"] = Field(
        "flags", description="What the cells of regions hold: whether they are affected, or how likely"
    )
    cut: float = Field(0.5, gt=0, le=1, description="Least probability of an affected region")
    failures: tuple[str, ...] = Field(
        ("failed", "failure", "error"), description="How a cell begins that says that the software failed"
    )
    successes: tuple[str, ...] = Field(
        ("ok", "success", "successful", "completed"), description=f"Texts of {FAILURE} that say that it did not fail"
    )

    @field_validator("columns")
    @classmethod
    def _columns_are_known(cls, columns: dict[str, str]) -> dict[str, str]:
        unknown = [name for name in columns.values() if name not in STATED_COLUMNS]
        if unknown:
            hints = "".join(did_you_mean(name, STATED_COLUMNS) for name in unknown)
            raise ValueError(
                f"columns must lead to {', '.join(STATED_COLUMNS)}, got {', '.join(unknown)}. {hints}Correct them."
            )
        return columns

    @property
    def settings(self) -> dict[str, Any]:
        """How the table is read; the cut is applied to what was read."""
        return {name: value for name, value in super().settings.items() if name != "cut"}

    @property
    def gives(self) -> frozenset[Gives]:  # type: ignore[override]  # by what is declared, not by kind
        """What its columns hold."""
        found = set(self.columns.values())
        given: set[Gives] = set()
        if not found.isdisjoint((*REGION_COLUMNS, REGIONS)):
            given |= {"regions", "score"}
        if not found.isdisjoint(_SCORES):
            given.add("score")
        if "low_score_probability" in found:
            given.add("low_score_probability")
        if "volume_ml" in found:
            given.add("volume")
        return frozenset(given)

    @property
    def rule_name(self) -> str:
        """The cut of its probabilities, or that it says itself which regions are affected."""
        return f"probability-{100 * self.cut:g}" if self.region_cells == "probabilities" else AsGiven().name

    def rule_choices(self, declared: Mapping[str, Rule]) -> Mapping[str, Rule]:  # noqa: ARG002 - it takes none
        """Its one rule."""
        if self.region_cells == "probabilities":
            return {self.rule_name: ProbabilityRule(self.rule_name, dict.fromkeys(ASPECTS_REGIONS, self.cut))}
        return {self.rule_name: AsGiven()}

    def evidence(self, found: StatedFindings, use: MapUse) -> Iterator[RegionEvidence]:
        """What it states of every region; a region of which it states nothing has that for a reason."""
        if "regions" not in self.gives:
            return
        regions = _stated(found).regions
        for label in use.table.labels:
            value = regions.get(f"{label.side}_{label.region}")
            reason = "region_not_given" if value is None else None
            if self.region_cells == "probabilities":
                yield RegionEvidence(label.side, label.region, "probability", value, reason=reason)
            else:
                flag = None if value is None else bool(value)
                yield RegionEvidence(label.side, label.region, "probability", None, is_affected=flag, reason=reason)

    def score(self, found: StatedFindings) -> Score | None:
        """The score that it states, else that of the one side whose regions or score it states."""
        stated = _stated(found)
        if stated.score is not None:
            return Score(stated.score_left, stated.score_right, stated.score, stated.side)
        by_regions = self._by_regions(stated)
        left, right = (
            by_regions.get(side) if own is None else own
            for side, own in zip(HEMISPHERES, (stated.score_left, stated.score_right), strict=True)
        )
        if left is not None and right is not None:
            return None if len(by_regions) == len(HEMISPHERES) else Score(left, right, None, None)
        if left is not None or right is not None:
            return Score(left, right, left if right is None else right, "left" if right is None else "right")
        return Score(None, None, None, None, "region_not_given") if "regions" in self.gives else None

    def low_score_probability(self, found: StatedFindings) -> float | None:
        """As stated."""
        return _stated(found).low_score_probability

    def lesion_columns(self, found: StatedFindings) -> Mapping[str, Any]:
        """The volumes that it states, of a lesion that is not drawn."""
        stated = _stated(found)
        return {"side": stated.side, **{name: getattr(stated, name) for name in _VOLUMES}}

    def _by_regions(self, stated: StatedResult) -> dict[str, int]:
        """Score of each side whose ten regions are stated."""
        cut = self.cut if self.region_cells == "probabilities" else 1
        sides: dict[str, int] = {}
        for side in HEMISPHERES:
            values = [stated.regions.get(f"{side}_{region}") for region in ASPECTS_REGIONS]
            if None not in values:
                sides[side] = MAXIMUM_SCORE - sum(value >= cut for value in values if value is not None)
        return sides


def _stated(found: StatedFindings) -> StatedResult:
    """The row; an empty one where nothing was read."""
    return found.stated or StatedResult()


class TableSource(StatedSource):
    """A source whose table lies in the cohort folder: it is read there, and nothing is measured."""

    file: str = Field(description="The table, inside the cohort folder")
    id: str = Field(description="Column of the table that names the participant")

    @property
    def scans(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def lies_on(self) -> str:
        """On no scan."""
        return ""

    @property
    def stem(self) -> str:
        """What it states is called after the source."""
        return self.name

    @property
    def step(self) -> str:
        """As provenance names it."""
        return f"results-{self.name}"
