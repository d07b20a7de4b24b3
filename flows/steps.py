"""Steps: read, call the science, write. Plain functions that run on a Dask worker and know nothing of Prefect.

A step takes JSON-able arguments and commits a record (``cohorts.records``); arrays never travel. A bad image ends as a
record with a reason; only a failure of the storage itself leaves the step as an exception.
"""

from __future__ import annotations

import errno
import faulthandler
import hashlib
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cohorts.images import ImageProblemError, LesionMask, read_mask
from cohorts.records import Record, StepKey, commit, digest_of, load, record_path
from models.template import LabelMap, labels_on_grid, load_label_map
from tasks.lesion import label_counts, measure_lesion

MEASURE_CODE = "measure/1"  # raise when the step's numbers can change
VASCULAR_MAP = "vascular"

#: A region cut off by more than this share at the border of the mask's grid cannot be scored.
LEAST_COVERAGE = 0.95
#: A lesion with less than this share inside the brain, or this near to it, lies in another space.
LEAST_SHARE_IN_BRAIN = 0.5
BRAIN_MARGIN_MM = 5.0
#: Storage errors that stop the run: nothing more can be committed.
STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}


class StorageFailedError(RuntimeError):
    """The output folder cannot be written; the run stops and loses nothing that was committed."""


@dataclass(frozen=True)
class MapReference:
    """A label map as settings name it: where to load it and the digest it must have."""

    location: str
    sha256: str


@dataclass(frozen=True)
class MeasureSettings:
    """Settings of the measure step: which label maps to count the lesion in."""

    maps: tuple[MapReference, ...]

    @property
    def sha256(self) -> str:
        """Digest; a map's location does not matter, its content does."""
        return digest_of(
            {
                "maps": sorted(reference.sha256 for reference in self.maps),
                "least_coverage": LEAST_COVERAGE,
                "least_share_in_brain": LEAST_SHARE_IN_BRAIN,
                "brain_margin_mm": BRAIN_MARGIN_MM,
            }
        )


@dataclass(frozen=True)
class Case:
    """One scan of one participant to measure; ``path`` is absolute on the worker's file system."""

    participant_id: str
    step: str
    path: str
    input_sha256: str


def measure_key(case: Case, settings: MeasureSettings) -> StepKey:
    """What the measurement of ``case`` depends on."""
    return StepKey(step=case.step, code=MEASURE_CODE, input_sha256=case.input_sha256, settings_sha256=settings.sha256)


def run_measure_chunk(
    cases: list[dict[str, str]], settings: list[dict[str, str]], root: str, wall_limit_s: float
) -> list[tuple[str, str]]:
    """Measure some cases one after the other; those already committed are left alone.

    Parameters
    ----------
    cases : ``Case`` as dicts
    settings : the label maps, ``MapReference`` as dicts
    root : output folder
    wall_limit_s : a case that takes longer ends this process, even where it hangs in native code: nothing else can stop
        it, and the cluster starts another worker

    Returns
    -------
    (participant_id, status) of each case, in order.
    """
    measure_settings = MeasureSettings(tuple(MapReference(**reference) for reference in settings))
    states = []
    for case in cases:
        faulthandler.dump_traceback_later(wall_limit_s, exit=True, file=2)
        try:
            record = run_measure(Case(**case), measure_settings, Path(root))
        finally:
            faulthandler.cancel_dump_traceback_later()
        states.append((record.participant_id, record.status))
    return states


