"""Anatomies, lesion masks and scans of patients as they are found.

Whose each is, its digests and its volume, or why it cannot be used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt

from cohorts.images.grid import ImageRules, read_affine, read_shape, stored_values
from cohorts.images.nifti import ImageProblemError, decompressed, peek_header
from models.anatomy.template import load_label_map
from models.training.anatomies import tissues_of
from tasks.arrays import Affine, AnyArray, Mask
from tasks.space.boxes import occupied

#: A patient is known by the scan, and the drawn is the lesion on it: compared for leaks, and no item of its own.
Kind = Literal["anatomy", "lesion", "patient", "drawn"]
SPACING_TOLERANCE = 0.05  # mm, of a label map of 1 mm
LEAST_BRAIN_ML = 50.0  # less is a part of a head, or another numbering
MOST_LESION_ML = 1000.0  # half of the template's brain has 943 ml; of 1,022 public masks (SOOP) the largest has 860 ml
LEAST_INSIDE = 0.5  # share of a lesion on the template's grid, which reaches beyond its brain on every side but below
IMAGE_RULES = ImageRules(
    forms_reason="wrong_affine",
    numbers_reason="no_plain_numbers",
    shape_remedy="Give one 3-D image.",
    affine_remedy="Convert it again.",
    shear_remedy=". Resample it.",
    forms_remedy="Convert it again.",
    numbers_remedy="Give an image of labels.",
)


@dataclass(frozen=True)
class Item:
    """An anatomy, a lesion mask or a patient as it was found.

    Attributes
    ----------
    kind : as above
    name : of the file, without its ending; of a patient the participant
    participant : whose it is: ``sub-XXX`` of the name, or the whole name
    sha256 : of the file
    pixels, mirrored : of the voxels in RAS order, as they are and left-right exchanged; empty where all are 0
    volume_ml : of both lateral ventricles, or of the lesion
    """

    kind: Kind
    name: str
    participant: str
    sha256: str
    pixels: str
    mirrored: str
    volume_ml: float


def participant_of(name: str) -> str:
    """Whose file it is.

    >>> participant_of("sub-17_space-MNI152_mask"), participant_of("training_seg_01")
    ('sub-17', 'training_seg_01')
    """
    return name.split("_")[0] if name.startswith("sub-") else name


def file_stem(path: Path) -> str:
    """Name of an image without its ending."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def voxel_digests(values: AnyArray) -> tuple[str, str]:
    """sha256 of integer values in RAS order, as they are and left-right exchanged; both empty where all are 0.

    The box around what is not 0 is digested with its place and the array's shape: equal where the arrays are equal,
    and a hundred times faster.

    Parameters
    ----------
    values : (X, Y, Z) array, X from left to right
    """
    whole = np.asarray(values)
    is_set = whole != 0 if whole.dtype.kind in "iub" else np.abs(whole) > 0.5
    seen = occupied(is_set)
    if not len(seen[0]):
        return "", ""
    low, high = [int(at[0]) for at in seen], [int(at[-1]) + 1 for at in seen]
    part = whole[tuple(slice(first, last) for first, last in zip(low, high, strict=True))]
    box = np.rint(part).astype(np.int32)
    mirrored_low = [whole.shape[0] - high[0], *low[1:]]
    return _digest(whole.shape, low, box), _digest(whole.shape, mirrored_low, box[::-1])


def image_digests(values: AnyArray, affine: Affine) -> tuple[str, str]:
    """As ``voxel_digests``, of an image of any unit and order of axes.

    Values are scaled by a power of two so that the largest is between 2^14 and 2^15: exact, and fine enough for images
    whose values are all below 1.

    Parameters
    ----------
    values : (X, Y, Z) array
    affine : (4, 4) float array, voxel -> world, RAS, mm
    """
    turn = nib.orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
    turned = np.asarray(nib.orientations.apply_orientation(np.asarray(values, np.float64), turn))  # type: ignore[no-untyped-call]
    largest = float(np.abs(turned).max()) if turned.size else 0.0
    return voxel_digests(np.ldexp(turned, 15 - int(np.frexp(largest)[1])) if largest else turned)


def _digest(shape: Sequence[int], low: Sequence[int], box: npt.NDArray[np.int32]) -> str:
    """Digest of an array that is 0 around a box."""
    found = hashlib.sha256(repr((tuple(shape), list(low), box.shape)).encode())
    found.update(np.ascontiguousarray(box).tobytes())
    return found.hexdigest()


