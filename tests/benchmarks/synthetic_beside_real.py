"""Synthetic patients beside real scans: the same figures of both, and a page of slices.

    python -m tests.benchmarks.synthetic_beside_real DATA ANATOMIES [--patients 40] [--page beside.png] [--seed 0]
        [--leave-out training_seg_09 ...]

DATA is the folder of the shared real data, ANATOMIES one of prepared anatomies (``aspects train`` keeps them in its
work folder). Every real scan comes onto the grid of the networks (2 mm) as in a run, and brains are found and
registered by the same code on both sides. Printed are the values of the real scans, and of the synthetic ones the
median with the 5th and 95th percentile; a real value outside is marked. CPU seconds are of drawing one patient.

Grey and white matter are where the template's tissue maps, carried by the affine registration, say so by more than
0.7; where anatomy and registration differ they hold some of the other, on both sides alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from cohorts.images.scan import read_scan
from models.anatomy.register_template import template_target
from models.anatomy.template import load_template
from models.training.anatomies import load_anatomy
from models.training.pool import draw_pooled, lesions_by_size
from models.training.synthetic import Recipe, SyntheticPatient
from tasks.arrays import Affine, Float32Array, Mask
from tasks.brain import ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.diffusion.adc import normal_adc
from tasks.registration.affine import register
from tasks.segmentation import INFARCT, STEP_MM
from tasks.space.network_grid import network_grid, to_network_grid
from tasks.space.resample import Grid, resample_image
from tasks.space.working_grid import to_native_grid
from tests.benchmarks.accuracy_baselines_dwi import SCANS as DWI_SCANS

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Figures = dict[str, float]
ON_GRID = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
SURE = 0.7  # of a tissue map
TISSUE_HU = (15.0, 60.0)
FLUID_HU = 15.0
#: Where the crop of the real CT angiography lies: around the circle of Willis, template mm, and its size.
CROP_AT_MM, CROP_SIZE_MM = np.array([0.0, 8.0, -18.0]), np.array([41.0, 36.0, 22.0])
HEIGHTS = (0.35, 0.55, 0.75)  # of the brain: where slices are shown
WINDOWS: dict[str, tuple[float, float] | None] = {
    "CT": (0.0, 80.0), "CTA": (-20.0, 400.0), "CTA, crop": (-20.0, 400.0), "b-high": None, "ADC": (0.0, 3.0),
    "b0": None,
}  # fmt: skip
COLUMNS = 14
FEWEST = 20_000  # voxels of a brain that is measured, 160 ml
VESSEL_HU = 130.0  # above tissue and noise, below the lumen of any enhanced artery averaged over 2 mm


# -- figures of one scan ----------------------------------------------------------------------------------------------


def ct_figures(image: Float32Array, brain: Mask, affine: Affine, moving_to_fixed: Affine | None) -> Figures:
    """Of a plain CT on the grid of 2 mm."""
    inner = ndimage.binary_erosion(brain, iterations=2)
    tissue = inner & (image > TISSUE_HU[0]) & (image < TISSUE_HU[1])
    found: Figures = {
        "brain, median HU": float(np.median(image[brain])),
        "SD of tissue": float(image[tissue].std()),
        "SD of tissue, averaged to 4 mm": float(_averaged(image, tissue, 1.0).std()),
        "SD of tissue, averaged to 12 mm": float(_averaged(image, tissue, 3.0).std()),
        "noise": noise_of(image, inner),
        "fluid of the brain, %": 100 * float((ndimage.gaussian_filter(image, 0.7)[brain] < FLUID_HU).mean()),
    }
    deep_fluid = ndimage.binary_erosion(inner & (image > -10) & (ndimage.gaussian_filter(image, 0.7) < FLUID_HU))
    if deep_fluid.sum() > 30:
        found["CSF, HU"] = float(np.median(image[deep_fluid]))
    shell = ndimage.binary_dilation(brain, iterations=6) & ~ndimage.binary_dilation(brain)
    if (image[shell] > 300).mean() > 0.02:
        found["bone, 90th percentile HU"] = float(np.percentile(image[shell & (image > 300)], 90))
    rim = brain & ~inner
    found["rim over inside, HU"] = float(np.median(image[rim]) - np.median(image[tissue]))
    if moving_to_fixed is not None:
        sure = sure_tissue(brain.shape, affine, moving_to_fixed, tissue)
        found["grey, HU"], found["white, HU"] = (float(np.median(image[one])) for one in sure)
        found["grey over white, HU"] = found["grey, HU"] - found["white, HU"]
        halves = _halves(image, tissue, affine, moving_to_fixed)
        found["left-right correlation at 8 mm"] = halves
    return found


def cta_figures(image: Float32Array) -> Figures:
    """Of a CT angiography around the circle of Willis."""
    tissue = (image > 0) & (image < 80)
    vessels = _vessels(image)
    return {
        "tissue, median HU": float(np.median(image[tissue])),
        "tissue, SD": float(image[tissue].std()),
        "vessels, 90th percentile HU": float(np.percentile(image[vessels], 90)) if vessels.sum() > 3 else np.nan,
        "vessels, % of soft tissue": 100 * float(vessels.sum() / max(1, vessels.sum() + tissue.sum())),
    }


def dwi_figures(
    b_high: Float32Array, adc: Float32Array | None, b0: Float32Array | None, brain: Mask, lesion: Mask | None
) -> Figures:
    """Of diffusion MR on the grid of 2 mm."""
    level = float(np.median(b_high[brain]))
    inner = ndimage.binary_erosion(brain, iterations=2)
    found: Figures = {
        "SD of ln b-high": float(np.log(np.maximum(b_high[brain] / level, 0.05)).std()),
        "signal over noise, b-high": level / max(1e-6, noise_of(b_high, inner)),
        "brightest 0.5 % over median": float(np.percentile(b_high[brain], 99.5)) / level,
    }
    normal = None
    if adc is not None:
        normal = normal_adc(adc, brain)
        found["normal ADC"] = float(normal or np.nan)
        fluid = inner & (adc > 2.0)
        if fluid.sum() > 50:
            found["fluid, 90th percentile ADC"] = float(np.percentile(adc[fluid], 90))
        found["middle half of ADC, width"] = float(np.subtract(*np.percentile(adc[inner], [75, 25])))
    if b0 is not None:
        found["b0 over b-high"] = float(np.median(b0[inner] / np.maximum(b_high[inner], 1e-3)))
    if lesion is not None and lesion.sum() > 60:
        found["infarct over median, b-high"] = float(np.median(b_high[lesion])) / level
        if adc is not None and normal:
            found["infarct over normal, ADC"] = float(np.median(adc[lesion])) / normal
    return found


def noise_of(image: Float32Array, inner: Mask) -> float:
    """Standard deviation by mixed second differences over two voxels (Immerkaer 1996), in the plane."""
    mixed = image
    for axis in (0, 1):
        mixed = np.roll(mixed, 2, axis) - 2 * mixed + np.roll(mixed, -2, axis)
    inside = ndimage.binary_erosion(inner, iterations=2)
    return float(np.median(np.abs(mixed[inside]))) / 0.6745 / 6 if inside.any() else np.nan


def sure_tissue(shape: tuple[int, ...], affine: Affine, moving_to_fixed: Affine, within: Mask) -> tuple[Mask, Mask]:
    """Grey and white matter by the template's maps."""
    template = load_template()
    grid = Grid(shape, affine)
    grey, white = (
        resample_image(one.astype(np.float32), template.affine, grid, moving_to_fixed) > SURE
        for one in (template.grey, template.white)
    )
    return grey & within, white & within


