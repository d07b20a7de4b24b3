"""All regions of a CT described in one pass, beside pyradiomics' extractor called region by region, in turns.

    python -m tests.benchmarks.bench_radiomics DATA [--subject sub001] [--rounds 3]

DATA holds ``ncct-aspects``. Twenty regions, 107 features, grey levels of 5 HU, one thread. The extractor is called as
its users do, on the whole image (``whole``; ``plain`` without what it says of itself), and on the box of all regions
(``cropped``), which is the best that can be had without touching it. Printed: CPU and wall seconds a patient (medians),
ratios of CPU seconds to ours, largest relative difference, and MiB of ours above what was there before.
"""

from __future__ import annotations

import argparse
import logging
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from radiomics.featureextractor import RadiomicsFeatureExtractor
from scipy import ndimage

from tasks.radiomics.feature_lists import FEATURE_LISTS
from tasks.radiomics.features import FeatureSettings, describe_regions

REGIONS = range(1, 21)
BIN_WIDTH_HU = 5.0
ALL = FEATURE_LISTS["pyradiomics3_107"]


def _itk(values: np.ndarray, spacing_mm: tuple[float, float, float]) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetSpacing(spacing_mm)
    return image


def _by_extractor(image: sitk.Image, labels: sitk.Image, *, says_more: bool) -> dict[int, dict[str, Any]]:
    extractor = RadiomicsFeatureExtractor(binWidth=BIN_WIDTH_HU, additionalInfo=says_more)
    return {index: extractor.execute(image, labels, label=index) for index in REGIONS}


def main() -> None:
    """Measure all in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--subject", default="sub001")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    folder = arguments.data / "ncct-aspects" / arguments.subject
    scan = nib.load(folder / "im_aligned.nii.gz")
    values = np.asarray(scan.dataobj, np.float32)
    labels = np.rint(np.asarray(nib.load(folder / "im_aligned_stripped_seg.nii.gz").dataobj)).astype(np.int16)
    x, y, z = (float(size) for size in scan.header.get_zooms()[:3])
    (box,) = ndimage.find_objects((labels > 0).astype(np.uint8))
    whole = _itk(values, (x, y, z)), _itk(labels, (x, y, z))
    cropped = _itk(values[box], (x, y, z)), _itk(labels[box], (x, y, z))

    def ours(names: tuple[str, ...]) -> Any:
        return describe_regions(values, labels, (x, y, z), REGIONS, FeatureSettings(names, BIN_WIDTH_HU))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = ours(ALL)
    peak_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(ALL),
        "ours, 3 features": lambda: ours(FEATURE_LISTS["tao2024_3"]),
        "cropped": lambda: _by_extractor(*cropped, says_more=False),
        "plain": lambda: _by_extractor(*whole, says_more=False),
        "whole": lambda: _by_extractor(*whole, says_more=True),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    expected: dict[int, dict[str, Any]] = {}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            cpu, wall = time.process_time(), time.perf_counter()
            expected = way()
            seconds[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    medians = {name: [statistics.median(part) for part in zip(*each, strict=True)] for name, each in seconds.items()}
    for name, (cpu, wall) in medians.items():
        print(f"{name:18} {cpu:7.3f} CPU s  {wall:7.3f} wall s  {cpu / medians['ours'][0]:6.1f} times ours")
    worst = max(
        abs(found[index].values[name] - float(expected[index][name])) / abs(float(expected[index][name]))
        for index in REGIONS
        for name in ALL
    )
    print(
        f"largest relative difference {worst:.1e} of {len(REGIONS) * len(ALL)} numbers; ours takes {peak_mib:.0f} MiB"
    )


if __name__ == "__main__":
    main()
