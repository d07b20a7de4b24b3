"""The contract tables side by side: one row per participant, in the order of ``participant_id``.

A missing value is NaN everywhere. Only rows with ``status`` ``ok`` count as measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohorts.folder.clinical_column import ClinicalColumn
from cohorts.folder.study import Grade, StudyConfig
from reports.statistics.inputs import ReportInput
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES
from tasks.arrays import BoolArray, FloatArray
from tasks.quality.guards import GUARDS

SCORE, VOLUME = "score", "volume_ml"


@dataclass(frozen=True, eq=False)
class RegionFlags:
    """Affected regions of one source: (n participants, 2 sides, n regions), 1, 0 or NaN."""

    regions: tuple[str, ...]
    affected: FloatArray

    def of_side(self, side: str) -> FloatArray:
        """(n, n regions) flags of ``left``, ``right`` or ``any`` side; NaN where a side needed is missing."""
        if side == "any":
            either: FloatArray = self.affected.max(axis=1)  # NaN where a side is missing
            return either
        return self.affected[:, HEMISPHERES.index(side)]


#: What is stored of a region, the first that a source gives -> whether high values speak for an affected region.
EVIDENCE = {"probability": True, "fraction": True, "relative_difference": False}


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a source's rule judged: (n participants, 2 sides, n regions), NaN where there is none."""

    column: str
    values: FloatArray

    def within(self, kept: BoolArray) -> Evidence:
        """The participants where ``kept`` is true."""
        return Evidence(self.column, np.asarray(self.values[kept]))


@dataclass(frozen=True, eq=False)
class Patients:
    """Participants of one analysis set with every measure.

    Parameters
    ----------
    config : StudyConfig
    table : pandas.DataFrame
        ``participants`` sorted by ``participant_id``.
    scores, volumes : dict
        Scoring source, and modality -> (n,) float array, points and ml; NaN where not measured.
    flags : dict
        Scoring source -> its region flags; only sources that give any.
    evidence : dict
        Source -> what stands behind its flags, in the order of their regions; readers have none.
    low_chances : dict
        Source -> (n,) chance of a low score, NaN where it gives none; only sources that give it.
    guards : dict
        Name of a guard of plain CT -> (n,) 1 where it is suspected on any scan, 0, NaN where none was measured.
    assisted : frozenset
        Sources whose readers used the registered template.
    """

    config: StudyConfig
    table: pd.DataFrame
    scores: dict[str, FloatArray]
    volumes: dict[str, FloatArray]
    flags: dict[str, RegionFlags]
    assisted: frozenset[str]
    evidence: dict[str, Evidence] = field(default_factory=dict)
    low_chances: dict[str, FloatArray] = field(default_factory=dict)
    guards: dict[str, FloatArray] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of participants."""
        return len(self.table)

    def within(self, kept: BoolArray) -> Patients:
        """The participants where ``kept`` is true."""
        return replace(
            self,
            table=self.table[kept],
            scores={source: values[kept] for source, values in self.scores.items()},
            volumes={modality: values[kept] for modality, values in self.volumes.items()},
            flags={source: replace(flags, affected=flags.affected[kept]) for source, flags in self.flags.items()},
            evidence={source: one.within(kept) for source, one in self.evidence.items()},
            low_chances={source: values[kept] for source, values in self.low_chances.items()},
            guards={guard: values[kept] for guard, values in self.guards.items()},
        )

    def complete(self, *columns: FloatArray) -> BoolArray:
        """(n,) whether every column has a value."""
        return np.asarray(~np.isnan(np.column_stack(columns)).any(axis=1))

    def volumes_of(self, source: str) -> dict[str, FloatArray]:
        """The volumes to set beside a score: a lesion source's own lesion, every lesion for other sources."""
        lesion_sources = {item.name for item in self.config.volume_sources}
        own = self.config.measurement_of[source] if source in lesion_sources else None
        return {lesion: values for lesion, values in self.volumes.items() if own in (None, lesion)}

    def measures(self) -> list[tuple[str, str, FloatArray]]:
        """(measure, source, values) of every score and volume."""
        return [(SCORE, source, values) for source, values in self.scores.items()] + [
            (VOLUME, modality, values) for modality, values in self.volumes.items()
        ]

    def numbers(self, column: str) -> FloatArray:
        """A clinical column as floats; all NaN where it is absent or not a number."""
        if column not in self.table or pd.api.types.is_datetime64_any_dtype(self.table[column]):
            return np.full(self.n, np.nan)
        values = pd.to_numeric(self.table[column], errors="coerce")
        return np.asarray(values.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan))

    def clinical(self, column: str) -> ClinicalColumn | None:
        """How a clinical column was declared."""
        return next((item for item in self.config.clinical if item.column == column), None)

    def grades(self) -> tuple[Grade, ...]:
        """The severity grades of the study."""
        return self.config.severity.grades if self.config.severity else ()

    def grade_names(self) -> npt.NDArray[np.object_]:
        """(n,) severity grade of each participant, an empty text where there is none."""
        return self.table["severity"].astype(object).where(self.table["severity"].notna(), "").to_numpy(dtype=object)

    def strata(self) -> dict[str | None, BoolArray]:
        """Everybody under None, then each grade -> (n,) its members."""
        grade = self.grade_names()
        everybody: dict[str | None, BoolArray] = {None: np.ones(self.n, dtype=bool)}
        return everybody | {item.name: np.asarray(grade == item.name) for item in self.grades()}

    def graded(self) -> BoolArray:
        """(n,) whether a participant has a grade."""
        return np.isin(self.grade_names(), [item.name for item in self.grades()])

    def positive(self) -> FloatArray:
        """(n,) 1 in the positive class of the study, 0 outside, NaN where the severity column is missing."""
        if self.config.severity is None:
            return np.full(self.n, np.nan)
        values = self.numbers(self.config.severity.column)
        return np.where(np.isnan(values), np.nan, values >= self.config.severity.positive_minimum)

    def positive_class(self) -> str:
        """The positive class spelled out, such as ``NIHSS >= 8``."""
        severity = self.config.severity
        if severity is None:
            return ""
        clinical = self.clinical(severity.column)
        return f"{clinical.title if clinical else severity.column} >= {severity.positive_minimum:g}"


