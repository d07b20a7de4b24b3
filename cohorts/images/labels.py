"""Reading label images: NIfTI volumes whose whole numbers name regions, checked as they are read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohorts.images.grid import FormRule, ImageRules, read_affine, read_shape, stored_values
from cohorts.images.nifti import ImageProblemError, decompressed, peek_header
from tasks.space.resample import Grid

#: A label stored through a scale factor is still that label.
WHOLE_TOLERANCE = 1e-3
LABEL_RULES = ImageRules(
    forms_reason="forms_disagree",
    numbers_reason="labels_not_whole",
    shape_remedy="Give one 3-D image in which every region has a number.",
    affine_remedy="Write it again with the affine of the scan on which it was drawn.",
    shear_remedy=". Save it on the grid of its scan.",
    forms_remedy="Decide which is right and write it again.",
    numbers_remedy="Give an image of labels.",
)


@dataclass(frozen=True, eq=False)
class LabelImage(Grid):
    """A checked label image: its grid, and (X, Y, Z) int16 labels in the order of its file, 0 = no label."""

    labels: npt.NDArray[np.int16]


def read_labels(content: bytes, name: str, *, forms: FormRule = "reject") -> LabelImage:
    """Read and check a NIfTI label image.

    Parameters
    ----------
    content : the file's bytes
    name : the file's name, for messages; ``.gz`` decides that the bytes are compressed
    forms : what to do where qform and sform disagree: reject, or trust one of them

    Raises
    ------
    ImageProblemError
        With one of the reasons ``truncated_file``, ``unreadable_file``, ``image_too_large``, ``wrong_dimensions``,
        ``wrong_affine``, ``forms_disagree``, ``labels_not_whole``.
    """
    header = peek_header(content, name)
    x, y, z = read_shape(header, name, 3, LABEL_RULES)
    affine, _ = read_affine(header, (x, y, z), name, LABEL_RULES, forms)
    stored = stored_values(header, decompressed(content, header, name), (x, y, z), name, LABEL_RULES)
    slope, inter = header.get_slope_inter()
    factor, shift = 1.0 if slope is None else float(slope), 0.0 if inter is None else float(inter)
    is_plain = stored.dtype.kind in "iu" and (factor, shift) == (1, 0)
    values = stored if is_plain else stored * factor + shift
    whole = values if is_plain else np.rint(values)
    is_wrong = ~((np.abs(values - whole) <= WHOLE_TOLERANCE) & (whole >= 0) & (whole <= np.iinfo(np.int16).max))
    if is_wrong.any():
        shown = ", ".join(f"{value:g}" for value in np.unique(values[is_wrong])[:5])
        raise ImageProblemError(
            "labels_not_whole",
            f"{name} must hold whole numbers from 0 to {np.iinfo(np.int16).max}, got {shown} in "
            f"{int(is_wrong.sum())} voxels. Save the labels themselves; resample them by nearest neighbour.",
        )
    return LabelImage((x, y, z), affine, whole.astype(np.int16).reshape((x, y, z), order="F"))
