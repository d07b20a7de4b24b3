"""One phantom patient with every modality, as files on disk: what the conformance suite measures with every kind.

The head is turned, shifted and smaller than the template; the infarct lies on the patient's right.
"""

from __future__ import annotations

import atexit
import gzip
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np

from cohorts.phantom.native_scans import ADC_STORED
from flows.cases.case import SIDECAR_OF, Case, CaseFile
from tasks.space.affines import MIRROR
from tasks.space.resample import Grid, resample_labels
from tests.flows import scan_phantom
from tests.flows.sources import test_ctp_core as perfusion
from tests.flows.sources.threshold_program import VERSION, write_program
from tests.tasks.stored_order import stored


def _lesion():
    infarct = scan_phantom.infarct()
    return infarct.mask.astype(np.uint8), infarct.affine


def _diffusion(name, factor=1.0):
    series, affine = scan_phantom.diffusion()
    return getattr(series, name) * np.float32(factor), affine


def _drawn():
    """The infarct on the grid of the diffusion scan."""
    infarct = scan_phantom.infarct()
    grid = Grid(scan_phantom.MR_SHAPE, scan_phantom.diffusion()[1])
    to_template = np.linalg.inv(scan_phantom.POSE)
    return resample_labels(infarct.mask.astype(np.uint8), infarct.affine, grid, to_template), grid.affine


def _baseline():
    series = perfusion._phantom().series
    return series[..., :3].mean(axis=3), perfusion._phantom().affine


def _flow():
    phantom = perfusion._phantom()
    return np.where(phantom.truth.brain, phantom.truth.cbf, 0).astype(np.float32), phantom.affine


def _arrival():
    phantom = perfusion._phantom()
    late = phantom.truth.core | phantom.truth.penumbra
    arrival = np.where(late, 9.0, np.where(phantom.truth.brain, 2.0, 0.0))
    spread = np.random.default_rng(5).normal(0, 0.2, arrival.shape)  # of as many values as a map has, not of labels
    return (arrival + spread * phantom.truth.brain).astype(np.float32), phantom.affine


#: Modality -> (values, affine); the CT is of the perfusion's own head, so that a map of flow may use it.
IMAGES: dict[str, Callable] = {
    "lesion": _lesion,
    "dwi-lesion": _drawn,
    "ncct": _baseline,
    "cta": scan_phantom.cta,
    "dwi": lambda: _diffusion("b1000"),
    "adc": lambda: _diffusion("adc", ADC_STORED),
    "dwi-b0": lambda: _diffusion("b0"),
    "ctp": lambda: (perfusion._phantom().series, perfusion._phantom().affine),
    "cbf": _flow,
    "tmax": _arrival,
}
#: What a kind is shown in its place: the perfusion's own head shows no infarct before contrast agent comes.
IMAGES_OF: dict[tuple[str, str], Callable] = {("ncct_overlap", "ncct"): scan_phantom.ct}


@cache
def _program():
    """A program that others might sell, kept for the session."""
    path = write_program(Path(tempfile.mkdtemp(prefix="aspects-test-")) / "threshold")
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    return {
        "command": [str(path), "{dwi}", "{out}", "180"],
        "version": [str(path), "--version"],
        "version_text": VERSION,
        "mask": "lesion.nii",
    }


#: Kind -> what a study must declare of it.
NEEDED: dict[str, Callable] = {"command": _program}
SIDECARS = {"ctp": perfusion.TIMED, "cbf": {"Units": "ml/100 g/min"}}


@cache
def image(modality, kind=""):
    """Values and affine."""
    return IMAGES_OF.get((kind, modality), IMAGES[modality])()


def as_it_is(values, affine):
    """Unchanged."""
    return values, affine


def mirrored(values, affine):
    """The scan of the mirrored patient."""
    return values, MIRROR @ affine


def reordered(values, affine):
    """The same voxels at the same places, stored with the axes in another order and direction."""
    order, flips = (2, 0, 1), (True, False, True)
    back, cut = stored(values.shape[:3], order, flips)
    moved = values.transpose(*order, *range(3, values.ndim))[cut]
    return np.ascontiguousarray(moved), affine @ back


def nifti(values, affine):
    """Bytes of a compressed file, always the same."""
    kind = np.uint8 if values.dtype == np.uint8 else np.float32 if np.abs(values).max() < 5 else np.int16
    if values.dtype == np.float32 and kind is np.int16 and values.max() < 200:  # maps of flow
        kind = np.float32
    stored_values = np.rint(values).astype(kind) if kind is np.int16 else values.astype(kind)
    file = nib.Nifti1Image(stored_values, affine)
    file.set_qform(affine, 1)
    file.set_sform(affine, 1)
    return gzip.compress(file.to_bytes(), mtime=0)


def case_of(source, folder, change=as_it_is, content=None):
    """A case of one source with all of its scans that the patient has; ``content`` replaces the first file's bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for modality in source.scans:
        if modality in IMAGES:
            body = nifti(*change(*image(modality, source.kind)))
            body = content(body) if content is not None and not files else body
            files.append(_written(folder, f"sub-1_{modality}.nii.gz", modality, body))
    sidecar = SIDECARS.get(source.scans[0])
    if source.reads_sidecar and sidecar is not None:
        body = json.dumps(sidecar).encode()
        files.append(_written(folder, f"sub-1_{source.scans[0]}.json", SIDECAR_OF.format(source.scans[0]), body))
    return Case("sub-1", source.step, tuple(files))


def _written(folder, name, modality, body):
    (folder / name).write_bytes(body)
    return CaseFile(modality, str(folder / name), hashlib.sha256(body).hexdigest())