def unit_of(measure: str) -> str:
    """Unit of a measure."""
    return "points" if measure == SCORE else "ml"


def patients_of(data: ReportInput) -> Patients:
    """Every screened participant with the measures of the tables."""
    table = data.participants.sort_values("participant_id", kind="stable").reset_index(drop=True)
    ids = pd.Index(table["participant_id"])
    measured = data.scores[data.scores["status"] == "ok"]
    assisted = measured.loc[measured["template_assisted"].fillna(False).astype(bool), "source"]
    flags = _region_flags(data, ids)
    return Patients(
        config=data.config,
        table=table,
        scores=_wide(measured, "score", ids, _source_order(data)),
        volumes=_wide(data.lesions[data.lesions["status"] == "ok"], "volume_ml", ids, _lesion_order(data)),
        flags=flags,
        assisted=frozenset(assisted),
        evidence=_evidence(data, ids, flags),
        low_chances=_wide(_of_computed(measured, data), "low_score_probability", ids, _source_order(data)),
        guards={guard.name: _suspected(data.scans, guard.flag, ids) for guard in GUARDS},
    )


def analysis_sets(patients: Patients) -> dict[str, Patients]:
    """``included``, and ``examined`` where the study declares eligibility rules: those whom the rules were asked of."""
    sets = {"included": patients.within(_flag(patients.table["is_included"]))}
    if patients.config.eligibility.is_set:
        sets["examined"] = patients.within(_flag(patients.table["is_examined"]))
    return sets


def agreement_sets(patients: Patients) -> dict[str, Patients]:
    """``measured``, everyone whom a source measured, whatever excludes the participant elsewhere; and ``included``."""
    return {
        "measured": patients.within(_flag(patients.table["is_measured"])),
        "included": patients.within(_flag(patients.table["is_included"])),
    }


def _flag(column: pd.Series) -> BoolArray:
    """A flag column as booleans; null is false."""
    return np.asarray(column.astype("boolean").fillna(False).to_numpy(dtype=bool))


