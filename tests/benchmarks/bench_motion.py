"""Our motion correction on a phantom series of known motion, beside SimpleITK's rigid registration on some frames.

    python -m tests.benchmarks.bench_motion [--drift 3] [--jump 6] [--peer-frames 3]

A 256 x 256 x 16 x 45 series (0.85 x 0.85 x 5 mm, 1.5 s, 8 HU of noise) of a restless head through which contrast agent
passes. Printed: CPU and wall seconds of the trace and of the correction, peak memory of the process, mean and largest
displacement of the brain before and after (points of the slab, mm), rejected frames. The peer aligns single frames to
our reference frame by mean squares over bone (same limits), from a start at rest; its seconds are scaled to 45 frames.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import SimpleITK as sitk  # noqa: N813

from models.anatomy.register_template import template_tissues
from tasks.perfusion.motion import correct_motion, trace_motion
from tasks.phantoms.perfusion import PerfusionPhantom, Protocol, simulate_perfusion
from tasks.phantoms.perfusion_head import prepare_head
from tasks.registration.rigid import BONE_LIMITS_HU, displacement_mm
from tasks.space.rigid_motion import grid_centre, head_motion, pose_matrix

N_FRAMES = 45


def phantom_series(drift_mm: float, jump_mm: float) -> PerfusionPhantom:
    """Simulate the series."""
    times = tuple(1.5 * frame for frame in range(N_FRAMES))
    protocol = Protocol(shape=(256, 256, 16), spacing_mm=(0.85, 0.85, 5.0), frame_times_s=times, noise_hu=8.0)
    rng = np.random.default_rng(2026)
    motion = head_motion(times, rng, drift_mm=drift_mm, jump_mm=jump_mm)
    return simulate_perfusion(prepare_head(template_tissues("ct")), protocol, rng, motion=motion)


def as_itk(values: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """An image with our affine (RAS) as ITK has it (LPS)."""
    image = sitk.GetImageFromArray(np.clip(values.T, *BONE_LIMITS_HU))
    to_lps = np.diag([-1.0, -1.0, 1.0])
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((to_lps @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((to_lps @ affine[:3, 3]).tolist())
    return image


def peer_matrix(fixed: sitk.Image, moving: sitk.Image, centre: np.ndarray) -> np.ndarray:
    """SimpleITK: three levels, mean squares, a fifth of the voxels, gradient descent."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4, 2, 1])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 100)
    method.SetOptimizerScalesFromPhysicalShift()
    start = sitk.Euler3DTransform()
    start.SetCenter((np.diag([-1.0, -1.0, 1.0]) @ centre).tolist())
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    matrix, flip = np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix[:3, :3] = np.array(start.GetMatrix()).reshape(3, 3)
    middle = np.array(start.GetCenter())
    matrix[:3, 3] = middle + start.GetTranslation() - matrix[:3, :3] @ middle
    return flip @ matrix @ flip


def main() -> None:
    """Run ours, then the peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drift", type=float, default=3.0)
    parser.add_argument("--jump", type=float, default=6.0)
    parser.add_argument("--peer-frames", type=int, default=3)
    arguments = parser.parse_args()
    cpu, wall = time.process_time(), time.perf_counter()
    phantom = phantom_series(arguments.drift, arguments.jump)
    print(f"phantom {time.process_time() - cpu:.2f} CPU s {time.perf_counter() - wall:.2f} wall s with its head")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    trace_motion(phantom.series[..., :2], phantom.affine)  # warm
    cpu, wall = time.process_time(), time.perf_counter()
    trace = trace_motion(phantom.series, phantom.affine)
    traced_cpu, traced_wall = time.process_time(), time.perf_counter()
    corrected = correct_motion(phantom.series, phantom.affine, trace)
    done_cpu, done_wall = time.process_time(), time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"trace {traced_cpu - cpu:.2f} CPU s {traced_wall - wall:.2f} wall s, "
        f"correction {done_cpu - traced_cpu:.2f} CPU s {done_wall - traced_wall:.2f} wall s "
        f"({corrected.is_resampled.sum()} of {N_FRAMES} frames), peak {peak:.0f} MiB, {before:.0f} MiB before"
    )
    centre = grid_centre(phantom.series.shape, phantom.affine)
    poses = [pose_matrix(pose, centre) for pose in phantom.motion]
    back = np.linalg.inv(poses[trace.reference_frame])
    points = centre + np.random.default_rng(0).uniform([-65, -75, -38], [65, 75, 38], (1000, 3))
    moved = np.array([displacement_mm(points, pose @ back, np.eye(4)) for pose in poses])
    left = np.array(
        [displacement_mm(points, pose @ back, one) for pose, one in zip(poses, trace.matrices, strict=True)]
    )
    print(
        f"displacement {moved.mean():.2f} mm, largest {moved.max():.2f} mm; "
        f"residual {left.mean():.3f} mm, largest {left.max():.3f} mm; rejected {N_FRAMES - trace.is_usable.sum()}"
    )
    if not arguments.peer_frames:
        return
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    chosen = np.argsort(moved)[:: -max(1, N_FRAMES // arguments.peer_frames)][: arguments.peer_frames]
    fixed = as_itk(phantom.series[..., trace.reference_frame], phantom.affine)
    seconds, errors = [], []
    for frame in chosen:
        cpu = time.process_time()
        matrix = peer_matrix(fixed, as_itk(phantom.series[..., frame], phantom.affine), centre)
        seconds.append(time.process_time() - cpu)
        errors.append(displacement_mm(points, poses[frame] @ back, matrix))
    print(
        f"SimpleITK, frames {chosen.tolist()}: {np.mean(seconds):.2f} CPU s a frame, "
        f"{N_FRAMES * np.mean(seconds):.0f} for {N_FRAMES}; "
        f"residual {np.mean(errors):.3f} mm (ours on the same {left[chosen].mean():.3f} mm)"
    )


if __name__ == "__main__":
    main()
