"""Voxels of a stack: stored values, rescaled, padding marked; and what dcm2niix makes of the same files.

dcm2niix runs on a folder of links with neutral names, writes to a folder that is deleted, and its words are not kept:
they may quote the header. What it says counts only after the check against our own reading.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dcm2niix
import nibabel as nib
import numpy as np
import pydicom
from pydicom.pixels.utils import pixel_array

from cohorts.dicom.attributes import number_of
from cohorts.dicom.headers import Frame, silent_pydicom
from cohorts.dicom.mosaic import tiles_of
from cohorts.images.mask import ImageProblemError
from cohorts.images.padding import connected_to_edge
from tasks.arrays import AnyArray, Float32Array, FloatArray, Mask

#: Ten times what 1,000 slices took, so that only a hang ends here.
DCM2NIIX_TIMEOUT_S = 300.0


@dataclass(frozen=True, eq=False)
class Slices:
    """Voxels of N slices: ``values`` (N, rows, columns) after rescale, ``stored`` before, ``is_padding`` mask.

    ``is_padding`` marks what the header declares, wherever it lies; ``is_outside`` the part of it that comes in from
    the edge of the slice.
    """

    values: Float32Array
    stored: Float32Array
    is_padding: Mask

    @property
    def is_outside(self) -> Mask:
        """Padding around the image, (N, rows, columns): the value itself may be real further in, as 0 HU of fluid."""
        return np.stack([connected_to_edge(one) for one in self.is_padding])


def read_slices(frames: Sequence[Frame]) -> Slices:
    """Read the voxels of frames, in their order.

    Raises
    ------
    ImageProblemError
        ``pixels_unreadable``: a slice has no readable pixels, or not those that its header announces.
    """
    files: dict[Path, tuple[AnyArray, pydicom.Dataset]] = {}
    stored = np.empty((len(frames), *frames[0].shape), dtype=np.float32)
    values, is_padding = np.empty_like(stored), np.zeros(stored.shape, dtype=np.bool_)
    for place, frame in enumerate(frames):
        if frame.path not in files:
            files = {frame.path: _decode(frame)}  # one at a time: frames of one file follow each other
        content, dataset = files[frame.path]
        image = content[frame.index] if content.ndim == 3 else content
        if frame.tiles_per_side and image.shape == tuple(size * frame.tiles_per_side for size in frame.shape):
            image = tiles_of(image, frame.tiles_per_side)[frame.index]
        if image.shape != frame.shape:
            raise _unreadable("pixels must fill the matrix that the header announces")
        stored[place] = image
        is_padding[place] = _padding(image, dataset)
        slope, intercept = (1.0 if frame.slope is None else frame.slope), frame.intercept or 0.0
        values[place] = image * np.float32(slope) + np.float32(intercept)
    return Slices(values, stored, is_padding)


def content_of(frames: Sequence[Frame]) -> str:
    """A digest of what the slices of one file show, where and when; of the file's bytes where pixels cannot be read."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(repr(replace(frame, path=Path())).encode())
    try:
        pixels = read_slices(frames).stored.tobytes() if min(frames[0].shape) else b""
    except ImageProblemError:
        pixels = b""
    digest.update(pixels or frames[0].path.read_bytes())
    return digest.hexdigest()


def convert_with_dcm2niix(paths: Sequence[Path]) -> tuple[Float32Array, FloatArray] | None:
    """Convert files that should be one volume.

    Returns
    -------
    (values (X, Y, Z) float32, affine RAS mm) in the closest canonical orientation; None where dcm2niix failed, hung, or
    made anything but one plain volume.
    """
    with tempfile.TemporaryDirectory(prefix="aspects-") as folder:
        source, target = Path(folder) / "in", Path(folder) / "out"
        source.mkdir()
        target.mkdir()
        for number, path in enumerate(paths):
            (source / f"{number:05d}.dcm").symlink_to(path.resolve())
        # -p n: values as the header rescales them, not Philips' own ("precise") ones, which are of another scale
        arguments = ["-b", "n", "-z", "n", "-x", "i", "-p", "n", "-f", "volume", "-o", str(target), str(source)]
        try:
            done = subprocess.run(
                [dcm2niix.bin, *arguments], capture_output=True, timeout=DCM2NIIX_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        written = [path for path in target.iterdir() if path.suffix in (".nii", ".gz")]
        if done.returncode or len(written) != 1:
            return None
        try:
            image: Any = nib.as_closest_canonical(nib.load(written[0]))  # type: ignore[no-untyped-call]
            values = np.asarray(image.dataobj, dtype=np.float32)
        except Exception:  # colour, or cut short: nothing that can be used
            return None
    if values.ndim != 3:
        return None
    return values, np.asarray(image.affine, dtype=np.float64)


def _decode(frame: Frame) -> tuple[AnyArray, pydicom.Dataset]:
    """Stored values of one file: (rows, columns) or (frames, rows, columns)."""
    with silent_pydicom():
        try:
            dataset = pydicom.dcmread(frame.path, force=True)
            content = np.asarray(pixel_array(dataset, raw=True))
        except Exception:  # no pixels, or a compression that pydicom cannot undo here; the message may quote the header
            return _decode_with_dcm2niix(frame), pydicom.Dataset()
    return content, dataset


def _decode_with_dcm2niix(frame: Frame) -> AnyArray:
    """Stored values of a single-frame file in a compression that dcm2niix knows and pydicom does not."""
    converted = None if frame.index else convert_with_dcm2niix([frame.path])
    if converted is None:
        raise _unreadable("pixels must be readable by pydicom or dcm2niix")
    values, affine = converted
    place, cosines = np.array(frame.position or ()), np.array(frame.orientation or ())
    spacing = frame.spacing_mm or (1.0, 1.0)
    rows, columns = np.indices(frame.shape)
    points = place + rows[..., None] * cosines[3:] * spacing[0] + columns[..., None] * cosines[:3] * spacing[1]
    points[..., :2] *= -1  # LPS to RAS
    indices = np.round((points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).astype(int)
    if (indices < 0).any() or (indices >= values.shape).any():
        raise _unreadable("pixels must lie where the header says")
    rescaled = values[tuple(np.moveaxis(indices, -1, 0))] - (frame.intercept or 0.0)
    return np.asarray(np.round(rescaled / (frame.slope or 1.0)))


def _padding(image: AnyArray, dataset: pydicom.Dataset) -> Mask:
    """Voxels of a value that the header declares to be padding."""
    value = number_of(dataset, "PixelPaddingValue")
    if value != value:
        return np.zeros(image.shape, dtype=np.bool_)
    limit = number_of(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, limit)) if limit == limit else (value, value)
    if dataset.get("PixelRepresentation") == 1 and low > 32767:  # written as unsigned, meant as signed
        low, high = low - 65536, high - 65536
    return np.asarray((image >= low) & (image <= high))


def _unreadable(rule: str) -> ImageProblemError:
    """Refuse pixels without quoting anything of the file."""
    return ImageProblemError("pixels_unreadable", f"{rule}. Export the series again, uncompressed.")