def _suspected(scans: pd.DataFrame, flag: str, ids: pd.Index) -> FloatArray:
    """(n,) 1 where any scan of a participant has the flag, 0 where none has, NaN without one that was measured."""
    values = np.full(len(ids), np.nan)
    known = scans[scans[flag].notna()] if flag in scans else scans.iloc[:0]
    if len(known):
        raised = known[flag].astype(float).groupby(known["participant_id"].astype(object)).max()
        at = ids.get_indexer(raised.index)
        values[at[at >= 0]] = raised.to_numpy()[at >= 0]
    return values


def _source_order(data: ReportInput) -> list[str]:
    """Computed sources in the study's order; readers and others follow by name."""
    return [source.name for source in data.config.computed_sources]


def _lesion_order(data: ReportInput) -> list[str]:
    """Measurements of lesions in the order of their sources: the study's first lesion leads."""
    return list(dict.fromkeys(data.config.measurement_of[source.name] for source in data.config.volume_sources))


def _of_computed(rows: pd.DataFrame, data: ReportInput) -> pd.DataFrame:
    """The rows of computed sources: a reader's yes or no is no chance."""
    kept = rows[rows["source"].isin(_source_order(data))]
    return kept if "low_score_probability" in kept else kept.assign(low_score_probability=np.nan)


def _wide(rows: pd.DataFrame, value: str, ids: pd.Index, first: list[str]) -> dict[str, FloatArray]:
    """Source -> one value per participant; ``first`` sources lead, sources without any value are left out."""
    kept = rows[rows[value].notna()]
    found = sorted(kept["source"].unique(), key=lambda name: (first.index(name) if name in first else len(first), name))
    values = {}
    for source in found:
        of_source = kept[kept["source"] == source]
        column = np.full(len(ids), np.nan)
        at = ids.get_indexer(of_source["participant_id"])
        column[at[at >= 0]] = of_source[value].to_numpy(dtype=np.float64)[at >= 0]
        values[source] = column
    return values


def _region_flags(data: ReportInput, ids: pd.Index) -> dict[str, RegionFlags]:
    """Region flags per source, ASPECTS regions first and in their order, sides of the hemispheres only."""
    rows = data.regions
    rows = rows[(rows["status"] == "ok") & rows["affected"].notna() & rows["side"].isin(HEMISPHERES)]
    first = _source_order(data)
    flags = {}
    for source in sorted(
        rows["source"].unique(), key=lambda name: (first.index(name) if name in first else len(first), name)
    ):
        of_source = rows[rows["source"] == source]
        named = set(of_source["region"].unique())
        regions = tuple(name for name in ASPECTS_REGIONS if name in named) + tuple(sorted(named - set(ASPECTS_REGIONS)))
        flags[source] = RegionFlags(regions, _by_region(of_source, "affected", ids, regions))
    return flags


def _evidence(data: ReportInput, ids: pd.Index, flags: dict[str, RegionFlags]) -> dict[str, Evidence]:
    """What stands behind the flags, the first column of ``EVIDENCE`` that a source gives."""
    rows = data.regions[(data.regions["status"] == "ok") & data.regions["side"].isin(HEMISPHERES)]
    columns = [column for column in EVIDENCE if column in rows]
    found = {}
    for source, of_source in rows.groupby("source"):
        column = next((one for one in columns if of_source[one].notna().any()), None)
        if column is not None and source in flags:
            values = _by_region(of_source, column, ids, flags[str(source)].regions)
            found[str(source)] = Evidence(column, values)
    return {source: found[source] for source in flags if source in found}


def _by_region(rows: pd.DataFrame, column: str, ids: pd.Index, regions: tuple[str, ...]) -> FloatArray:
    """(n, 2 sides, n regions) of a column, NaN where there is no row."""
    values = np.full((len(ids), len(HEMISPHERES), len(regions)), np.nan)
    at = ids.get_indexer(pd.Index(rows["participant_id"]))
    side = pd.Index(HEMISPHERES).get_indexer(pd.Index(rows["side"]))
    region = pd.Index(regions).get_indexer(pd.Index(rows["region"]))
    known = (at >= 0) & (region >= 0)
    values[at[known], side[known], region[known]] = rows[column].to_numpy(dtype=np.float64, na_value=np.nan)[known]
    return values
