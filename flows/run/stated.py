"""What tables of other software state, as records: looked up like those that steps commit, and never written."""

from __future__ import annotations

from dataclasses import replace

from cohorts.folder.manifest import Cohort
from cohorts.folder.problems import printable
from cohorts.folder.stated_rows import StatedRow
from cohorts.folder.stated_source import TableSource
from cohorts.store.records import Record, StepKey, digest_of
from cohorts.store.stated_findings import StatedFindings
from flows.sources.code import code_version
from flows.sources.registry import METHODS

NOT_IN_RESULTS = "not_in_results"


def stated_records(cohort: Cohort) -> dict[tuple[str, str], Record]:
    """(participant, measurement) -> what its table says of every participant; that it says nothing is a reason."""
    known = dict.fromkeys(
        [*cohort.participants["participant_id"], *(scan.participant_id for scan in cohort.scans + cohort.refused_scans)]
    )
    records = {}
    for source in cohort.config.computed_sources:
        if isinstance(source, TableSource):
            rows = cohort.stated.get(source.name, {})
            for participant_id in known:
                row = rows.get(participant_id)
                if row is not None and _is_true_date(participant_id, row, source, cohort):
                    row = replace(row, result=row.result.model_copy(update={"run_on": None}))
                record = _record(participant_id, source, row)
                records[participant_id, cohort.config.measurement_of[source.name]] = record
    return records


def _is_true_date(participant_id: str, row: StatedRow, source: TableSource, cohort: Cohort) -> bool:
    """Whether the date of the software's run, most likely that of the scan, stands beside shifted dates."""
    is_kept = any(to == "run_on" and name in source.keep_dates for name, to in source.columns.items())
    return row.result.run_on is not None and not is_kept and participant_id in cohort.shifted


def _record(participant_id: str, source: TableSource, row: StatedRow | None) -> Record:
    """One participant's record."""
    code, settings = code_version(METHODS[source.kind]).digest, digest_of(source.settings)
    key = StepKey(source.step, code, digest_of(dict(row.cells) if row else None), settings)
    if row is None:
        detail = f"{printable(source.file)} must have a row of every participant, got none of {participant_id}. Add it."
        return Record(participant_id, key, "excluded", NOT_IN_RESULTS, detail, StatedFindings())
    status = "ok" if row.reason is None else "excluded"
    return Record(participant_id, key, status, row.reason, row.detail, StatedFindings(stated=row.result))
