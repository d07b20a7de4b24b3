"""What ``ncct-overlap`` draws on single slices of real plain CT, beside the difference from the mirror-image.

    python -m tests.benchmarks.slices_ncct DATA [--weights NAME] [--folder FOLDER] [--page slices.png]

DATA is the folder of the shared real data: ``ncct-slices`` holds slices of CPAISD (grey is HU) and of AISD (2.55 grey a
HU), with masks. They have no spacing, no height and no neighbours. So the slice is repeated upwards and downwards, as
if the head were the same there; its axis is where it is most like its mirror-image; its height and scale are those at
which outline and inside are most like the template's. A network of whole heads never learned such: figures are lower
bounds. Judged on pixels of 2 mm inside the brain: area under the ROC curve of every pixel, and Dice at the network's
own threshold. The difference from the other side, smoothed by 4 mm, has the same area; its Dice is at -3 HU.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from models.anatomy.template import load_template
from models.inference import Network, probabilities
from models.training.classifier_judging import area
from tasks.arrays import Affine, Float32Array, Mask
from tasks.density.channels import CHANNELS, DIFFERENCE_UNIT_HU, ncct_channels
from tasks.segmentation import INFARCT, STEP_MM
from tests.benchmarks.accuracy_baselines_dwi import dice
from tests.benchmarks.accuracy_ncct_synthetic import asked_network

SETS = {"cpaisd": 1.0, "aisd": 2.55}  # grey of a HU
BONE_HU = 90.0
DEPTH = 40  # slices of 2 mm that repeat one: what a network is shown of a head
HEIGHTS_MM = range(-40, 70, 4)
ANGLES_DEG = np.arange(-30, 31, 2.0)
LOWER_HU = -3.0
HU = {"grey": 37.0, "white": 30.0, "fluid": 8.0}
LEAST_MM2 = 2000.0
PIXEL_MM = (0.3, 0.65)  # a field of 150 to 330 mm
#: Height -> brain, density and middle of the template, filled when first asked.
TEMPLATE: dict[int, tuple[Mask, Float32Array, float]] = {}


@dataclass(frozen=True, eq=False)
class Posed:
    """A slice upright on the grid, its brain and infarct, and its place in the template.

    Attributes
    ----------
    image, brain, infarct : (X, Y) arrays, 2 mm
    to_template : (4, 4), voxel of the repeated slice -> template world, mm
    """

    image: Float32Array
    brain: Mask
    infarct: Mask
    to_template: Affine


def slices(data: Path, name: str) -> Iterator[tuple[str, Float32Array, Mask]]:
    """Name, HU and infarct of every slice of a set, (X, Y), x from the image's left, y from its bottom."""
    for path in sorted((data / "ncct-slices" / name / "images").glob("*.png")):
        grey = np.asarray(Image.open(path).convert("L"), np.float32)
        mask = np.asarray(Image.open(path.parent.parent / "masks" / path.name)).max(axis=-1) > 127
        yield path.stem, grey[::-1].T / np.float32(SETS[name]), mask[::-1].T


def brain_of(image: Float32Array) -> Mask:
    """What the skull holds."""
    bone = ndimage.binary_closing(image > BONE_HU, iterations=4)
    inside = ndimage.binary_opening(ndimage.binary_fill_holes(bone) & ~bone, iterations=3)
    labels, n = ndimage.label(inside)
    if n == 0:
        raise ValueError("the skull must be closed around the brain, found nothing inside of it")
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))


def posed(image: Float32Array, infarct: Mask) -> Posed:
    """Upright, scaled to the template, on pixels of 2 mm."""
    brain = brain_of(image)
    middle = np.array(ndimage.center_of_mass(brain))
    smooth = ndimage.gaussian_filter(np.where(brain, np.clip(image, 0, 80), 0), 3)

    def turned(values: np.ndarray, angle: float, pixel: float, size: tuple[int, int], order: int) -> np.ndarray:
        """Values about the brain's middle on pixels ``pixel`` times as large, the head's axis upright."""
        c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        turn = np.array([[c, -s], [s, c]]) * pixel
        return ndimage.affine_transform(values, turn, middle - turn @ ((np.array(size) - 1) / 2), size, order=order)

    def unlike(angle: float) -> float:
        one = turned(smooth, angle, 2.0, (201, 201), 1)
        return float(np.abs(one - one[::-1]).sum())

    angle = float(min(ANGLES_DEG, key=unlike))
    outline = turned(brain.astype(np.float32), angle, 1.0, (401, 401), 1) > 0.5
    if not TEMPLATE:
        TEMPLATE.update(_template_slices())
    seen = turned(ndimage.gaussian_filter(np.clip(image, 0, 60), 4), angle, 1.0, (401, 401), 1)
    height, pixel_mm, y = _height(np.asarray(seen, np.float32), outline)
    size = (96, 112)
    pixel = STEP_MM / pixel_mm
    on_grid = ndimage.gaussian_filter(np.clip(image, -20, 100), max(0.0, pixel / 3))
    to_template = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
    low = -(np.array(size) - 1) / 2 * STEP_MM
    to_template[:3, 3] = low[0], low[1] + y, height - (DEPTH - 1) / 2 * STEP_MM
    return Posed(
        np.asarray(turned(on_grid, angle, pixel, size, 1), np.float32),
        turned(brain.astype(np.float32), angle, pixel, size, 1) > 0.5,
        turned(infarct.astype(np.float32), angle, pixel, size, 1) > 0.5,
        to_template,
    )


