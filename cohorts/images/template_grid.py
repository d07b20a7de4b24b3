"""Masks listed in a template's space whose grid is unlike any template's: most likely those of the scan itself.

A mask of the scan may overlap the template by chance, so that its place alone tells nothing. Its grid does: templates
have voxels of one size along axes that point right, front and up; scans have thin pixels and thick slices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from cohorts.folder.problems import Problem
from cohorts.folder.scans import FILE, Scan
from tasks.space.affines import voxel_sizes_mm

TEMPLATE = re.compile(r"MNI|ICBM|TEMPLATE|TALAIRACH", re.I)
#: Published brain templates have cubes of 0.5 to 4 mm; a quarter more along one axis is a grid that somebody resampled.
VOXELS_MM = (0.5, 4.0)
LARGEST_SIZE_RATIO = 1.25
#: Longest side of a published brain template: 233 mm of ICBM152 2009 (Fonov et al., NeuroImage 2009;47:S102). A field
#: of view of a scanner is longer, also where somebody resampled it to cubes. MNI305 comes in a cube of 256 mm.
LONGEST_SIDE_MM, IN_A_CUBE = 235.0, re.compile(r"305|fsaverage", re.I)
#: Sine of the angle between a template's axes and the world's.
LARGEST_SLANT = 0.02


def unlike_templates(scans: Iterable[Scan], folder: Path) -> list[Problem]:
    """Return one warning per image that is said to lie in a template and has another kind of grid.

    Parameters
    ----------
    scans : those that can be used
    folder : the cohort folder
    """
    problems = []
    for scan in scans:
        if scan.space is None or not TEMPLATE.search(scan.space):
            continue
        try:
            image: Any = nib.load(folder / scan.path)
            affine, zooms = np.asarray(image.affine, dtype=float), voxel_sizes_mm(image.affine)
        except (OSError, ValueError, AttributeError, nib.filebasedimages.ImageFileError):
            continue  # said where the image is read
        sides_mm = np.asarray(zooms) * image.shape[:3]
        found = _unlike(affine, np.asarray(zooms))
        if not found and sides_mm.max() > LONGEST_SIDE_MM and not IN_A_CUBE.search(scan.space):
            found = f"a grid of {' x '.join(f'{side:.0f}' for side in sides_mm)} mm, as of a scanner's field of view"
        if found:
            rule = f"must have a grid as templates have, as space {scan.space} says, got {found}"
            remedy = "Look whether it lies in the scan's own space: warp it to the template, or correct space."
            problems.append(
                Problem(
                    FILE, None, "path", scan.path, rule, remedy, "unlike_template", scan.participant_id, is_warning=True
                )
            )
    return problems


def _unlike(affine: Any, sizes_mm: Any) -> str:
    """What no template has; empty where all is as in one.

    >>> _unlike(np.diag([-0.45, 0.45, 5.0, 1.0]), np.array([0.45, 0.45, 5.0]))
    'voxels of 0.45 x 0.45 x 5 mm'
    >>> _unlike(np.diag([-2.0, 2.0, 2.0, 1.0]), np.array([2.0, 2.0, 2.0]))
    ''
    """
    written = " x ".join(f"{size:.3g}" for size in sizes_mm)
    low, high = VOXELS_MM
    if not (sizes_mm.min() >= low and sizes_mm.max() <= high and sizes_mm.max() <= LARGEST_SIZE_RATIO * sizes_mm.min()):
        return f"voxels of {written} mm"
    slant = np.sort(np.abs(affine[:3, :3] / sizes_mm), axis=0)[1].max()
    return f"axes turned by {np.degrees(np.arcsin(min(slant, 1.0))):.0f} degrees" if slant > LARGEST_SLANT else ""
