"""Affine registration of a scan to a template: the result, its figures of merit, and what makes it impossible.

*Fixed* is the template, *moving* the scan; ``fixed_to_moving`` maps a template point (world, RAS, mm) to the scan's
world. It brings a scan onto the template grid, and its inverse a label map onto the scan, in one resampling
(``tasks.space.resample``). Two profiles: ``gauss-newton`` (``tasks.registration.solver``, the default) and ``as-paper``
(``tasks.registration.as_paper``).

Only what cannot be a head's pose is refused here. Whether a pose is good enough for a study is decided from the stored
figures, by limits that a study can set (``tasks.quality.gates``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from tasks.arrays import Affine
from tasks.brain import Brain
from tasks.registration.agreement import tissue_agreement
from tasks.registration.solver import moving_levels, solve
from tasks.registration.target import Target
from tasks.space.working_grid import WorkingScan

Profile = Literal["gauss-newton", "as-paper"]
Rows = tuple[tuple[float, float, float, float], ...]

#: What no head can be: beyond, nothing is measured. A study's limits (``tasks.quality.gates``) lie well inside.
IMPOSSIBLE_DICE = 0.7  # two brains of one size laid beside each other by 20 mm
IMPOSSIBLE_COVERAGE = 0.2  # of the template brain in view: two regions of one level at most
IMPOSSIBLE_SCALES = (0.4, 1.8)  # half and one and a half of the range of adult brains
IMPOSSIBLE_CORRELATION = 0.1  # wrong poses of the phantoms have 0.15 to 0.3
OVERLAP_STEP = 2  # voxels of 2 mm: overlap is measured at every 4 mm


@dataclass(frozen=True)
class Registration:
    """How a scan lies to the template. Numbers are null where nothing was registered.

    Attributes
    ----------
    profile : str
    fixed_to_moving : four rows of four floats, world RAS mm -> world RAS mm
    brain_dice : float in [0, 1]
        Overlap of the scan's brain mask with the template's, inside the scan's field of view.
    tissue_correlation : float in [-1, 1]
        Correlation of the scan with the synthetic scan, of ``tasks.registration.agreement``; null for ``as-paper``.
    coverage : float in [0, 1]
        Share of the template brain inside the scan's field of view.
    scale_min, scale_max : float
        Smallest and largest stretch from template to scan.
    tilt_deg : float
        Angle of the rotation between the world axes of template and scan.
    n_steps : int
    reason : str
        Empty, or why there is no pose: a reason of the brain mask, ``registration_diverged``,
        ``field_of_view_too_small``, ``registration_scale_out_of_range``, ``registration_overlap_too_low``,
        ``registration_tissue_mismatch``.
    detail : str
        Every broken rule with its measured value and the remedy; empty without a reason.
    """

    profile: Profile
    fixed_to_moving: Rows | None
    brain_dice: float | None
    tissue_correlation: float | None
    coverage: float | None
    scale_min: float | None
    scale_max: float | None
    tilt_deg: float | None
    n_steps: int | None
    reason: str
    detail: str

    @property
    def is_usable(self) -> bool:
        """Whether there is a pose to measure by."""
        return not self.reason

    @property
    def matrix(self) -> Affine:
        """``fixed_to_moving`` as a (4, 4) array.

        Raises
        ------
        ValueError
            Nothing was registered.
        """
        if self.fixed_to_moving is None:
            raise ValueError(f"registration must have a transform, got none ({self.reason}). Leave the scan out.")
        return np.array(self.fixed_to_moving)

    @property
    def moving_to_fixed(self) -> Affine:
        """The inverse of ``matrix``: scan world -> template world, RAS, mm."""
        return np.asarray(np.linalg.inv(self.matrix))


def register(scan: WorkingScan, brain: Brain, target: Target) -> Registration:
    """Register a scan to the template by robust Gauss-Newton on its brain mask and its tissue contrast.

    The same input gives the same bytes, whatever the number of threads.

    Parameters
    ----------
    scan : WorkingScan
    brain : Brain
        The mask of the same scan; a mask with a reason is refused without registration.
    target : Target
        The template prepared for the scan's modality.
    """
    if brain.reason:
        return refusal("gauss-newton", brain.reason, brain.detail)
    moving = moving_levels(scan, brain.mask, target)
    fit = solve(moving, target, centroid_start(scan, brain, target))
    if not np.isfinite(fit.warp).all() or not np.isfinite(fit.cost):
        return refusal(
            "gauss-newton",
            "registration_diverged",
            "the scan must come to lie on the template, got no pose with enough of it in view. Check the scan by eye.",
        )
    agreement = tissue_agreement(moving, target, fit.warp)
    return judge("gauss-newton", fit.warp, (scan, brain, target), agreement, fit.n_steps)


def centroid_start(scan: WorkingScan, brain: Brain, target: Target) -> Affine:
    """The shift that carries the template brain's centroid to the scan's, (4, 4), fixed to moving."""
    start = np.eye(4)
    centroid = np.argwhere(brain.mask).mean(axis=0)
    start[:3, 3] = scan.affine[:3, :3] @ centroid + scan.affine[:3, 3] - target.centre
    return start


def judge(
    profile: Profile,
    warp: Affine,
    pair: tuple[WorkingScan, Brain, Target],
    tissue_correlation: float | None,
    n_steps: int,
) -> Registration:
    """Figures of merit of a transform, and whether it can be a head's pose.

    Parameters
    ----------
    profile : what made the transform
    warp : (4, 4) array, fixed to moving
    pair : the scan, its brain mask and the target
    tissue_correlation : null if not known
    n_steps : of the optimiser
    """
    scan, brain, target = pair
    dice, coverage = _overlap(warp, scan, brain.mask, target)
    scales = np.linalg.svd(warp[:3, :3], compute_uv=False)
    is_mirrored = bool(np.linalg.det(warp[:3, :3]) <= 0)
    left, _, right = np.linalg.svd(warp[:3, :3])
    tilt = float(np.degrees(Rotation.from_matrix(left @ right * (-1 if is_mirrored else 1)).magnitude()))
    low, high = IMPOSSIBLE_SCALES
    rules = (
        (
            "field_of_view_too_small",
            coverage < IMPOSSIBLE_COVERAGE,
            f"template_coverage must be >= {IMPOSSIBLE_COVERAGE:g} of the brain, got {coverage:.2f}. "
            "Scan the whole head.",
        ),
        (
            "registration_scale_out_of_range",
            is_mirrored or bool(scales[-1] < low or scales[0] > high),
            f"scale must be {low:g} to {high:g}, got {scales[-1]:.2f} to {scales[0]:.2f}. Check the voxel size.",
        ),
        (
            "registration_overlap_too_low",
            dice < IMPOSSIBLE_DICE,
            f"registration_dice must be >= {IMPOSSIBLE_DICE:g}, got {dice:.2f}. Check the scan by eye.",
        ),
        (
            "registration_tissue_mismatch",
            tissue_correlation is not None and tissue_correlation < IMPOSSIBLE_CORRELATION,
            f"tissue_correlation must be >= {IMPOSSIBLE_CORRELATION:g}, got {tissue_correlation or 0:.2f}. "
            "Check the modality and the scan by eye.",
        ),
    )
    broken = [(reason, text) for reason, is_broken, text in rules if is_broken]
    a, b, c, d = ((float(w), float(x), float(y), float(z)) for w, x, y, z in warp)
    return Registration(
        profile=profile,
        fixed_to_moving=(a, b, c, d),
        brain_dice=dice,
        tissue_correlation=tissue_correlation,
        coverage=coverage,
        scale_min=float(scales[-1]),
        scale_max=float(scales[0]),
        tilt_deg=tilt,
        n_steps=n_steps,
        reason=broken[0][0] if broken else "",
        detail=" ".join(text for _, text in broken),
    )


def refusal(profile: Profile, reason: str, detail: str) -> Registration:
    """A registration that was not made, with its reason."""
    return Registration(profile, None, None, None, None, None, None, None, None, reason, detail)


def _overlap(warp: Affine, scan: WorkingScan, mask: npt.NDArray[np.bool_], target: Target) -> tuple[float, float]:
    """Dice of both brain masks on the template grid inside the field of view, and the share of the brain in it."""
    coarse = target.brain[::OVERLAP_STEP, ::OVERLAP_STEP, ::OVERLAP_STEP]
    to_voxel = np.linalg.inv(scan.affine) @ warp @ target.affine @ np.diag([*[float(OVERLAP_STEP)] * 3, 1.0])
    axes = [np.arange(size, dtype=np.float32) for size in coarse.shape]
    is_inside = np.ones(coarse.shape, dtype=bool)
    index = np.zeros(coarse.shape, dtype=np.int32)
    for row, size in zip(to_voxel[:3].astype(np.float32), mask.shape, strict=True):
        position = (row[0] * axes[0] + row[3])[:, None, None] + (row[1] * axes[1])[:, None] + row[2] * axes[2]
        nearest = np.rint(position).astype(np.int32)
        is_inside &= (nearest >= 0) & (nearest < size)
        index = index * size + np.clip(nearest, 0, size - 1)
    moved = mask.ravel()[index] & is_inside
    seen = coarse & is_inside
    both = int((moved & seen).sum())
    return 2 * both / max(1, int(moved.sum()) + int(seen.sum())), float(seen.sum() / coarse.sum())