def _averaged(image: Float32Array, tissue: Mask, sigma: float) -> Float32Array:
    """The tissue, smoothed within itself."""
    weight = ndimage.gaussian_filter(tissue.astype(np.float32), sigma)
    return (ndimage.gaussian_filter(image * tissue, sigma) / np.maximum(weight, 1e-3))[tissue]


def _halves(image: Float32Array, tissue: Mask, affine: Affine, moving_to_fixed: Affine) -> float:
    """Correlation of the tissue with that of the other side, both smoothed, by the template's mid-plane."""
    to_template = moving_to_fixed @ affine
    mirror = np.linalg.inv(to_template) @ np.diag([-1.0, 1, 1, 1]) @ to_template
    weight = ndimage.gaussian_filter(tissue.astype(np.float32), 1.7)
    smooth = np.where(weight > 0.3, ndimage.gaussian_filter(image * tissue, 1.7) / np.maximum(weight, 0.3), np.nan)
    at = np.argwhere(tissue[::2, ::2, ::2]) * 2
    across = np.rint(at @ mirror[:3, :3].T + mirror[:3, 3]).astype(int)
    inside = ((across >= 0) & (across < image.shape)).all(axis=1)
    own, other = smooth[tuple(at[inside].T)], smooth[tuple(across[inside].T)]
    known = np.isfinite(own) & np.isfinite(other) & (np.abs(across[inside][:, 0] - at[inside][:, 0]) > 4)
    return float(np.corrcoef(own[known], other[known])[0, 1])


