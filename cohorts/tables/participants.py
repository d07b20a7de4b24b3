"""Where each participant stands: every exclusion with its stage and reason, one of them primary, and the analysis sets.

*screened*: every known participant. *measured*: a scan was measured or a reading given. *examined*: listed, and stopped
by nothing before the eligibility rules. *included*: stopped by nothing.

Stages follow the flowchart: *screening* (the cohort's tables), *intake* (the image), *scoring* (the computation),
*eligibility* (the study's criteria). ``included + excluded + failed = screened``, always.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from cohorts.folder.manifest import Cohort, natural_key
from cohorts.folder.study import EligibilitySection, SeveritySection, StudyConfig
from cohorts.store.records import Record
from cohorts.tables.contract import Batch, Rows, Table
from cohorts.tables.schemas import EXCLUSIONS, STAGES, participants_table

NOT_MEASURED = "not_measured"
NO_SCAN_OF_MODALITY = "no_scan_of_this_modality"


@dataclass(frozen=True)
class Exclusion:
    """One reason why a participant is not in an analysis set."""

    stage: str
    reason: str
    status: Literal["excluded", "failed"]
    detail: str


@dataclass(frozen=True)
class Standing:
    """A participant's exclusions in the order of the flowchart; the first is the primary one."""

    is_listed: bool
    exclusions: tuple[Exclusion, ...]
    is_measured: bool = False  # a scan was measured or a reading given

    @property
    def primary(self) -> Exclusion | None:
        """The reason under which the flowchart counts this participant."""
        return self.exclusions[0] if self.exclusions else None

    @property
    def is_examined(self) -> bool:
        """Listed and stopped by nothing before the eligibility rules."""
        return self.is_listed and all(exclusion.stage == "eligibility" for exclusion in self.exclusions)

    @property
    def is_included(self) -> bool:
        """Stopped by nothing."""
        return not self.exclusions

    @property
    def status(self) -> str:
        """Included, excluded or failed."""
        return "included" if self.primary is None else self.primary.status


def standings(
    cohort: Cohort,
    records: Mapping[tuple[str, str], Record],
    lesions: Mapping[str, Mapping[str, Any]],
) -> dict[str, Standing]:
    """Where every known participant stands, in order of participant.

    Parameters
    ----------
    cohort : the cohort folder as read
    records : (participant, measurement) -> record
    lesions : participant -> numeric columns of its ``lesions`` row, for those measured
    """
    listed = set(cohort.participants["participant_id"])
    found: dict[str, list[Exclusion]] = defaultdict(list)
    for problem in cohort.problems:
        if problem.participant_id is not None and problem.excludes_participant:
            found[problem.participant_id].append(Exclusion(problem.stage, problem.reason, "excluded", problem.text))
    usable = {participant_id for (participant_id, _), record in records.items() if record.status == "ok"}
    read = {reading.participant_id for reading in cohort.readings}
    foreign = {name for name, sources in cohort.config.measurements.items() if sources[0].is_foreign}
    for (participant_id, measurement), record in records.items():
        if measurement in foreign and participant_id in usable | read:  # its own rows say why it has no result
            continue
        if record.status == "excluded" and participant_id not in usable:  # the row of the scan says why it is refused
            found[participant_id].append(
                Exclusion("intake", record.reason or "excluded", "excluded", record.detail or "")
            )
        elif record.status == "failed":
            found[participant_id].append(Exclusion("scoring", record.reason or "failed", "failed", record.detail or ""))
    measured: dict[str, list[str]] = defaultdict(list)  # by the modality that must be there
    for measurement, sources in cohort.config.measurements.items():
        if sources[0].scans:
            measured[sources[0].scans[0]].append(measurement)
    for scan in cohort.scans:
        needing = measured.get(scan.modality)
        if needing and not any((scan.participant_id, one) in records for one in needing):
            detail = f"{scan.path} must be measured, got no result. Check that the file can be read and run again."
            found[scan.participant_id].append(Exclusion("scoring", NOT_MEASURED, "failed", detail))
    used = {scan.participant_id for scan in cohort.scans if scan.modality in measured}
    used |= read | usable
    for participant_id in (listed - used - set(found)) if measured else ():
        detail = (
            f"{participant_id} must have a scan of {' or '.join(measured)}, got others. Correct the modality or add it."
        )
        found[participant_id].append(Exclusion("intake", NO_SCAN_OF_MODALITY, "excluded", detail))
    measured_ids = usable | read
    clinical = cohort.participants.set_index("participant_id", drop=False)
    known = list(dict.fromkeys([*cohort.participants["participant_id"], *_further(cohort, records, found)]))
    result = {}
    for participant_id in known:
        exclusions = _merged(found[participant_id])
        if participant_id in listed and not exclusions:
            exclusions = eligibility_exclusions(
                cohort.config.eligibility,
                lesions.get(participant_id),
                clinical.loc[participant_id].to_dict(),
                measures_lesion=bool(cohort.config.lesion_sources),
            )
        result[participant_id] = Standing(participant_id in listed, exclusions, participant_id in measured_ids)
    return result


