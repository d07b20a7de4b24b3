"""Rows of ``segmentation``: how lesions on one grid agree, and regions drawn on a scan with those of a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations

from cohorts.folder.manifest import Cohort
from cohorts.folder.source import LesionSource, OnScanSource
from cohorts.folder.study import DrawnRegions, StudyConfig
from cohorts.store.findings import Findings
from cohorts.store.overlap_findings import OverlapFindings, RegionOverlapFindings
from cohorts.store.records import Record
from cohorts.tables.participants import NO_SCAN_OF_MODALITY, NOT_MEASURED, Standing
from cohorts.tables.rows import Batch, Measured, Rows, state_of
from cohorts.tables.schemas import SEGMENTATION
from tasks.anatomy import LabelTable

LESION = "lesion"
#: What is said of regions: a region is one piece, so that lesions are not counted in it.
OF_REGIONS = ("presence", "dice", "surface_dice", "hd95_mm", "volume_difference_ml", "reference_volume_ml")

#: Status and reason of a row.
State = tuple[str, str | None]
OK: State = ("ok", None)


@dataclass(frozen=True)
class LesionPair:
    """Two measurements whose lesions lie on one grid."""

    reference: str
    candidate: str

    @property
    def name(self) -> str:
        """As cases and steps name it."""
        return f"overlap:{self.reference}:{self.candidate}"


def lesion_pairs(config: StudyConfig) -> tuple[LesionPair, ...]:
    """Every pair of measurements that draw a lesion on one grid.

    The reference is the one whose source an ``[[agreement]]`` names so against the other's; by default the earlier one.
    Sources that share a measurement share its lesion, and are no pair.
    """
    grids: dict[str, str] = {}
    for source in config.computed_sources:
        if isinstance(source, LesionSource) and "lesion" in source.gives:
            grids.setdefault(config.measurement_of[source.name], source.lesion_grid)
    of = config.measurement_of
    asked = {(of.get(pair.reference), of.get(pair.candidate)) for pair in config.agreement}
    pairs = []
    for first, second in combinations(grids, 2):
        if grids[first] == grids[second]:
            is_turned = (second, first) in asked and (first, second) not in asked
            pairs.append(LesionPair(second, first) if is_turned else LesionPair(first, second))
    return tuple(pairs)


@dataclass(frozen=True)
class RegionPair:
    """Regions drawn on a scan, and a source that brings its own onto the same scan."""

    drawn: DrawnRegions
    source: OnScanSource

    @property
    def name(self) -> str:
        """As cases and steps name it."""
        return f"regions:{self.drawn.name}:{self.source.name}"


def region_pairs(config: StudyConfig) -> tuple[RegionPair, ...]:
    """All regions that were drawn, each with every way in which a source brings regions onto that scan."""
    return tuple(
        RegionPair(drawn, source) for drawn in config.drawn_regions for source in config.regions_on(drawn.scan)
    )


def segmentation_batch(
    cohort: Cohort,
    measured: Measured,
    standings: Mapping[str, Standing],
    overlaps: Mapping[tuple[str, str], Record],
    drawn: Mapping[str, LabelTable] | None = None,
) -> Batch:
    """Rows of ``segmentation``: every known participant for every pair of lesions on one grid, and for every region
    that was drawn on a scan.

    Parameters
    ----------
    cohort : Cohort
    measured : with the records as the study's gates judge them: a scan that they exclude is not compared
    standings : participant -> where they stand
    overlaps : (participant, name of a pair) -> the committed comparison
    drawn : name of drawn regions -> what their numbers mean
    """
    rows = Rows(SEGMENTATION)
    _add_lesions(rows, cohort, measured, standings, overlaps)
    _add_regions(rows, cohort, measured, standings, overlaps, drawn or {})
    return rows.columns


def _add_lesions(
    rows: Rows,
    cohort: Cohort,
    measured: Measured,
    standings: Mapping[str, Standing],
    overlaps: Mapping[tuple[str, str], Record],
) -> None:
    """Rows of lesions."""
    absent = {cohort.config.measurement_of[name] for name in measured.absent if name in cohort.config.measurement_of}
    pairs = [one for one in lesion_pairs(cohort.config) if not {one.reference, one.candidate} & absent]
    for participant_id, standing in standings.items():
        for pair in pairs:
            sides = (measured.records.get((participant_id, name)) for name in (pair.reference, pair.candidate))
            states = [state_of(record, standing) for record in sides]
            state = next((one for one in states if one[0] != "ok"), OK)
            status, reason, payload = _compared(state, overlaps.get((participant_id, pair.name)))
            found = payload.overlap if isinstance(payload, OverlapFindings) else None
            rows.add(
                participant_id=participant_id,
                reference=pair.reference,
                candidate=pair.candidate,
                label=LESION,
                status=status,
                reason=reason,
                **(asdict(found) if found is not None else {}),
            )


def _add_regions(
    rows: Rows,
    cohort: Cohort,
    measured: Measured,
    standings: Mapping[str, Standing],
    overlaps: Mapping[tuple[str, str], Record],
    drawn: Mapping[str, LabelTable],
) -> None:
    """Rows of regions: of those that the drawn labels and the source's label map both name."""
    usable = {(scan.participant_id, scan.modality): OK for scan in cohort.scans}
    refused = {(scan.participant_id, scan.modality): ("excluded", scan.reason) for scan in cohort.refused_scans}
    files: dict[tuple[str, str], State] = usable | refused
    pairs = [one for one in region_pairs(cohort.config) if one.source.name not in measured.absent]
    for participant_id, standing in standings.items():
        for pair in pairs:
            state = files.get((participant_id, pair.drawn.modality), ("excluded", NO_SCAN_OF_MODALITY))
            if state == OK:
                measurement = cohort.config.measurement_of[pair.source.name]
                state = state_of(measured.records.get((participant_id, measurement)), standing)
            status, reason, payload = _compared(state, overlaps.get((participant_id, pair.name)))
            regions = payload.regions if isinstance(payload, RegionOverlapFindings) else ()
            found = {(one.side, one.region): asdict(one.overlap) for one in regions}
            known = {(label.side, label.region) for label in measured.maps[pair.source.name].table.labels}
            for side, region in ((label.side, label.region) for label in drawn[pair.drawn.name].labels):
                if (side, region) in known:
                    numbers = found.get((side, region), {})
                    rows.add(
                        participant_id=participant_id,
                        reference=pair.drawn.name,
                        candidate=pair.source.name,
                        label=f"{side}_{region}",
                        side=side,
                        region=region,
                        status=status,
                        reason=reason,
                        **{name: value for name, value in numbers.items() if name in OF_REGIONS},
                    )


def _compared(state: State, overlap: Record | None) -> tuple[str, str | None, Findings | None]:
    """Status and reason of a row, and what the comparison found where both sides could be compared."""
    if state[0] != "ok":
        return *state, None
    if overlap is None:
        return "failed", NOT_MEASURED, None
    return overlap.status, overlap.reason, overlap.payload if overlap.status == "ok" else None
