"""What ``aspects import`` is asked to do, checked before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cohorts.dicom.geometry import ACTIONS, Action
from cohorts.dicom.import_settings import ImportSettings, ImportSettingsError, read_import_settings
from cohorts.dicom.link_table import LinkTableError, check_place, is_forbidden
from cohorts.dicom.patients import IntakeRules, PatientFrom, same_person_of
from cohorts.dicom.volume import DEFAULT_ACTIONS
from cohorts.folder.problems import did_you_mean
from flows.run.request import PreflightError, UsageError

NO_RULES = IntakeRules()


@dataclass(frozen=True)
class ImportRequest:
    """What to import, where to, with which key and which actions for faults; where to keep who is who, or None; what is
    declared of the export, and what the cohort folder says of a site's series.
    """

    source: Path
    cohort: Path
    key: Path
    actions: Mapping[str, Action]
    link_table: Path | None = None
    rules: IntakeRules = NO_RULES
    settings: ImportSettings = field(default_factory=ImportSettings)


def import_request(
    source: Path,
    cohort: Path,
    key: Path | None,
    on_fault: Iterable[str],
    link_table: Path | None = None,
    rules: IntakeRules = NO_RULES,
) -> ImportRequest:
    """Check the arguments of the command.

    Parameters
    ----------
    source : folder of DICOM files, outside the cohort folder
    cohort : the cohort folder, made where it does not exist
    key : key file; None stands for ``<cohort>.key`` beside the cohort folder
    on_fault : texts such as ``gantry_tilt=reject``
    link_table : where to write which volume is of which series and patient; None writes it nowhere
    rules : what is declared of the export

    Raises
    ------
    UsageError
        An argument breaks its rule.
    PreflightError
        ``import.toml`` of the cohort folder cannot be used.
    """
    if not source.is_dir():
        raise UsageError("DICOM_DIR must be a folder. Give the folder that holds the exported files.")
    if source.resolve().is_relative_to(cohort.resolve()):
        raise UsageError("DICOM_DIR must lie outside the cohort folder, which holds no identities. Move it.")
    actions = dict(DEFAULT_ACTIONS)
    for text in on_fault:
        reason, _, action = text.partition("=")
        if reason not in ACTIONS:
            hint = did_you_mean(reason, ACTIONS)
            raise UsageError(f"--on-fault must name a fault ({', '.join(ACTIONS)}), got {reason}. {hint}")
        allowed = {known: known for known in ACTIONS[reason]}
        if action not in allowed:
            raise UsageError(
                f"--on-fault {reason} must be {' or '.join(allowed)}, got {action or 'nothing'}. Correct it."
            )
        actions[reason] = next(known for known in ACTIONS[reason] if known == action)
    name = cohort.resolve()
    key = key or name.with_name(name.name + ".key")
    if key.resolve().is_relative_to(name):
        raise UsageError("--key must lie outside the cohort folder, got a path inside it. Choose another folder.")
    if key.resolve().is_relative_to(source.resolve()):
        raise UsageError("--key must lie outside DICOM_DIR, which others may have. Choose another folder.")
    if link_table is not None:
        if is_forbidden(cohort):
            raise UsageError(
                "--link-table must be used only where the study may re-identify, and cohort.toml does not say so. Set "
                "may_reidentify = true in [study] if your approval allows it, else leave the option out."
            )
        try:
            check_place(link_table, cohort)
        except LinkTableError as error:
            raise UsageError(str(error)) from None
    try:
        settings = read_import_settings(cohort)
    except ImportSettingsError as error:
        raise PreflightError(str(error)) from None
    return ImportRequest(source, cohort, key, actions, link_table, rules, settings)


def intake_rules(
    patient_from: PatientFrom, same_person: Sequence[str], *, follow_links: bool, keep_text: bool
) -> IntakeRules:
    """Check what is declared of an export.

    Raises
    ------
    UsageError
        ``same_person`` holds anything but pseudonyms.
    """
    try:
        return IntakeRules(patient_from, same_person_of(same_person), follow_links, keep_text)
    except ValueError as error:
        raise UsageError(str(error)) from None