def _vessels(image: Float32Array) -> Mask:
    """Bright voxels away from bone and air."""
    hard = ndimage.binary_dilation((image > 600) | (image < -200), iterations=2)
    return (image > VESSEL_HU) & ~hard


# -- scans ------------------------------------------------------------------------------------------------------------


def real_cts(data: Path) -> Iterator[tuple[str, Float32Array, Affine]]:
    """Name, image and affine of every plain CT."""
    for name in ("sub001", "sub002", "sub003"):
        scan = read_scan(
            (data / f"ncct-aspects/{name}/im.nii.gz").read_bytes(), f"{name}.nii.gz", "ncct", forms="sform"
        )
        yield name, scan.values, scan.affine
    scan = read_scan((data / "ncct-thin/cranium_ct.nii.gz").read_bytes(), "thin.nii.gz", "ncct", forms="sform")
    yield "thin", scan.values, scan.affine
    for folder in ("0091454", "0226308/CT"):
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(data / "ncct-dicom" / folder))
        image = sitk.ReadImage(names)
        yield folder.split("/")[0], *from_itk(image)


def from_itk(image: sitk.Image) -> tuple[Float32Array, Affine]:
    """Values (X, Y, Z) and affine, RAS."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T.astype(np.float32), np.diag([-1.0, -1, 1, 1]) @ affine


def on_grid_ct(values: Float32Array, affine: Affine) -> tuple[Float32Array, Mask, Affine, Affine | None]:
    """A CT on the grid of the networks: image, brain, affine, and the way to the template where there is one."""
    working = ct_working_scan(values, affine)
    brain = extract_ct_brain(working)
    found = register(working, brain, template_target("ct"))
    native = to_native_grid(brain.mask, working)
    grid = network_grid(native, affine)
    image = to_network_grid(values.astype(np.float32), affine, grid)
    inside = to_network_grid(native.astype(np.float32), affine, grid) > 0.5
    return image, inside, grid.affine, found.moving_to_fixed if found.is_usable else None


def on_grid_dwi(values: Float32Array, affine: Affine, *others: tuple[Float32Array, Affine] | None) -> tuple[Any, ...]:
    """Diffusion MR on the grid of the networks: image, brain, and what else is given."""
    working = mr_working_scan(values, affine)
    native = to_native_grid(extract_mr_brain(working).mask, working)
    grid = network_grid(native, affine)
    brain = to_network_grid(native.astype(np.float32), affine, grid) > 0.5
    more = [None if one is None else to_network_grid(*one, grid) for one in others]
    return to_network_grid(values, affine, grid), brain, *more


def real_dwis(data: Path) -> Iterator[tuple[str, tuple[Any, ...], Mask | None]]:
    """Name, images on the grid (b-high, brain, ADC, b0) and the lesion, of every diffusion scan."""
    lesions = {
        "ISLES case 9": DWI_SCANS[0].manual,
        "JHU subject 02": "dwi/jhu-subject02/Subject02_DAGMNet_CH3_Lesion_Predict.nii.gz",
    }
    for one in DWI_SCANS:
        images = [
            read_scan((data / path).read_bytes(), Path(path).name, kind, forms="sform") if path else None
            for path, kind in ((one.dwi, "dwi"), (one.adc, "adc"), (one.b0, "b0"))
        ]
        b_high, adc, b0 = [None if image is None else (image.values, image.affine) for image in images]
        assert b_high is not None
        mask = None
        if one.name in lesions:
            image = nib.load(data / lesions[one.name])
            mask = (np.asarray(image.dataobj, np.float32).reshape(image.shape[:3]), image.affine)
        found = on_grid_dwi(*b_high, adc, b0, mask)
        yield one.name, found[:4], None if mask is None else found[4] > 0.5
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(data / "ncct-dicom/0226308/DWI"))
    yield "0226308", on_grid_dwi(*from_itk(sitk.ReadImage(names)), None, None), None


def real_cta(data: Path) -> Float32Array:
    """The crop of a CT angiography on the grid."""
    values, affine = from_itk(sitk.ReadImage(str(data / "cta-crop/dummy_cta.mha")))
    size = np.linalg.norm(affine[:3, :3], axis=0)
    canonical = nib.as_closest_canonical(nib.Nifti1Image(values, affine))
    shape = tuple(int(one) for one in np.asarray(values.shape) * size // STEP_MM)
    corner = canonical.affine[:3, 3] + STEP_MM / 2
    own = np.diag([STEP_MM] * 3 + [1.0])
    own[:3, 3] = corner
    return to_network_grid(np.asarray(canonical.dataobj, np.float32), canonical.affine, Grid(shape, own))


def crop_of(patient: SyntheticPatient, image: Float32Array) -> Float32Array:
    """The same place of a synthetic patient."""
    matrix = patient.to_template[:, :3]
    middle = np.linalg.solve(matrix, CROP_AT_MM - patient.to_template[:, 3])
    low = np.maximum(0, np.rint(middle - CROP_SIZE_MM / STEP_MM / 2).astype(int))
    return image[tuple(slice(a, a + int(size)) for a, size in zip(low, CROP_SIZE_MM / STEP_MM, strict=True))]


def synthetic_patients(
    folder: Path, lesions: Path, n: int, seed: int, left_out: list[str]
) -> Iterator[SyntheticPatient]:
    """Patients of the shipped recipe."""
    paths = [path for path in sorted(folder.rglob("*.npz")) if path.name.rpartition("-")[0] not in left_out]
    anatomies = [load_anatomy(path) for path in paths]
    paths = sorted(lesions.rglob("*.nii.gz"))[::20]
    volumes = [float(np.asarray(nib.load(path).dataobj).astype(bool).sum()) / 1000 for path in paths]
    bins = lesions_by_size(paths, volumes)
    draw_pooled(n, anatomies, bins, Recipe(), seed)
    start = time.process_time()
    spent = 0.0
    for number in range(n):
        patient = draw_pooled(number, anatomies, bins, Recipe(), seed)
        spent += time.process_time() - start
        yield patient
        start = time.process_time()
    print(f"{spent / n:.2f} CPU s a patient, all scans, without writing\n")


# -- report -----------------------------------------------------------------------------------------------------------


def report(title: str, real: Mapping[str, Figures], synthetic: list[Figures]) -> int:
    """Print the figures of one modality; how many real values lie outside."""
    names = list(dict.fromkeys(name for one in real.values() for name in one))
    print(f"{title}: {len(real)} real, {len(synthetic)} synthetic")
    print(f"  {'figure':34s} {'synthetic median (5 to 95 %)':32s} real")
    n_outside = 0
    for name in names:
        drawn = np.array([one[name] for one in synthetic if np.isfinite(one.get(name, np.nan))])
        low, middle, high = np.percentile(drawn, [5, 50, 95]) if len(drawn) else [np.nan] * 3
        values = []
        for one in real.values():
            if np.isfinite(value := one.get(name, np.nan)):
                outside = not low <= value <= high
                n_outside += outside
                values.append(f"{value:.3g}{'*' if outside else ''}")
        spread = f"{middle:8.3g} ({low:.3g} to {high:.3g})"
        print(f"  {name:34s} {spread:32s} {'  '.join(values)}")
    print(f"  {n_outside} real values outside (*)\n", flush=True)
    return n_outside


def slice_at(image: Float32Array, brain: Mask, share: float) -> Float32Array:
    """An axial slice at a share of the brain's height, as radiologists see it."""
    heights = np.flatnonzero(brain.any(axis=(0, 1)))
    level = int(heights[0] + share * (heights[-1] - heights[0]))
    return np.rot90(image[::-1, :, level])


