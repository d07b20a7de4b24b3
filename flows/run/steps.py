"""Steps: read, call the science, write. Plain functions that run on a Dask worker and know nothing of Prefect.

A step takes JSON-able arguments and commits a record (``cohorts.store.records``); arrays never travel. A bad image ends
as a record with a reason; only a failure of the storage itself leaves the step as an exception.
"""

from __future__ import annotations

import errno
import faulthandler
import hashlib
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cohorts.images.mask import ImageProblemError
from cohorts.store.records import Record, commit, load, output_folder, record_path, write_outputs
from flows.sources.ctp_core import examine_cbf_map, examine_ctp_core
from flows.sources.dwi_threshold import examine_density_ratio, examine_dwi_threshold
from flows.sources.interface import Case, Outcome, StepSettings, step_key
from flows.sources.mask import examine_mask

Examine = Callable[[Case, Mapping[str, bytes], StepSettings], Outcome]

EXAMINE: Mapping[str, Examine] = {
    "mask": examine_mask,
    "density_ratio": examine_density_ratio,
    "dwi_threshold": examine_dwi_threshold,
    "ctp_core": examine_ctp_core,
    "cbf_map": examine_cbf_map,
}
#: Storage errors that stop the run: nothing more can be committed.
STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}


class StorageFailedError(RuntimeError):
    """The output folder cannot be written; the run stops and loses nothing that was committed."""


def run_chunk(
    cases: list[dict[str, Any]], settings: dict[str, Any], root: str, wall_limit_s: float
) -> list[tuple[str, str]]:
    """Measure some cases one after the other; those already committed are left alone.

    Parameters
    ----------
    cases : ``Case.to_json`` of each
    settings : ``StepSettings.to_json``
    root : output folder
    wall_limit_s : a case that takes longer ends this process, even where it hangs in native code: nothing else can stop
        it, and the cluster starts another worker

    Returns
    -------
    (participant_id, status) of each case, in order.
    """
    step_settings = StepSettings.from_json(settings)
    states = []
    for case in cases:
        faulthandler.dump_traceback_later(wall_limit_s, exit=True, file=2)
        try:
            record = run_case(Case.from_json(case), step_settings, Path(root))
        finally:
            faulthandler.cancel_dump_traceback_later()
        states.append((record.participant_id, record.status))
    return states


def run_case(case: Case, settings: StepSettings, root: Path) -> Record:
    """Measure one case and commit its record; one that cannot be used is committed with its reason."""
    key = step_key(case, settings)
    with _storage(root):
        done = load(record_path(root, case.participant_id, key))
    if done is not None and done.status != "failed":
        return done
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        outcome = examine(case, settings)
    except Exception as error:
        error.add_note(f"case {case.participant_id}, step {case.step}")
        raise
    with _storage(root):
        folder = output_folder(case.participant_id, key)
        record = Record(
            participant_id=case.participant_id,
            key=key,
            status=outcome.status,
            reason=outcome.reason,
            detail=outcome.detail,
            payload=outcome.payload,
            outputs=write_outputs(root, folder, outcome.files),
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - cpu_started,
            peak_mib=_peak_mib(),
            finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        commit(root, record)
    return record


@contextmanager
def _storage(root: Path) -> Iterator[None]:
    """Tell a failure of the output folder, which stops the run, from one of a case."""
    try:
        yield
    except OSError as error:
        raise StorageFailedError(
            f"the output folder {root} must be writable, got: {error.strerror}. Free space or choose another "
            "folder, then run again; what is committed stays."
        ) from error


def examine(case: Case, settings: StepSettings) -> Outcome:
    """Read and measure one case without keeping anything."""
    contents = {}
    for file in case.files:
        name = Path(file.path).name
        try:
            contents[file.modality] = Path(file.path).read_bytes()
        except OSError as error:
            detail = f"{name} must be readable, got: {error.strerror}. Put the file back or mend its permissions."
            return Outcome("failed", "unreadable_file", detail)
        if (found := hashlib.sha256(contents[file.modality]).hexdigest()) != file.sha256:
            detail = f"{name} must not change during a run, got {found[:12]} for {file.sha256[:12]}. Run again."
            return Outcome("failed", "input_changed", detail)
    try:
        return EXAMINE[settings.kind](case, contents, settings)
    except ImageProblemError as problem:
        return Outcome("excluded", problem.reason, str(problem))


def _peak_mib() -> float:
    """Peak resident memory of this process, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 1024 * 1024)
