"""How well ``dwi-threshold`` does on the real diffusion scans and on synthetic heads.

    python -m tests.benchmarks.accuracy_baselines_dwi DATA [--pictures FOLDER]
    python -m tests.benchmarks.accuracy_baselines_dwi DATA --phantoms 8 [--seed 5000] [--soop]

DATA is the folder of the shared real data. Real scans: Dice, volume and parts found against the manual mask where there
is one (ISLES case 9), volume of the mask where there is next to nothing to find (ISLES case 1, a lacune of 0.2 ml in
JHU subject 02); with the ADC that the scan came with, with ADC computed from b0 (JHU), and with b-high alone. CPU
seconds are of this stage (ADC and segmentation, images in memory, warm), the peak is of this process's whole memory.
Phantoms: per kind of lesion, means of Dice, of the volume more than two voxels away from the truth, and of the error of
the volume. ``--soop`` takes lesion shapes of the public cohort in place of synthetic ones.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from cohorts.images.scan import ScanImage, read_scan
from models.anatomy.register_template import template_target
from tasks.brain import extract_mr_brain, mr_working_scan
from tasks.diffusion.adc import AdcMap, adc_on_grid
from tasks.diffusion.threshold import DwiLesion, segment_dwi
from tasks.registration.affine import register
from tasks.space.affines import voxel_volume_mm3
from tasks.space.resample import Grid, resample_labels
from tasks.space.working_grid import to_native_grid
from tests.tasks.dwi_phantom import anatomy, dwi_phantom

NEIGHBOURS_26 = np.ones((3, 3, 3), dtype=bool)
ISLES_9 = "dwi/isles22-case0009/ses-0001/sub-strokecase0009_ses-0001_"
MANUAL_9 = "dwi/isles22-case0009/derivatives/sub-strokecase0009/ses-0001/sub-strokecase0009_ses-0001_msk.nii.gz"
JHU = "dwi/jhu-subject02/Subject02_"
KINDS = (("mca", 250.0), ("mca", 120.0), ("mca", 50.0), ("mca", 15.0), ("mca", 3.0), ("emboli", 5.0), ("none", 0.0))


@dataclass(frozen=True)
class Scan:
    """Files of one patient below DATA; b-value of the scan without ADC map, s/mm2."""

    name: str
    dwi: str
    adc: str
    b0: str = ""
    b_value: float = 1000.0
    manual: str = ""


SCANS = (
    Scan("ISLES case 9", f"{ISLES_9}dwi.nii.gz", f"{ISLES_9}adc.nii.gz", manual=MANUAL_9),
    Scan("ISLES case 1", "dwi/isles22-case0001/dwi.nii.gz", "dwi/isles22-case0001/adc.nii.gz"),
    Scan("JHU subject 02", f"{JHU}DWI.nii.gz", f"{JHU}ADC.nii.gz", f"{JHU}b0.nii.gz"),
)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan with its brain and its place."""

    dwi: ScanImage
    brain: np.ndarray
    fixed_to_moving: np.ndarray


def read(path: Path, modality: str) -> ScanImage:
    """A checked scan."""
    return read_scan(path.read_bytes(), path.name, modality, forms="sform")


def prepare(scan: ScanImage) -> Prepared:
    """Brain mask on the native grid and registration, as in a run."""
    working = mr_working_scan(scan.values, scan.affine)
    brain = extract_mr_brain(working)
    found = register(working, brain, template_target("dwi"))
    if found.reason:
        print(f"  registration: {found.detail}")
    return Prepared(scan, to_native_grid(brain.mask, working), found.matrix)