def page(path: Path, rows: list[tuple[str, list[Float32Array], tuple[float, float] | None]]) -> None:
    """One row of slices for each modality and side."""
    n_columns = max(len(pictures) for _, pictures, _ in rows)
    figure, axes = plt.subplots(len(rows), n_columns, figsize=(2.1 * n_columns, 2.35 * len(rows)), facecolor="black")
    for line, (title, pictures, window) in zip(axes, rows, strict=True):
        for axis in line:
            axis.axis("off")
        for axis, picture in zip(line, pictures, strict=False):
            low, high = window or (0.0, float(np.percentile(picture, 99.5)) or 1.0)
            axis.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
        line[0].set_title(title, color="white", fontsize=9, loc="left")
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=75, facecolor="black")
    plt.close(figure)


class Measured:
    """Figures and slices of one side, real or synthetic."""

    def __init__(self) -> None:
        self.figures: dict[str, dict[str, Figures]] = {"CT": {}, "CTA": {}, "DWI": {}}
        self.slices: dict[str, list[Float32Array]] = {}

    def add(self, kind: str, name: str, figures: Figures) -> None:
        """Keep the figures of one scan."""
        self.figures[kind][name] = figures

    def show(self, row: str, *pictures: Float32Array) -> None:
        """Keep slices for a row of the page."""
        self.slices.setdefault(row, []).extend(pictures)