def examine_anatomy(path: Path) -> Item:
    """Look at a label map before it is prepared.

    Raises
    ------
    ValueError
        It is no label map of a head at 1 mm in the known numbering.
    """
    labels, affine, sha256 = _read(path)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(spacing - 1).max() > SPACING_TOLERANCE:
        raise ValueError(f"voxels must be 1 mm, got {' x '.join(f'{one:g}' for one in spacing)} mm. Resample it.")
    codes = tissues_of(labels)
    values = np.rint(labels)
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    brain_ml = float(((codes > 0) & (values < 500) & (values != 24)).sum()) * voxel_ml
    if brain_ml < LEAST_BRAIN_ML:
        raise ValueError(f"the brain must be at least {LEAST_BRAIN_ML:g} ml, got {brain_ml:.0f} ml. Leave it out.")
    ventricles_ml = float(np.isin(values, (4, 43)).sum()) * voxel_ml
    name = file_stem(path)
    pixels, mirrored = voxel_digests(labels)
    return Item("anatomy", name, participant_of(name), sha256, pixels, mirrored, ventricles_ml)


def examine_lesion(path: Path) -> Item:
    """Look at a lesion mask; one without a voxel has volume 0.

    Raises
    ------
    ValueError
        It is no mask of one participant in template space: the name, the values, the place in space or the volume.
    """
    name = file_stem(path)
    if not name.startswith("sub-") or participant_of(name) == "sub-":
        raise ValueError(f"a mask must be named sub-XXX..., got {path.name}. Rename it.")
    values, affine, sha256 = _read(path)
    is_lesion = values != 0
    if not np.isfinite(values).all() or (is_lesion.any() and np.ptp(values[is_lesion]) > 0):
        raise ValueError(f"a mask must hold 0 and one other value, got {len(np.unique(values))} values. Threshold it.")
    volume_ml = float(np.count_nonzero(is_lesion)) * float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    if volume_ml > MOST_LESION_ML:
        raise ValueError(
            f"a lesion must be at most {MOST_LESION_ML:g} ml, got {volume_ml:.0f} ml. Check its voxel size, or give "
            "the lesion and not the brain."
        )
    if volume_ml and (inside := _share_inside(is_lesion, affine)) < LEAST_INSIDE:
        raise ValueError(
            f"at least {LEAST_INSIDE:.0%} of a lesion must lie in template space, got {inside:.0%}. Register it to the "
            "template (MNI152), or write its affine again."
        )
    pixels, mirrored = voxel_digests(is_lesion)
    return Item("lesion", name, participant_of(name), sha256, pixels, mirrored, volume_ml)


def _share_inside(is_lesion: Mask, affine: Affine) -> float:
    """Share of a lesion's voxels whose centres lie on the template's grid."""
    template = load_label_map("classic")
    to_template = np.linalg.solve(template.affine, affine)
    voxels = np.argwhere(is_lesion) @ to_template[:3, :3].T + to_template[:3, 3]
    return float(np.all((voxels >= -0.5) & (voxels < np.asarray(template.labels.shape) - 0.5), axis=1).mean())


def _read(path: Path) -> tuple[AnyArray, npt.NDArray[np.float64], str]:
    """A three-dimensional image in RAS order, its affine, and the sha256 of its file, read as a cohort's images are.

    Raises
    ------
    ValueError
        The file cannot be read, or is no whole image with a place in space.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"it must be readable, got: {error.strerror}. Put it back or fix its permissions.") from error
    try:
        header = peek_header(content, path.name)
        shape = read_shape(header, path.name, 3, IMAGE_RULES)
        affine, _ = read_affine(header, shape, path.name, IMAGE_RULES, "sform")
        stored = stored_values(header, decompressed(content, header, path.name), shape, path.name, IMAGE_RULES)
    except ImageProblemError as error:
        raise ValueError(f"it {str(error).removeprefix(path.name).strip()}") from error
    if len(header.get_data_shape()) != 3:  # nothing else that reads it drops an axis
        raise ValueError(f"it must be a 3-D image, got {'x'.join(map(str, header.get_data_shape()))}. Give one volume.")
    if not np.isfinite(header["scl_slope"]):
        raise ValueError(f"its scl_slope must be a number, got {header['scl_slope']:g}. Convert it again.")
    slope, inter = header.get_slope_inter()
    is_plain = slope is None or (slope, inter) == (1, 0)
    values = (stored if is_plain else stored * float(slope) + float(inter)).reshape(shape, order="F")
    turn = nib.orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
    turned = np.asarray(nib.orientations.apply_orientation(values, turn))  # type: ignore[no-untyped-call]
    in_ras = affine @ nib.orientations.inv_ornt_aff(turn, shape)  # type: ignore[no-untyped-call]
    return turned, np.asarray(in_ras, dtype=np.float64), hashlib.sha256(content).hexdigest()