def segment(prepared: Prepared, **sources: object) -> tuple[AdcMap, DwiLesion, float]:
    """ADC, lesion and CPU seconds of both."""
    dwi = prepared.dwi
    start = time.process_time()
    adc = adc_on_grid(dwi.values, Grid(dwi.values.shape, dwi.affine), prepared.brain, **sources)
    lesion = segment_dwi(dwi.values, adc.values, prepared.brain, dwi.affine, prepared.fixed_to_moving)
    return adc, lesion, time.process_time() - start


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Overlap; 1 of two empty masks."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def parts(mask: np.ndarray, truth: np.ndarray) -> str:
    """Lesions of the truth that the mask touches, and parts of the mask that touch none."""
    true_parts, n_true = ndimage.label(truth, NEIGHBOURS_26)
    found_parts, n_found = ndimage.label(mask, NEIGHBOURS_26)
    hit = len(set(np.unique(true_parts[mask])) - {0})
    false = n_found - len(set(np.unique(found_parts[truth])) - {0})
    return f"{hit}/{n_true} lesions found, {false} of {n_found} parts false"


def report_real(data: Path, pictures: Path | None) -> None:
    """Print a line per scan and source of the ADC."""
    for scan in SCANS:
        prepared = prepare(read(data / scan.dwi, "dwi"))
        adc_scan = read(data / scan.adc, "adc")
        sources: dict[str, dict[str, object]] = {"stored ADC": {"stored": (adc_scan.values, adc_scan.affine)}}
        if scan.b0:
            b0 = read(data / scan.b0, "b0")
            sources["computed ADC"] = {"b0": (b0.values, b0.affine), "b_value_s_per_mm2": scan.b_value}
        sources["b-high alone"] = {}
        truth = None
        if scan.manual:
            truth = np.asarray(nib.load(data / scan.manual).dataobj) > 0.5
        maps = {}
        for name, given in sources.items():
            segment(prepared, **given)
            adc, lesion, seconds = segment(prepared, **given)
            maps[name] = adc
            against = ""
            if truth is not None:
                volume = truth.sum() * voxel_volume_mm3(prepared.dwi.affine) / 1000
                against = f"Dice {dice(lesion.mask, truth):.3f} of {volume:.2f} ml, {parts(lesion.mask, truth)}, "
            peak = "-" if lesion.normal_adc is None else f"{lesion.normal_adc:.2f}"
            noise = "-" if lesion.noise is None else f"{lesion.noise:.3f}"
            print(
                f"{scan.name:15s} {name:13s} {lesion.volume_ml:6.2f} ml, {against}normal ADC {peak}, noise {noise}, "
                f"removed {lesion.n_removed}, {seconds:.2f} CPU s {lesion.reason or adc.reason}",
                flush=True,
            )
            if pictures is not None:
                draw(pictures, f"{scan.name} {name}", prepared, (adc_scan.values, lesion.mask, truth))
        if "computed ADC" in maps and maps["computed ADC"].values is not None:
            one, other = (maps[key].values[prepared.brain] for key in ("stored ADC", "computed ADC"))
            difference = other - one
            print(
                f"{scan.name:15s} computed minus stored ADC: median {np.median(difference):+.4f}, 95 % within "
                f"{np.percentile(np.abs(difference), 95):.4f} x 10^-3 mm2/s"
            )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB (images and template too)")