def measure_real(data: Path) -> Measured:
    """Every real scan."""
    real = Measured()
    for name, values, affine in real_cts(data):
        image, brain, on_grid, place = on_grid_ct(values, affine)
        real.add("CT", name, ct_figures(image, brain, on_grid, place))
        real.show("CT", *(slice_at(image, brain, share) for share in HEIGHTS[: 3 if name.startswith("sub") else 2]))
    for name, (b_high, brain, adc, b0), lesion in real_dwis(data):
        real.add("DWI", name, dwi_figures(b_high, adc, b0, brain, lesion))
        for row, image in (("b-high", b_high), ("ADC", adc), ("b0", b0)):
            if image is not None:
                real.show(row, *(slice_at(image, brain, share) for share in HEIGHTS))
    crop = real_cta(data)
    real.add("CTA", "crop", cta_figures(crop))
    real.show("CTA, crop", *(np.rot90(crop[:, :, level]) for level in range(0, crop.shape[2], 2)))
    return real


def measure_synthetic(patients: Iterable[SyntheticPatient]) -> Measured:
    """Every synthetic patient; CT goes the way of the real ones, diffusion MR has the brain that training sees."""
    drawn = Measured()
    for number, patient in enumerate(patients):
        name, share = str(number), HEIGHTS[number % len(HEIGHTS)]
        image, brain, on_grid, place = on_grid_ct(patient.ct, ON_GRID)
        if brain.sum() > FEWEST:
            drawn.add("CT", name, ct_figures(image, brain, on_grid, place))
            drawn.show("CT", slice_at(image, brain, share))
        if patient.brain.sum() > FEWEST:
            lesion = (patient.classes == INFARCT) & patient.brain
            drawn.add("DWI", name, dwi_figures(patient.b_high, patient.adc, patient.b0, patient.brain, lesion))
            for row, one in (("b-high", patient.b_high), ("ADC", patient.adc), ("b0", patient.b0)):
                drawn.show(row, slice_at(one, patient.brain, share))
            drawn.show("CTA", slice_at(patient.cta, patient.brain, share))
        part = crop_of(patient, patient.cta)
        if part.size and (part != 0).mean() > 0.9:
            drawn.add("CTA", name, cta_figures(part))
            drawn.show("CTA, crop", np.rot90(part[:, :, part.shape[2] // 2]))
    return drawn


def main() -> None:
    """Read the arguments, measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("anatomies", type=Path)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--leave-out", nargs="*", default=[], help="names of anatomies that only test")
    given = parser.parse_args()
    real = measure_real(given.data)
    patients = synthetic_patients(
        given.anatomies, given.data / "soop/lesions", given.patients, given.seed, given.leave_out
    )
    drawn = measure_synthetic(patients)
    for kind, title in (("CT", "Plain CT"), ("CTA", "CT angiography, circle of Willis"), ("DWI", "Diffusion MR")):
        report(title, real.figures[kind], list(drawn.figures[kind].values()))
    if given.page:
        sides = (("real", real), ("synthetic", drawn))
        rows = [
            (f"{side} {row}", measured.slices[row][:COLUMNS], window)
            for row, window in WINDOWS.items()
            for side, measured in sides
            if row in measured.slices
        ]
        page(given.page, rows)


if __name__ == "__main__":
    main()