def _template_slices() -> dict[int, tuple[Mask, Float32Array, float]]:
    """At every height: the template's brain, filled; its density, HU; template y of its middle. Pixels of 2 mm."""
    template = load_template()
    largest = max(float(template.grey.max()), float(template.white.max()))
    grey, white = (one[::2, ::2].astype(np.float32) / largest for one in (template.grey, template.white))
    found = {}
    for height in HEIGHTS_MM:
        at = int(np.rint((height - template.affine[2, 3]) / template.affine[2, 2]))
        tissue = grey[:, :, at] + white[:, :, at]
        brain = ndimage.binary_fill_holes(ndimage.binary_closing(tissue > 0.5, iterations=3))
        density = HU["grey"] * grey[:, :, at] + HU["white"] * white[:, :, at] + HU["fluid"] * np.clip(1 - tissue, 0, 1)
        if brain.sum() * 4 > LEAST_MM2:
            y = ndimage.center_of_mass(brain)[1] * 2 * template.affine[1, 1] + template.affine[1, 3]
            found[height] = brain, ndimage.gaussian_filter(density, 1), float(y)
    return found


def _height(image: Float32Array, outline: Mask) -> tuple[int, float, float]:
    """Template height, mm of a pixel, and template y of the middle where outline and inside are most alike.

    The outlines lie middle on middle and are of one area; alike is their Dice times the correlation of the inside.
    """
    best = (-np.inf, 0, 0.5, 0.0)
    centre = np.array(ndimage.center_of_mass(outline))
    for height, (given, density, y) in TEMPLATE.items():
        pixel_mm = float(np.sqrt(given.sum() * 4.0 / outline.sum()))
        step = 2.0 / pixel_mm
        offset = centre - step * np.array(ndimage.center_of_mass(given))
        carried, seen = (
            ndimage.affine_transform(one, [step, step], offset, given.shape, order=1)
            for one in (outline.astype(np.float32), image)
        )
        inside = (carried > 0.5) & given
        if not PIXEL_MM[0] <= pixel_mm <= PIXEL_MM[1] or not inside.any():
            continue
        alike = dice(carried > 0.5, given) * float(np.corrcoef(seen[inside], density[inside])[0, 1])
        best = max(best, (alike, height, pixel_mm, y))
    return best[1:]


def judged(one: Posed, network: Network, threshold: float) -> tuple[dict[str, tuple[float, float]], Float32Array]:
    """Area and Dice of network and difference; and the probability, (X, Y)."""
    repeated = [np.repeat(values[:, :, None], DEPTH, axis=2) for values in (one.image, one.brain)]
    channels = ncct_channels(repeated[0], repeated[1], one.to_template)
    probability = probabilities(network, channels, flip=True)[INFARCT][:, :, DEPTH // 2] * one.brain
    difference = channels[CHANNELS.index("difference"), :, :, DEPTH // 2] * DIFFERENCE_UNIT_HU
    truth = (one.infarct & one.brain)[one.brain]
    return {
        "network": (area(truth, probability[one.brain]), dice(probability >= threshold, one.infarct & one.brain)),
        "difference": (area(truth, -difference[one.brain]), dice(difference <= LOWER_HU, one.infarct & one.brain)),
    }, probability


def page(path: Path, shown: list[tuple[str, Posed, Float32Array]]) -> None:
    """Every slice with the mask's outline in green, and the probability."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, len(shown), figsize=(1.6 * len(shown), 3.8), facecolor="black")
    for (above, below), (name, one, probability) in zip(axes.T, shown, strict=True):
        above.imshow(one.image.T[::-1], cmap="gray", vmin=0, vmax=80)
        above.contour(one.infarct.T[::-1], [0.5], colors="lime", linewidths=0.5)
        above.set_title(f"{name}\nz {one.to_template[2, 3] + (DEPTH - 1) * STEP_MM / 2:.0f}", color="white", fontsize=6)
        below.imshow(probability.T[::-1], cmap="inferno", vmin=0, vmax=1)
        above.axis("off")
        below.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Judge as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="ncct-overlap")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--page", type=Path)
    asked = parser.parse_args()
    network, threshold = asked_network(asked.weights, asked.folder)
    shown = []
    for name in SETS:
        rows: dict[str, list[tuple[float, float]]] = {"network": [], "difference": []}
        for stem, image, infarct in slices(asked.data, name):
            try:
                one = posed(image, infarct)
            except ValueError as error:
                print(f"{name} {stem}: {error}")
                continue
            if not (one.infarct & one.brain).any():
                print(f"{name} {stem}: the infarct lies outside of the brain that was found")
                continue
            figures, probability = judged(one, network, threshold)
            shown.append((stem, one, probability))
            text = ", ".join(f"{who} area {a:.3f} Dice {d:.3f}" for who, (a, d) in figures.items())
            print(f"{name} {stem}: {int((one.infarct & one.brain).sum())} pixels, {text}", flush=True)
            for who, pair in figures.items():
                rows[who].append(pair)
        for who, pairs in rows.items():
            areas, overlaps = np.array(pairs).T
            print(f"{name}, {who}: median area {np.median(areas):.3f}, Dice {np.median(overlaps):.3f} (n {len(pairs)})")
    if asked.page:
        page(asked.page, shown)


if __name__ == "__main__":
    main()
