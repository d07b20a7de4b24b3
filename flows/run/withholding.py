"""When a run's results are kept back: a dead share or a broken installation must not become the latest results."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from cohorts.tables.storage import read_table
from flows.run.plan import Plan

#: Why a listed file is not there: as much a sign of a folder that is not mounted as of a patient without images.
GONE = {"file_missing", "file_unreadable", "file_empty"}


class NothingMeasuredError(RuntimeError):
    """Everything that was due failed for technical reasons; the latest results stay as they were."""


def refuse_where_nothing_was_measured(plan: Plan, latest: Path | None, due: frozenset[tuple[str, str]]) -> None:
    """Keep the latest results where all that was due failed, unless the latest results tell these very failures.

    Parameters
    ----------
    plan : with the records as they are after measuring
    latest : folder of the latest results, if any
    due : (participant, measurement) of the cases that this run had to measure

    Raises
    ------
    NothingMeasuredError
        Nothing that was due could be measured.
    """
    if not plan.cases:
        _refuse_where_every_file_is_gone(plan, latest)
    records = [plan.records.get(key) for key in plan.cases if key in due]
    failed = [record for record in records if record is not None and record.status == "failed"]
    if not records or any(record is not None and record.status != "failed" for record in records):
        return
    if len(failed) == len(records) and {record.key.digest for record in failed} <= _told(latest):
        return
    reasons = Counter([record.reason or "failed" for record in failed])
    if n_missing := len(records) - len(failed):
        reasons["not measured"] = n_missing
    why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    first = f"{failed[0].participant_id}: {failed[0].detail} " if failed else ""
    raise NothingMeasuredError(
        f"at least one of the {len(records)} measurements that were due must succeed, got none ({why}). {first}"
        f"The latest results stay as they were ({latest.name if latest else 'none yet'}). Fix the cause, then run "
        "again."
    )


def _refuse_where_every_file_is_gone(plan: Plan, latest: Path | None) -> None:
    """Keep results that hold measurements where no scan can be read any more: a folder that is not mounted."""
    scans = plan.cohort.scans + plan.cohort.refused_scans
    gone = [scan for scan in plan.cohort.refused_scans if scan.reason in GONE]
    gone += plan.cohort.scans  # listed and there, and yet without a digest: reading failed
    if latest is None or not plan.cohort.config.computed_sources or not scans or len(gone) < len(scans):
        return
    with contextlib.suppress(OSError, ValueError, KeyError):
        if len(read_table(latest / "tables" / "provenance.parquet")):
            raise NothingMeasuredError(
                f"at least one of {len(scans)} scans must be readable, got none, and the latest results "
                f"({latest.name}) hold measurements. They stay as they were. Check that the folder of the images is "
                "there and mounted, then run again."
            )


def _told(latest: Path | None) -> set[str]:
    """Addresses of the failures that the latest results hold."""
    if latest is None:
        return set()
    with contextlib.suppress(OSError, ValueError, KeyError):
        provenance = read_table(latest / "tables" / "provenance.parquet")
        return set(provenance.loc[provenance["status"] == "failed", "digest"].astype(str))
    return set()