def eligibility_exclusions(
    rules: EligibilitySection,
    lesion: Mapping[str, Any] | None,
    clinical: Mapping[str, Any],
    *,
    measures_lesion: bool,
) -> tuple[Exclusion, ...]:
    """Every eligibility rule that a participant breaks.

    Parameters
    ----------
    rules : the study's criteria
    lesion : numeric columns of the participant's ``lesions`` row; None where no lesion was measured
    clinical : column -> typed value
    measures_lesion : the study declares sources that measure a lesion
    """
    broken: list[tuple[str, str]] = [
        (f"missing_{column}", f"{column} must be given, got n/a. Complete it in participants.tsv.")
        for column in rules.required_columns
        if pd.isna(clinical.get(column))
    ]
    if lesion is None:
        if measures_lesion and rules.needs_lesion:
            broken.append(
                ("lesion_not_measured", "the lesion must be measured for the criteria, got no lesion measurement.")
            )
    elif not lesion["n_voxels"]:
        if rules.needs_lesion:
            broken.append(("no_lesion", "a lesion must be found for the criteria, got none."))
    else:
        diameter, volume = lesion["max_diameter_mm"], lesion["volume_ml"]
        far = lesion["pca_share"] + lesion["posterior_fossa_share"]
        checks: Sequence[tuple[bool, str, str]] = (
            (
                rules.minimum_max_diameter_mm is not None and diameter <= rules.minimum_max_diameter_mm,
                "lacunar",
                f"maximum diameter must be > {rules.minimum_max_diameter_mm} mm, got {diameter:.1f} mm.",
            ),
            (
                rules.minimum_mca_share is not None and lesion["mca_share"] < rules.minimum_mca_share,
                "outside_mca_territory",
                f"share in MCA territory must be >= {rules.minimum_mca_share}, got {lesion['mca_share']:.3f}.",
            ),
            (
                rules.maximum_aca_share is not None and lesion["aca_share"] > rules.maximum_aca_share,
                "aca_territory_involved",
                f"share in ACA territory must be <= {rules.maximum_aca_share}, got {lesion['aca_share']:.3f}.",
            ),
            (
                rules.maximum_pca_share is not None and far > rules.maximum_pca_share,
                "posterior_circulation_involved",
                f"share in PCA territory and posterior fossa must be <= {rules.maximum_pca_share}, got {far:.3f}.",
            ),
            (
                rules.maximum_volume_ml is not None and volume > rules.maximum_volume_ml,
                "implausible_volume",
                f"volume must be <= {rules.maximum_volume_ml} ml, got {volume:.1f} ml. Look at the mask.",
            ),
        )
        broken += [(reason, detail) for is_broken, reason, detail in checks if is_broken]
    return tuple(Exclusion("eligibility", reason, "excluded", detail) for reason, detail in broken)


def participants_contract(config: StudyConfig) -> Table:
    """The contract of a study's ``participants``: its grades in order, its clinical columns behind the fixed ones."""
    return participants_table(config.clinical, grade_names(config))


def grade_names(config: StudyConfig) -> tuple[str, ...]:
    """The severity grades of a study in their order; none without a severity column."""
    return tuple(grade.name for grade in config.severity.grades) if config.severity else ()


def participants_batch(cohort: Cohort, found: Mapping[str, Standing]) -> Batch:
    """Rows of ``participants``: every known participant, clinical columns typed, unlisted ones with nulls."""
    rows = Rows(participants_contract(cohort.config))
    clinical = {item.column for item in cohort.config.clinical} | {"site", "split"}
    given = cohort.participants.set_index("participant_id").reindex(list(found))
    severity = cohort.config.severity
    for values, (participant_id, standing) in zip(given.to_dict("records"), found.items(), strict=True):
        known = {name: value for name, value in values.items() if name in clinical and not pd.isna(value)}
        primary = standing.primary
        rows.add(
            **known,
            participant_id=participant_id,
            status=standing.status,
            stage=primary.stage if primary else None,
            reason=primary.reason if primary else None,
            is_listed=standing.is_listed,
            is_measured=standing.is_measured,
            is_examined=standing.is_examined,
            is_included=standing.is_included,
            severity=severity_grade(values[severity.column], severity) if severity else None,
        )
    return rows.columns


def exclusions_batch(found: Mapping[str, Standing]) -> Batch:
    """Rows of ``exclusions``."""
    rows = Rows(EXCLUSIONS)
    for participant_id, standing in found.items():
        for position, exclusion in enumerate(standing.exclusions):
            rows.add(
                participant_id=participant_id,
                stage=exclusion.stage,
                reason=exclusion.reason,
                status=exclusion.status,
                is_primary=position == 0,
                detail=exclusion.detail,
            )
    return rows.columns


def severity_grade(value: Any, severity: SeveritySection) -> str | None:
    """Grade whose inclusive range holds the value; None where the value is missing or in no range."""
    if pd.isna(value):
        return None
    return next((grade.name for grade in severity.grades if grade.minimum <= value <= grade.maximum), None)


def _merged(exclusions: Iterable[Exclusion]) -> tuple[Exclusion, ...]:
    """One exclusion per stage and reason, in the order of the flowchart; what sources say alike is said once."""
    alike: dict[tuple[str, str], list[Exclusion]] = {}
    for exclusion in exclusions:
        alike.setdefault((exclusion.stage, exclusion.reason), []).append(exclusion)
    merged = (replace(same[-1], detail=" ".join(dict.fromkeys(one.detail for one in same))) for same in alike.values())
    return tuple(sorted(merged, key=lambda exclusion: STAGES.index(exclusion.stage)))


def _further(
    cohort: Cohort, records: Mapping[tuple[str, str], Record], found: Mapping[str, Sequence[Exclusion]]
) -> list[str]:
    """Participants that only scans, readings or problems know of, in the order of the cohort."""
    ids = {scan.participant_id for scan in cohort.scans} | {reading.participant_id for reading in cohort.readings}
    ids |= {scan.participant_id for scan in cohort.refused_scans}
    ids |= {participant_id for participant_id, _ in records} | set(found)
    return sorted(ids - set(cohort.participants["participant_id"]), key=natural_key)
