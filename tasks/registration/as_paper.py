"""The profile ``as-paper``: two rigid and two affine rounds with SimpleITK, Mattes mutual information, one thread.

The order and the kinds of the rounds are those of the 3D U-Net paper (DWI, Brain Communications, PMC12971011, "Image
pre-processing and registration"); it names neither metric nor optimiser, so those are chosen here: each kind is run
coarse, then fine.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813

from tasks.arrays import Affine, Float32Array
from tasks.brain import Brain
from tasks.registration.affine import Registration, centroid_start, judge, refusal
from tasks.registration.target import Target
from tasks.space.affines import LPS_FROM_RAS, voxel_sizes_mm
from tasks.space.working_grid import WorkingScan, to_working_grid

#: Kind of the round, shrink factor and smoothing (mm) of the fixed image.
ROUNDS = (("rigid", 4, 4.0), ("rigid", 2, 2.0), ("affine", 2, 2.0), ("affine", 1, 1.0))
HISTOGRAM_BINS = 32
MAXIMUM_STEPS = 100
SAMPLED_SHARE = 0.2  # of the voxels
SAMPLING_SEED = 1  # ITK shifts its regular samples at random, by the clock unless told otherwise
PERCENTILES = (0.5, 99.5)  # of the brain: values beyond are clipped, so that no bright voxel takes all bins


def register_as_paper(
    scan: WorkingScan,
    brain: Brain,
    target: Target,
    t1: Float32Array,
    t1_affine: Affine,
) -> Registration:
    """Register a brain-extracted scan to the template's T1 by two rigid and two affine rounds.

    Parameters
    ----------
    scan : WorkingScan
    brain : Brain
    target : Target
        Gives the start (centroid on centroid) and the figures of merit.
    t1 : (X, Y, Z) float array, the template's T1, 0 outside the brain
    t1_affine : (4, 4) float array, voxel -> world, RAS, mm

    References
    ----------
    3D U-Net on DWI and severity, Brain Communications, PMC12971011.
    """
    if brain.reason:
        return refusal("as-paper", brain.reason, brain.detail)
    fixed_scan = to_working_grid(t1, t1_affine, (0.0, float(t1.max())))
    fixed = _itk_image(fixed_scan.values, fixed_scan.affine)
    low, high = np.percentile(scan.values[brain.mask], PERCENTILES)
    span = max(float(high - low), 1e-6)
    shown = np.where(brain.mask, 0.5 + np.clip((scan.values - low) / span, 0, 1), 0)  # 0.5: an edge to the background
    moving = _itk_image(shown.astype(np.float32), scan.affine)
    start = LPS_FROM_RAS @ centroid_start(scan, brain, target) @ LPS_FROM_RAS
    rigid = sitk.Euler3DTransform()
    rigid.SetCenter((LPS_FROM_RAS[:3, :3] @ target.centre).tolist())
    rigid.SetTranslation(start[:3, 3].tolist())
    affine = sitk.AffineTransform(3)
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # the metric sums per thread: more would not repeat
    try:
        n_steps = _run_rounds(fixed, moving, rigid, affine)
    except RuntimeError as error:  # ITK: all samples map outside the moving image
        return refusal(
            "as-paper",
            "registration_diverged",
            f"the scan must come to lie on the template, got {str(error).strip().splitlines()[-1]} "
            "Check the scan by eye.",
        )
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    return judge("as-paper", _world_matrix(affine), (scan, brain, target), None, n_steps)


def _run_rounds(
    fixed: sitk.Image, moving: sitk.Image, rigid: sitk.Euler3DTransform, affine: sitk.AffineTransform
) -> int:
    """The four rounds, each from where the last one ended; the number of steps in all."""
    n_steps = 0
    for index, (kind, shrink, sigma_mm) in enumerate(ROUNDS):
        if kind == "affine" and ROUNDS[index - 1][0] == "rigid":
            affine.SetCenter(rigid.GetCenter())
            affine.SetMatrix(rigid.GetMatrix())
            affine.SetTranslation(rigid.GetTranslation())
        method = _method(shrink, sigma_mm)
        method.SetInitialTransform(affine if kind == "affine" else rigid, inPlace=True)
        method.Execute(fixed, moving)
        n_steps += method.GetOptimizerIteration()
    return n_steps


def _method(shrink: int, sigma_mm: float) -> sitk.ImageRegistrationMethod:
    """One round: Mattes on a regular sample, gradient descent with line search."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED_SHARE, SAMPLING_SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsGradientDescentLineSearch(1.0, MAXIMUM_STEPS, 1e-5, 10)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([shrink])
    method.SetSmoothingSigmasPerLevel([sigma_mm])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def _itk_image(values: Float32Array, affine: Affine) -> sitk.Image:
    """An array with its affine as an ITK image, LPS."""
    lps = LPS_FROM_RAS @ affine
    spacing = voxel_sizes_mm(lps)
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def _world_matrix(transform: sitk.AffineTransform) -> Affine:
    """An ITK affine as (4, 4), RAS, mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return np.asarray(LPS_FROM_RAS @ matrix @ LPS_FROM_RAS)
