"""A head of ellipsoids in the numbering of SynthSeg, small enough for a grid of a few thousand voxels."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from models.training.anatomies import CODE, Anatomy, tissues_of
from models.training.synthetic import grid

SIZE = (62, 74, 66)  # voxels of 1 mm
#: Grid of the tiny patients: 2 mm, every size a multiple of 4 and of 16.
SMALL_SHAPE = (32, 48, 32)
VENTRICLE_LEFT, VENTRICLE_RIGHT = 4, 43


def tiny_labels(seed: int = 0, *, ventricle_mm: float = 8.0) -> np.ndarray:
    """Labels of a head: skin, bone, fluid, cortex, white matter, deep nuclei, one ventricle on each side.

    The left ventricle is 1.5 times as wide as the right one. ``seed`` moves the nuclei a little.
    """
    rng = np.random.default_rng(seed)
    x, y, z = (axis - (size - 1) / 2 for axis, size in zip(np.indices(SIZE), SIZE, strict=True))
    radius = np.sqrt((x / 28) ** 2 + (y / 34) ** 2 + (z / 30) ** 2)
    labels = np.zeros(SIZE, np.int16)
    for limit, label in ((1.0, 511), (0.95, 515), (0.88, 24), (0.82, 3), (0.66, 2)):
        labels[radius < limit] = label
    right = x > 0
    labels[(labels == 3) & right] = 42
    labels[(labels == 2) & right] = 41
    for left_label, right_label, width in ((11, 50, 3.5), (12, 51, 4.5)):
        at = rng.uniform(-1, 1, 3) + np.array([11, 6, 0] if left_label == 11 else [14, -4, -2])
        near = np.sqrt((abs(x) - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2) < width
        labels[near] = np.where(right[near], right_label, left_label)
    for side, label, width in ((-1, VENTRICLE_LEFT, 1.5), (1, VENTRICLE_RIGHT, 1.0)):
        near = ((x - side * 5) / (0.45 * ventricle_mm * width)) ** 2 + (y / ventricle_mm) ** 2 + (z / 6) ** 2 < 1
        labels[near & (side * x > 0)] = label
    return labels


def tiny_affine() -> np.ndarray:
    """Voxel -> world of the labels, RAS, mm."""
    affine = np.eye(4)
    affine[:3, 3] = -(np.asarray(SIZE) - 1) / 2
    return affine


def write_labels(path: Path, seed: int = 0, *, ventricle_mm: float = 8.0) -> Path:
    """A label map as a file, stored with the left on high indices."""
    labels, affine = tiny_labels(seed, ventricle_mm=ventricle_mm), tiny_affine()
    stored = affine @ np.diag([-1.0, 1, 1, 1])
    stored[0, 3] = affine[0, 3] + SIZE[0] - 1
    image = nib.Nifti1Image(labels[::-1], stored)
    image.set_sform(stored, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def tiny_anatomy(name: str = "head_01", seed: int = 0, *, ventricle_mm: float = 8.0) -> Anatomy:
    """Prepared without any registration: template space is the head's own; region 5 right and 15 left are cortex."""
    codes = tissues_of(tiny_labels(seed, ventricle_mm=ventricle_mm))
    affine = tiny_affine()
    x = np.indices(SIZE)[0] + affine[0, 3]
    cortex = codes == CODE["grey"]
    regions = np.where(cortex & (x > 0), 5, np.where(cortex & (x < 0), 15, 0)).astype(np.uint8)
    index = np.indices(tuple(size // 2 for size in SIZE)) * 2.0
    to_template = index + affine[:3, 3].reshape(3, 1, 1, 1)
    ventricles_ml = float((codes == CODE["ventricle"]).sum()) / 1000
    return Anatomy(
        name,
        f"{seed:064d}",
        codes,
        {"classic": regions, "territory": regions},
        to_template.astype(np.float32),
        affine,
        ventricles_ml,
    )


def tiny_lesion(centre_mm=(18.0, 0.0, 0.0), radius_mm: float = 9.0) -> tuple[np.ndarray, np.ndarray]:
    """A ball as a mask in template space, and its affine."""
    affine = tiny_affine()
    world = np.indices(SIZE) + affine[:3, 3].reshape(3, 1, 1, 1)
    distance = np.sqrt(((world - np.reshape(centre_mm, (3, 1, 1, 1))) ** 2).sum(axis=0))
    return (distance < radius_mm).astype(np.float32), affine


def write_lesion(path: Path, centre_mm=(18.0, 0.0, 0.0), radius_mm: float = 9.0) -> Path:
    """The ball as a file."""
    mask, affine = tiny_lesion(centre_mm, radius_mm)
    image = nib.Nifti1Image(mask.astype(np.uint8), affine)
    image.set_sform(affine, 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def small_grid(monkeypatch) -> None:
    """Let patients be drawn on the small grid."""
    monkeypatch.setattr(grid, "GRID_SHAPE", SMALL_SHAPE)
