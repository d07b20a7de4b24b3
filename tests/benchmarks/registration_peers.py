"""One peer registers a folder of scans to a template; run by ``bench_registration`` where the peers are installed.

    python registration_peers.py elastix|ants|simpleitk WORK

WORK holds ``fixed.nii.gz`` and ``moving_*.nii.gz`` (brain-extracted, background 0). Every first scan is registered once
before to warm up imports and caches. Written: ``WORK/PEER.json`` with the fixed-to-moving world transform
(RAS, mm), CPU and wall seconds of every scan, and the peak memory of this process, MiB.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
Answer = tuple[np.ndarray, tuple[float, float]]


class Clock:
    """CPU and wall seconds since it was made: images are read before, transforms converted after."""

    def __init__(self) -> None:
        self.begun = time.process_time(), time.perf_counter()

    def seconds(self) -> tuple[float, float]:
        """CPU and wall seconds so far."""
        return time.process_time() - self.begun[0], time.perf_counter() - self.begun[1]


def simpleitk(work: Path, name: str) -> Answer:
    """Mattes mutual information, moments, gradient descent with line search, three levels: rigid, then affine."""
    import SimpleITK as sitk  # noqa: N813

    fixed, moving = (sitk.ReadImage(str(work / one), sitk.sitkFloat32) for one in ("fixed.nii.gz", name))
    clock = Clock()
    result: sitk.Transform = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    for kind in ("rigid", "affine"):
        if kind == "affine":
            rigid = sitk.Euler3DTransform(result)
            result = sitk.AffineTransform(3)
            result.SetMatrix(rigid.GetMatrix())
            result.SetTranslation(rigid.GetTranslation())
            result.SetCenter(rigid.GetCenter())
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(0.1)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsGradientDescentLineSearch(1.0, 100, 1e-5, 10)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([4, 2, 1])
        method.SetSmoothingSigmasPerLevel([4, 2, 1])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
        method.SetInitialTransform(result, inPlace=False)
        result = method.Execute(fixed, moving)
        if isinstance(result, sitk.CompositeTransform):
            result = result.GetNthTransform(0)
        result = sitk.Euler3DTransform(result) if kind == "rigid" else sitk.AffineTransform(result)
    seconds = clock.seconds()
    origin = np.array(result.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    matrix[:3, :3] = np.column_stack([np.array(result.TransformPoint(tuple(row))) - origin for row in np.eye(3)])
    return LPS @ matrix @ LPS, seconds


def ants(work: Path, name: str) -> Answer:
    """``ants.registration`` with its preset ``Affine``."""
    import ants as antspy

    fixed, moving = (antspy.image_read(str(work / one)) for one in ("fixed.nii.gz", name))
    clock = Clock()
    done = antspy.registration(fixed, moving, type_of_transform="Affine", random_seed=1)
    seconds = clock.seconds()
    transform = antspy.read_transform(done["fwdtransforms"][0])
    parameters, centre = np.array(transform.parameters), np.array(transform.fixed_parameters)
    matrix = np.eye(4)
    matrix[:3, :3] = parameters[:9].reshape(3, 3)
    matrix[:3, 3] = parameters[9:] + centre - matrix[:3, :3] @ centre
    return LPS @ matrix @ LPS, seconds


def elastix(work: Path, name: str) -> Answer:
    """elastix with its default parameter maps ``rigid`` and ``affine``."""
    import itk

    fixed, moving = (itk.imread(str(work / one), itk.F) for one in ("fixed.nii.gz", name))
    clock = Clock()
    parameters = itk.ParameterObject.New()
    for kind in ("rigid", "affine"):
        one = parameters.GetDefaultParameterMap(kind, 4)
        one["AutomaticTransformInitialization"] = ["true"]
        one["AutomaticTransformInitializationMethod"] = ["CenterOfGravity"]
        one["RandomSeed"] = ["1"]
        parameters.AddParameterMap(one)
    _, result = itk.elastix_registration_method(fixed, moving, parameter_object=parameters, log_to_console=False)
    seconds = clock.seconds()
    total = np.eye(4)
    for index in range(result.GetNumberOfParameterMaps()):
        one = result.GetParameterMap(index)
        values = np.array([float(value) for value in one["TransformParameters"]])
        centre = np.array([float(value) for value in one["CenterOfRotationPoint"]])
        matrix = np.eye(4)
        if one["Transform"][0] == "EulerTransform":
            euler = itk.Euler3DTransform[itk.D].New()
            euler.SetComputeZYX(one.get("ComputeZYX", ["false"])[0] == "true")
            euler.SetRotation(*values[:3])
            matrix[:3, :3] = itk.array_from_matrix(euler.GetMatrix())
        else:
            matrix[:3, :3] = values[:9].reshape(3, 3)
        matrix[:3, 3] = values[-3:] + centre - matrix[:3, :3] @ centre
        total = matrix @ total  # a point of the fixed image goes through the first map first
    return LPS @ total @ LPS, seconds


PEERS = {"simpleitk": simpleitk, "ants": ants, "elastix": elastix}


def main() -> None:
    """Register every scan of the folder with one peer."""
    peer, work = sys.argv[1], Path(sys.argv[2])
    rows = {}
    names = sorted(path.name for path in work.glob("moving_*.nii.gz"))
    PEERS[peer](work, names[0])
    for name in names:
        matrix, (cpu_s, wall_s) = PEERS[peer](work, name)
        rows[name] = {"cpu_s": cpu_s, "wall_s": wall_s, "fixed_to_moving": matrix.tolist()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (work / f"{peer}.json").write_text(json.dumps({"scans": rows, "peak_mib": peak}))


if __name__ == "__main__":
    main()
