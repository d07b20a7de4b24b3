"""Steps: read, call the science, write. Plain functions that run on a Dask worker and know nothing of Prefect.

A step takes JSON-able arguments and commits a record (``cohorts.store.records``); arrays never travel. A bad image ends
as a record with a reason; only a failure of the storage itself leaves the step as an exception.
"""

from __future__ import annotations

import errno
import hashlib
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cohorts.images.mask import ImageProblemError
from cohorts.store.records import Record, commit, load, output_folder, record_path, set_aside, write_outputs
from flows.cases.case import Case, OpenCase, Outcome, SharedWork, StepSettings, shared_by_participant, step_key
from flows.run.limits import Watch
from flows.run.methods import STEP_METHODS
from models.weights import WeightsMissingError

#: Storage errors that stop the run: nothing more can be committed.
STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}


class StorageFailedError(RuntimeError):
    """The output folder cannot be written; the run stops and loses nothing that was committed."""


def run_chunk(
    cases: Sequence[tuple[str, dict[str, Any]]], settings: dict[str, dict[str, Any]], root: str
) -> list[tuple[str, str, str]]:
    """Measure some cases one after the other; those already committed are left alone.

    What several measurements of one participant have in common is made once, so cases of one participant stand
    together.

    Parameters
    ----------
    cases : (measurement, ``Case.to_json``) of each
    settings : measurement -> ``StepSettings.to_json``
    root : output folder

    Returns
    -------
    (participant_id, measurement, status) of each case, in order.
    """
    step_settings = {measurement: StepSettings.from_json(body) for measurement, body in settings.items()}
    states = []
    opened = [Case.from_json(body) for _, body in cases]
    with Watch(Path(root)) as watch:
        for (measurement, _), case, shared in zip(cases, opened, shared_by_participant(opened), strict=True):
            chosen = step_settings[measurement]
            limit_s = STEP_METHODS[chosen.kind].cpu_limit_of(chosen.parameters)
            may_wait_s = chosen.limits.get("wall_limit_s", 0.0)
            with watch.limiting(step_key(case, chosen), case.participant_id, limit_s, may_wait_s):
                record = run_case(case, chosen, Path(root), shared)
            states.append((case.participant_id, measurement, record.status))
    return states


def run_case(case: Case, settings: StepSettings, root: Path, shared: SharedWork | None = None) -> Record:
    """Measure one case and commit its record; one that cannot be used is committed with its reason."""
    key = step_key(case, settings)
    with _storage(root):
        path = record_path(root, case.participant_id, key)
        done = load(path, STEP_METHODS[settings.kind].source.findings)
        if done is None:
            set_aside(path)
    if done is not None and done.status != "failed":
        return done
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        outcome = examine(case, settings, shared)
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
            payload=outcome.findings,
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


def examine(case: Case, settings: StepSettings, shared: SharedWork | None = None) -> Outcome:
    """Read and measure one case without keeping anything."""
    contents = {}
    for file in case.files:
        name = Path(file.path).name
        try:
            contents[file.modality] = Path(file.path).read_bytes()
        except OSError as error:
            detail = f"{name} must be readable, got: {error.strerror}. Put the file back or fix its permissions."
            return Outcome("failed", "unreadable_file", detail)
        if (found := hashlib.sha256(contents[file.modality]).hexdigest()) != file.sha256:
            detail = f"{name} must not change during a run, got {found[:12]} for {file.sha256[:12]}. Run again."
            return Outcome("failed", "input_changed", detail)
    try:
        source = STEP_METHODS[settings.kind].declared({**settings.parameters, **settings.limits})
        return source.measure(OpenCase(case, contents, settings.maps, shared or SharedWork()))
    except ImageProblemError as problem:
        return Outcome("excluded", problem.reason, str(problem))
    except WeightsMissingError as problem:  # no fault of the scan
        return Outcome("failed", "weights_unusable", str(problem))


def _peak_mib() -> float:
    """Peak resident memory of this process, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 1024 * 1024)
