"""Reading images: NIfTI lesion masks, checked as they are read, every refusal with its reason.

A mask is kept sparse (the flat indices of its lesion voxels): a lesion fills a thousandth of its grid. ``affine`` is
voxel -> world, RAS, mm. Flat indices run first axis fastest (Fortran order), as NIfTI stores them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cohorts.images.grid import FormRule, ImageRules, read_affine, read_shape, stored_values
from cohorts.images.nifti import ImageProblemError, decompressed, peek_header
from tasks.arrays import AnyArray, IntArray, Mask
from tasks.space.resample import Grid

__all__ = ["ImageProblemError", "LesionMask", "read_mask"]

#: Stored values this near to 0 or 1 are 0 or 1: a float mask holds 0.9999999997 after a scaled write.
BINARY_TOLERANCE = 1e-3
MASK_RULES = ImageRules(
    forms_reason="wrong_affine",
    numbers_reason="mask_values_not_binary",
    shape_remedy="Give the 3-D mask.",
    affine_remedy="Write the mask again with the affine of the image or template on which it lies.",
    shear_remedy=". Resample it to its template.",
    forms_remedy="Decide which is right and write the mask again.",
    numbers_remedy="Give a mask.",
)


@dataclass(frozen=True, eq=False)
class LesionMask(Grid):
    """A checked binary mask: its grid, and the flat Fortran-order indices of its voxels."""

    indices: IntArray

    @property
    def filled(self) -> Mask:
        """(X, Y, Z) bool array in the order of the file."""
        flat = np.zeros(int(np.prod(self.shape)), dtype=bool)
        flat[self.indices] = True
        return flat.reshape(self.shape, order="F")


def read_mask(content: bytes, name: str, *, forms: FormRule = "reject", may_be_empty: bool = False) -> LesionMask:
    """Read and check a NIfTI lesion mask.

    Parameters
    ----------
    content : the file's bytes
    name : the file's name, for messages; ``.gz`` decides that the bytes are compressed
    forms : what to do where qform and sform disagree: reject, or trust one of them
    may_be_empty : a mask without a voxel says that there is no lesion; otherwise it is refused

    Raises
    ------
    ImageProblemError
        With one of the reasons ``truncated_file``, ``unreadable_file``, ``image_too_large``, ``wrong_dimensions``,
        ``wrong_affine``, ``mask_not_finite``, ``mask_values_not_binary``, ``empty_mask``.
    """
    header = peek_header(content, name)
    x, y, z = read_shape(header, name, 3, MASK_RULES)
    affine, _ = read_affine(header, (x, y, z), name, MASK_RULES, forms)
    values = stored_values(header, decompressed(content, header, name), (x, y, z), name, MASK_RULES)
    return LesionMask((x, y, z), affine, _lesion_indices(values, header, name, may_be_empty=may_be_empty))


def _lesion_indices(values: AnyArray, header: Any, name: str, *, may_be_empty: bool) -> IntArray:
    """Flat indices of the lesion, after the check that only 0 and 1 occur."""
    slope, inter = header.get_slope_inter()
    slope, inter = (1.0 if slope is None else float(slope)), (0.0 if inter is None else float(inter))
    # with an intercept, stored zeros are not zero: look at every voxel
    candidates = np.arange(values.size) if inter else np.flatnonzero(values != 0)
    found = values[candidates].astype(np.float64) * slope + inter
    if not np.isfinite(found).all():
        raise ImageProblemError(
            "mask_not_finite",
            f"{name} must hold only 0 and 1, got {int((~np.isfinite(found)).sum())} voxels that are not numbers. "
            "Set them to 0.",
        )
    is_one = np.abs(found - 1) <= BINARY_TOLERANCE
    is_other = ~is_one & (np.abs(found) > BINARY_TOLERANCE)
    if is_other.any():
        others = np.unique(found[is_other])
        shown = ", ".join(f"{value:g}" for value in others[:5]) + (", ..." if len(others) > 5 else "")
        raise ImageProblemError(
            "mask_values_not_binary",
            f"{name} must hold only 0 and 1, got {shown} in {int(is_other.sum())} voxels. "
            "Save the lesion alone as 0 and 1.",
        )
    indices = candidates[is_one]
    if not len(indices) and not may_be_empty:
        raise ImageProblemError(
            "empty_mask",
            f"{name} must mark at least one voxel, got none. If the patient has no lesion on this scan, take the row "
            "out of scans.tsv.",
        )
    return np.asarray(indices, dtype=np.int64)