def draw(folder: Path, name: str, prepared: Prepared, maps: tuple[np.ndarray, np.ndarray, np.ndarray | None]) -> None:
    """The slices with most lesion (else evenly spaced) on b-high and ADC; the left of the patient is on the left."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    adc, mask, truth = maps
    images = [prepared.dwi.values, adc, mask, mask if truth is None else truth]
    axes = nib.io_orientation(prepared.dwi.affine)
    images = [nib.apply_orientation(one, axes) for one in images]
    dwi, adc, mask, truth_or_mask = images
    areas = (mask | truth_or_mask).sum(axis=(0, 1))
    slices = np.sort(np.argsort(areas)[-8:]) if areas.any() else np.linspace(0.15, 0.85, 8) * dwi.shape[2]
    brain = nib.apply_orientation(prepared.brain, axes)
    level = float(np.median(dwi[brain]))
    figure, grid = plt.subplots(2, 8, figsize=(24, 7))
    for column, height in enumerate(slices.astype(int)):
        for row, (image, top) in enumerate(((dwi, 2.5 * level), (adc, 2.0))):
            grid[row, column].imshow(image[:, :, height].T, origin="lower", cmap="gray", vmin=0, vmax=top)
            if truth is not None and truth_or_mask[:, :, height].any():
                grid[row, column].contour(truth_or_mask[:, :, height].T, [0.5], colors="lime", linewidths=0.7)
            if mask[:, :, height].any():
                grid[row, column].contour(mask[:, :, height].T, [0.5], colors="red", linewidths=0.7)
            grid[row, column].set_title(f"L   {height}   R", fontsize=8)
            grid[row, column].axis("off")
    figure.suptitle(f"{name}: found red, manual green")
    figure.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name.replace(' ', '_')}.png", dpi=60)
    plt.close(figure)


def soop_lesion(data: Path, volume_ml: float, index: int) -> np.ndarray:
    """A lesion of the public cohort near a volume, on the template's 2 mm grid."""
    files = sorted((data / "soop" / "lesions").glob("*.nii.gz"))
    rng = np.random.default_rng(index)
    brain, affine = anatomy()[3], anatomy()[6]
    while True:
        image = nib.load(files[rng.integers(len(files))])
        labels = np.asarray(image.dataobj) > 0
        if 0.7 * volume_ml < labels.sum() / 1000 < 1.4 * volume_ml:
            return resample_labels(labels, image.affine, Grid(brain.shape, affine), np.eye(4)) & brain


def report_phantoms(data: Path, n_each: int, seed: int, *, soop: bool) -> None:
    """Print a line per kind of lesion, slice thickness and use of ADC."""
    for slice_mm in (2.0, 5.0):
        for kind, volume_ml in KINDS:
            rows: dict[bool, list[tuple[float, float, float, float]]] = {True: [], False: []}
            for index in range(n_each):
                seed += 1
                shape = soop_lesion(data, volume_ml, seed) if soop and kind == "mca" else None
                phantom = dwi_phantom(kind, volume_ml, seed=seed, slice_mm=slice_mm, lesion=shape)
                stripped = ScanImage(phantom.dwi * (phantom.brain if index % 2 else 1), phantom.affine)
                prepared = prepare(stripped)
                voxel_ml = voxel_volume_mm3(phantom.affine) / 1000
                far = ~ndimage.binary_dilation(phantom.lesion, NEIGHBOURS_26, 2)
                for with_adc, line in rows.items():
                    given = {"stored": (phantom.adc, phantom.affine)} if with_adc else {}
                    _, lesion, seconds = segment(prepared, **given)
                    error = (int(lesion.mask.sum()) - int(phantom.lesion.sum())) * voxel_ml
                    line.append(
                        (dice(lesion.mask, phantom.lesion), (lesion.mask & far).sum() * voxel_ml, error, seconds)
                    )
            for with_adc, line in rows.items():
                overlap, false_ml, error_ml, seconds = np.mean(line, axis=0)
                print(
                    f"{kind:7s} {volume_ml:5.0f} ml {slice_mm:g} mm {'ADC' if with_adc else 'b-high alone':13s} "
                    f"Dice {overlap:.2f} (least {min(one[0] for one in line):.2f}), false {false_ml:.1f} ml, "
                    f"volume {error_ml:+.1f} ml, {seconds:.2f} CPU s",
                    flush=True,
                )


def main() -> None:
    """Read the arguments and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--phantoms", type=int, default=0)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--soop", action="store_true")
    arguments = parser.parse_args()
    if arguments.phantoms:
        report_phantoms(arguments.data, arguments.phantoms, arguments.seed, soop=arguments.soop)
    else:
        report_real(arguments.data, arguments.pictures)


if __name__ == "__main__":
    main()
