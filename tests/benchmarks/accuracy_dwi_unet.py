"""How well ``dwi-unet`` does beside ``dwi-threshold`` on the real diffusion scans.

    python -m tests.benchmarks.accuracy_dwi_unet DATA [--weights NAME] [--folder FOLDER]

DATA is the folder of the shared real data. Dice against the manual mask where there is one (ISLES case 9), volume where
there is next to nothing to find (ISLES case 1, a lacune of .2 ml in JHU subject 02, AISD 0226308), and how much of it
lies below the template's z of -20 mm, where air meets the base of the skull; with ADC and with b-high alone.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from models.inference import loaded, probabilities
from models.weights import find_weights
from tasks.diffusion.adc import adc_on_grid
from tasks.diffusion.threshold import segment_dwi
from tasks.segmentation import CLASSES, INFARCT, N_DWI_CHANNELS, dwi_channels
from tasks.space.affines import voxel_volume_mm3
from tasks.space.network_grid import network_grid, to_network_grid, to_scan
from tasks.space.resample import Grid
from tests.benchmarks.accuracy_baselines_dwi import SCANS, Prepared, dice, prepare, read

BASE_MM = -20.0  # template z


def asked(prepared: Prepared, adc: np.ndarray | None, network: object) -> tuple[np.ndarray, float]:
    """Probability of infarct on the scan, and wall seconds."""
    start = time.perf_counter()
    probability = probability_on((prepared.dwi.values, prepared.dwi.affine), adc, prepared.brain, network)
    return probability, time.perf_counter() - start


def probability_on(
    image: tuple[np.ndarray, np.ndarray], adc: np.ndarray | None, brain: np.ndarray, network: object
) -> np.ndarray:
    """Probability of infarct on a scan (values and affine) with its ADC and brain on the same voxels."""
    values, affine = image
    grid = network_grid(brain, affine)
    channels = dwi_channels(
        to_network_grid(values, affine, grid),
        None if adc is None else to_network_grid(adc, affine, grid),
        to_network_grid(brain.astype(np.float32), affine, grid) > 0.5,
    )
    found = probabilities(network, channels, flip=True)[INFARCT]
    return to_scan(found, grid, values.shape, affine) * brain


def real_cases(data: Path) -> Iterator[tuple[str, str, Prepared, np.ndarray | None, np.ndarray | None]]:
    """Name, way, scan, ADC and manual mask of every real scan and way."""
    with tempfile.TemporaryDirectory() as folder:
        source = data / "ncct-dicom" / "0226308" / "DWI"
        subprocess.run(["dcm2niix", "-o", folder, "-f", "aisd", str(source)], check=True, capture_output=True)
        cases = [(one.name, data / one.dwi, data / one.adc, data / one.manual if one.manual else None) for one in SCANS]
        cases.append(("AISD 0226308", next(Path(folder).glob("aisd*.nii*")), None, None))
        for name, dwi, adc_path, manual in cases:
            prepared = prepare(read(dwi, "dwi"))
            truth = None if manual is None else np.asarray(nib.load(manual).dataobj) > 0.5
            if adc_path is not None:
                image = read(adc_path, "adc")
                grid = Grid(prepared.dwi.values.shape, prepared.dwi.affine)
                adc = adc_on_grid(prepared.dwi.values, grid, prepared.brain, stored=(image.values, image.affine))
                yield name, "with ADC", prepared, adc.values, truth
            yield name, "b-high alone", prepared, None, truth


def _line(name, way, prepared, images, network, threshold):
    """Network and threshold side by side."""
    adc, truth = images
    voxel_ml = voxel_volume_mm3(prepared.dwi.affine) / 1000
    probability, seconds = asked(prepared, adc, network)
    baseline = segment_dwi(prepared.dwi.values, adc, prepared.brain, prepared.dwi.affine, prepared.fixed_to_moving)
    masks = {"unet": probability >= threshold, "threshold": baseline.mask}
    to_template = np.linalg.inv(prepared.fixed_to_moving) @ prepared.dwi.affine
    for which, mask in masks.items():
        at = np.argwhere(mask) @ to_template[2, :3] + to_template[2, 3]
        overlap = "" if truth is None else f"Dice {dice(mask, truth):.3f} of {truth.sum() * voxel_ml:.2f} ml, "
        print(
            f"{name:15s} {way:13s} {which:10s} {mask.sum() * voxel_ml:7.2f} ml, {overlap}"
            f"{(at < BASE_MM).sum() * voxel_ml:.2f} ml below z {BASE_MM:g} mm"
            + (f", {seconds:.2f} s" if which == "unet" else ""),
            flush=True,
        )


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="dwi-unet")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--threshold", type=float, default=0.5)
    given = parser.parse_args()
    weights = find_weights(given.weights, given.folder)
    network = loaded(weights, "small", N_DWI_CHANNELS, len(CLASSES))
    for name, way, prepared, adc, truth in real_cases(given.data):
        _line(name, way, prepared, (adc, truth), network, given.threshold)


if __name__ == "__main__":
    main()
