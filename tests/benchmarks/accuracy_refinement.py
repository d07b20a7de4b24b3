"""What the nonlinear refinement gains on synthetic heads whose true regions are known.

    python -m tests.benchmarks.accuracy_refinement [--heads 6] [--seed 7000]

The head phantom is scanned as CT and as DWI from a random pose, its anatomy displaced by a smooth random field of a
stated root mean square (0: the template's own anatomy, which an affine transform fits and refinement can only spoil),
with and without an infarct. A second, harder DWI phantom has random warps of its own, coil shading, and pile-up and
void at the air spaces. Printed: mean Dice of the twenty regions (classic map) on the scan's own grid against the
phantom's, affine and refined, the worst head's change, and CPU seconds of the refinement.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from models.anatomy.register_template import template_target, template_tissues
from models.anatomy.template import load_label_map
from tasks.brain import ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.phantoms.head import Acquisition, Head, build_head, head_pose, scan_grid
from tasks.phantoms.scans import Infarct, simulate_diffusion, simulate_ncct
from tasks.registration.affine import register
from tasks.registration.refined_labels import labels_to_scan
from tasks.registration.refinement import refine
from tasks.space.resample import Grid, resample_labels
from tests.tasks.dwi_phantom import dwi_phantom

SIGMA_MM = 20.0  # width of the displacement, as in the tests of the refinement
SHAPES = {"ct": (112, 128, 34), "dwi": (120, 132, 32)}
SPACING_MM = (1.8, 1.8, 5.0)
INFARCT_REGIONS = ("insula", "m2", "m5", "lentiform")
LABELS = range(1, 21)


@dataclass(frozen=True, eq=False)
class Example:
    """A scan with the true labels of its voxels."""

    values: np.ndarray
    affine: np.ndarray
    labels: np.ndarray


def displaced(head: Head, rms_mm: float, rng: np.random.Generator) -> tuple[Head, np.ndarray, np.ndarray]:
    """A head whose anatomy is displaced, and the displaced labels of the classic map with their affine."""
    step_mm = float(head.affine[0, 0])
    field = np.stack(
        [ndimage.gaussian_filter(one, SIGMA_MM / step_mm) for one in rng.normal(size=(3, *head.brain.shape))]
    )
    field *= rms_mm / np.sqrt((field[:, head.brain] ** 2).sum(axis=0).mean())
    voxels = np.indices(head.brain.shape) + field / step_mm
    shares = {name: ndimage.map_coordinates(one, voxels, order=1) for name, one in head.shares.items()}
    brain = ndimage.map_coordinates(head.brain.astype(np.uint8), voxels, order=0) > 0
    depth = ndimage.map_coordinates(head.depth_mm, voxels, order=1)
    label_map = load_label_map("classic")
    to_labels = np.linalg.inv(label_map.affine) @ head.affine
    places = np.tensordot(to_labels[:3, :3], voxels, 1) + to_labels[:3, 3].reshape(3, 1, 1, 1)
    labels = ndimage.map_coordinates(label_map.labels, places, order=0)
    return replace(head, shares=shares, brain=brain, depth_mm=depth), labels, head.affine


def head_examples(modality: str, rms_mm: float, has_infarct: bool, seeds: range) -> Iterator[Example]:
    """The head phantom under random displacements and poses."""
    table = load_label_map("classic").table
    infarcted = [one.index for one in table.labels if one.side == "right" and one.region in INFARCT_REGIONS]
    plain = build_head(template_tissues())
    for seed in seeds:
        rng = np.random.default_rng(seed)
        head, labels, affine = displaced(plain, rms_mm, rng)
        scale = tuple((0.88 * (1 + rng.normal(0, 0.03, 3))).tolist())
        pose = head_pose(tuple(rng.normal(0, 5, 3).tolist()), tuple(rng.normal(0, 20, 3).tolist()), scale)
        scanned = Acquisition(scan_grid(pose, SHAPES[modality], SPACING_MM), pose, seed)
        infarct = Infarct(np.isin(labels, infarcted), affine, 6.0) if has_infarct else None
        if modality == "ct":
            values = simulate_ncct(head, scanned, infarct)
        else:
            values = simulate_diffusion(head, scanned, infarct).b1000
        true = resample_labels(labels, affine, scanned.grid, np.linalg.inv(pose))
        yield Example(values, scanned.grid.affine, true)


def hard_dwi_examples(kind: str, volume_ml: float, slice_mm: float, seeds: range) -> Iterator[Example]:
    """The diffusion phantom that is harder than most scans."""
    label_map = load_label_map("classic")
    to_labels = np.linalg.inv(label_map.affine)
    for seed in seeds:
        phantom = dwi_phantom(kind, volume_ml, seed=seed, slice_mm=slice_mm)
        voxels = to_labels[:3, :3] @ phantom.places + to_labels[:3, 3:]
        labels = ndimage.map_coordinates(label_map.labels, voxels, order=0).reshape(phantom.dwi.shape)
        yield Example(phantom.dwi, phantom.affine, labels)


def mean_dice(found: np.ndarray, true: np.ndarray) -> float:
    """Over the twenty regions."""
    pairs = ((found == label, true == label) for label in LABELS)
    return float(np.mean([2 * (one & other).sum() / (one.sum() + other.sum()) for one, other in pairs]))


def report(name: str, modality: str, examples: Iterator[Example]) -> None:
    """Print one kind's line."""
    label_map, target = load_label_map("classic"), template_target(modality)
    rows, n_folded = [], 0
    for one in examples:
        is_ct = modality == "ct"
        scan = (ct_working_scan if is_ct else mr_working_scan)(one.values, one.affine)
        brain = (extract_ct_brain if is_ct else extract_mr_brain)(scan)
        plain = register(scan, brain, target)
        if not plain.is_usable:
            print(f"{name}: a head is refused, {plain.detail}")
            continue
        begun = time.process_time()
        refinement = refine(scan, brain, target, plain)
        cpu_s = time.process_time() - begun
        n_folded += bool(refinement.reason)
        x, y, z = one.values.shape
        grid = Grid((x, y, z), one.affine)
        affine = resample_labels(label_map.labels, label_map.affine, grid, plain.moving_to_fixed)
        refined = labels_to_scan(label_map.labels, label_map.affine, grid, refinement)
        rows.append((mean_dice(affine, one.labels), mean_dice(refined, one.labels), cpu_s))
    table = np.array(rows)
    change = table[:, 1] - table[:, 0]
    print(
        f"{name:46s} n {len(table)}: affine {table[:, 0].mean():.3f}, refined {table[:, 1].mean():.3f}, "
        f"change {change.mean():+.3f} (worst head {change.min():+.3f}), {n_folded} folded, "
        f"{table[:, 2].mean():.2f} CPU s",
        flush=True,
    )


def main() -> None:
    """Every kind of head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--seed", type=int, default=7000)
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.heads)
    for modality in ("ct", "dwi"):
        for rms_mm in (0.0, 2.0, 3.0, 4.0):
            for has_infarct in (False, True):
                name = f"{modality}, displaced by {rms_mm:g} mm, {'infarct' if has_infarct else 'no infarct'}"
                report(name, modality, head_examples(modality, rms_mm, has_infarct, seeds))
    for kind, volume_ml in (("none", 0.0), ("mca", 15.0), ("mca", 120.0)):
        for slice_mm in (2.0, 5.0):
            name = f"hard dwi, {kind} {volume_ml:g} ml, slices of {slice_mm:g} mm"
            report(name, "dwi", hard_dwi_examples(kind, volume_ml, slice_mm, seeds))


if __name__ == "__main__":
    main()