def run_measure(case: Case, settings: MeasureSettings, root: Path) -> Record:
    """Measure one lesion mask and commit the record; a mask that cannot be used is committed with its reason."""
    key = measure_key(case, settings)
    with _storage(root):
        done = load(record_path(root, case.participant_id, key))
    if done is not None and done.status != "failed":
        return done
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        status, reason, detail, payload = examine(case, settings)
    except Exception as error:
        error.add_note(f"case {case.participant_id}, step {case.step}")
        raise
    record = Record(
        participant_id=case.participant_id,
        key=key,
        status=status,
        reason=reason,
        detail=detail,
        payload=payload,
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu_started,
        peak_mib=_peak_mib(),
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    with _storage(root):
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


def examine(case: Case, settings: MeasureSettings) -> tuple[str, str | None, str | None, dict[str, Any]]:
    """Read and measure one case without keeping anything.

    Returns
    -------
    (status, reason, detail, payload); reason and detail are None where the case is fine, else the payload is empty.
    """
    name = Path(case.path).name
    try:
        content = Path(case.path).read_bytes()
    except OSError as error:
        detail = f"{name} must be readable, got: {error.strerror}. Put the file back or mend its permissions."
        return "failed", "unreadable_file", detail, {}
    if (found := hashlib.sha256(content).hexdigest()) != case.input_sha256:
        detail = f"{name} must not change during a run, got {found[:12]} for {case.input_sha256[:12]}. Run again."
        return "failed", "input_changed", detail, {}
    try:
        return "ok", None, None, _payload(read_mask(content, name), name, settings)
    except ImageProblemError as problem:
        return "excluded", problem.reason, str(problem), {}


def _payload(mask: LesionMask, name: str, settings: MeasureSettings) -> dict[str, Any]:
    """Everything measured on one mask, as JSON-able numbers."""
    affine_bytes = mask.affine.astype("<f8").tobytes()
    counts = {}
    for reference in settings.maps:
        grid = _grid(reference, mask.shape, affine_bytes)
        if reference.location != VASCULAR_MAP and grid.least_coverage < LEAST_COVERAGE:
            raise ImageProblemError(
                "wrong_grid",
                f"{name} must cover every region of the label map, got {grid.least_coverage:.0%} of "
                f"{grid.least_covered} on a grid of {'x'.join(map(str, mask.shape))} voxels. Warp the mask to the "
                "template and keep its affine.",
            )
        lesion = label_counts(mask.indices, grid.flat, len(grid.n_region) - 1)
        counts[reference.sha256] = {
            "labels": grid.indices.tolist(),
            "n_region": grid.n_region[grid.indices].tolist(),
            "n_lesion": lesion[grid.indices].tolist(),
        }
        if reference.location == VASCULAR_MAP:
            in_brain = float(grid.near[mask.indices].mean())
            if in_brain < LEAST_SHARE_IN_BRAIN:
                raise ImageProblemError(
                    "lesion_outside_brain",
                    f"{name} must lie in the template's brain, got {in_brain:.0%} of the lesion within "
                    f"{BRAIN_MARGIN_MM:g} mm of it. The mask is in another space: warp it to the template.",
                )
    measures = measure_lesion(mask.indices, mask.shape, mask.affine)
    return {
        "scan": {
            "shape": list(mask.shape),
            "spacing_mm": [round(size, 6) for size in mask.spacing_mm],
            "orientation": mask.orientation,
            "voxel_volume_mm3": mask.voxel_volume_mm3,
        },
        "lesion": {name: getattr(measures, name) for name in measures.__dataclass_fields__},
        "counts": counts,
    }


@dataclass(frozen=True, eq=False)
class _Grid:
    """A label map on one grid: flat labels, what lies near any of them, region sizes and the least covered region."""

    flat: npt.NDArray[np.int16]
    near: npt.NDArray[np.bool_]
    indices: npt.NDArray[np.int64]
    n_region: npt.NDArray[np.int64]
    least_coverage: float
    least_covered: str


@lru_cache(maxsize=8)
def _grid(reference: MapReference, shape: tuple[int, int, int], affine_bytes: bytes) -> _Grid:
    """Put a label map on a grid, once per worker and grid."""
    label_map = _label_map(reference)
    affine = np.frombuffer(affine_bytes).reshape(4, 4)
    on_grid = labels_on_grid(label_map, shape, affine)
    flat = on_grid.labels.reshape(-1, order="F")
    reach = 1 + 2 * np.ceil(BRAIN_MARGIN_MM / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))).astype(int)
    near = ndimage.maximum_filter(on_grid.labels > 0, size=tuple(reach)).reshape(-1, order="F")
    table = label_map.table.labels
    n_region = np.bincount(flat, minlength=table[-1].index + 1)
    coverage = {label.index: on_grid.coverage[label.index] if n_region[label.index] else 0.0 for label in table}
    least = min(table, key=lambda label: coverage[label.index])
    return _Grid(
        flat=flat,
        near=near,
        indices=np.array([label.index for label in table]),
        n_region=n_region,
        least_coverage=coverage[least.index],
        least_covered=least.name,
    )


@lru_cache(maxsize=8)
def _label_map(reference: MapReference) -> LabelMap:
    """Load a label map and check that it is the one the run was planned with."""
    label_map = load_label_map(reference.location)
    if label_map.sha256 != reference.sha256:
        raise ValueError(
            f"label map {reference.location} must not change during a run, got {label_map.sha256[:12]} for "
            f"{reference.sha256[:12]}. Run again."
        )
    return label_map


def _peak_mib() -> float:
    """Peak resident memory of this process, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 1024 * 1024)
