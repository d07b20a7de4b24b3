"""CT of a synthetic patient: density of tissue and disease, and what a scanner makes of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from models.training.anatomies import CODE, upsampled
from models.training.synthetic.disease import DENSITY_BY_AGE, Disease, by_age
from models.training.synthetic.grid import (
    N_TISSUES,
    as_slices,
    by_table,
    draw_slices,
    share_of,
    sheared,
    smooth,
    symmetric_field,
)
from models.training.synthetic.recipe import Recipe
from models.training.synthetic.vessels import Vessels
from tasks.arrays import Float32Array, Mask
from tasks.phantoms.scans import AIR_HU
from tasks.segmentation import STEP_MM

PINEAL_MM = (0.0, -26.0, 2.0)  # template place of the pineal gland (ICBM152)
DENSE_HU = 300.0  # bone that hardens the beam
LARGEST_HU = 3000.0

Facts = dict[str, float | str]


def density(
    samples: Sequence[npt.NDArray[np.uint8]],
    disease: Disease,
    vessels: Vessels,
    template_mm: Float32Array,
    drawn: Recipe,
    rng: np.random.Generator,
) -> tuple[Float32Array, Facts]:
    """HU of every voxel without contrast agent, as a perfect scanner would see it."""
    tissue = disease.tissue
    hu = np.full(N_TISSUES, 40.0)
    hu[CODE["air"]] = AIR_HU
    offset = rng.uniform(*drawn.calibration_hu)
    grey, fluid = rng.uniform(*drawn.hu_grey) + offset, rng.uniform(*drawn.hu_fluid) + offset
    white = grey - rng.uniform(*drawn.hu_grey_over_white)
    for name in ("grey", "deep_grey", "caudate", "putamen", "pallidum", "thalamus", "cerebellar_grey"):
        hu[CODE[name]] = grey + rng.normal(0, 1.0)
    for name in ("white", "cerebellar_white", "brainstem"):
        hu[CODE[name]] = white + rng.normal(0, 1.0)
    if rng.random() < drawn.calcified_pallidum:
        hu[CODE["pallidum"]] += rng.uniform(5, 60)
    hu[CODE["csf"]] = hu[CODE["ventricle"]] = fluid
    hu[CODE["choroid_plexus"]] = fluid + rng.uniform(10, 35)
    hu[CODE["vessel"]] = rng.uniform(*drawn.hu_blood)
    hu[CODE["dura"]], hu[CODE["eye"]] = rng.uniform(45, 65), rng.uniform(5, 15)
    hu[CODE["bone"]], hu[CODE["spongy_bone"]] = rng.uniform(800, 2000), rng.uniform(200, 900)
    hu[CODE["soft"]], hu[CODE["skin"]], hu[CODE["mucosa"]] = rng.uniform(-60, 50), rng.uniform(0, 50), 35.0
    image = by_table(samples, hu)
    beside_bone = np.clip(4 * ndimage.gaussian_filter(share_of(samples, ("bone", "spongy_bone")), 1.0), 0, 1)
    dura = np.float32((hu[CODE["dura"]] - fluid) * rng.uniform(*drawn.meninges))
    image += dura * beside_bone * share_of(samples, ("csf",))
    _calcify(image, share_of(samples, ("choroid_plexus",)), template_mm, drawn, rng)
    field = symmetric_field(template_mm, tissue > 0, float(rng.uniform(9, 22)), rng)
    image += tissue * field * np.float32(rng.uniform(*drawn.symmetric_hu))
    rest = np.asarray(drawn.asymmetric_hu)
    image += tissue * (smooth(rng, 24.0, float(rng.uniform(*rest))) + smooth(rng, 8.0, float(rng.uniform(*rest))))
    blood = np.float32(hu[CODE["vessel"]])
    image += (blood - image) * vessels.share
    if rng.random() < drawn.dense_clot:
        image += (np.float32(rng.uniform(*drawn.clot_hu)) - blood) * vessels.clot
    # disease: less density, in white matter less so, that the border of grey and white is lost; fluid; blood
    lowering = by_age(disease.age_h, DENSITY_BY_AGE, drawn.infarct_hu, rng.random())
    less = np.float32(rng.uniform(0.35, 0.95))
    image -= np.float32(lowering) * disease.strength * tissue * (less + (1 - less) * disease.share_grey)
    image -= np.float32(rng.uniform(2, 9)) * disease.pale
    image += (np.float32(fluid) - image) * disease.old * tissue * np.float32(rng.uniform(0.5, 1.0))
    if disease.blood.any():
        image += (np.float32(rng.uniform(*drawn.haemorrhage_hu)) - image) * disease.blood
    return image, {"lowering_hu": lowering}


def enhanced(
    hu: Float32Array, disease: Disease, vessels: Vessels, drawn: Recipe, rng: np.random.Generator
) -> tuple[Float32Array, Facts]:
    """The same head with contrast agent in it: arteries, veins by the phase, and tissue by the blood that it holds."""
    phase = float(rng.uniform(*drawn.vein_share))
    artery = float(rng.uniform(*drawn.artery_hu)) - float(np.mean(drawn.hu_blood))
    image = hu + np.float32(artery) * (vessels.arteries + np.float32(phase) * vessels.veins)
    volume = rng.uniform(*drawn.tissue_volume) * np.clip(0.4 + 0.6 * phase, 0, 1)  # capillaries fill after arteries
    less = np.float32(rng.uniform(0.4, 0.6))
    perfused = 1 - np.float32(rng.uniform(0.4, 1.0)) * disease.strength
    share = disease.tissue * (less + (1 - less) * disease.share_grey) * perfused
    image = image + np.float32(artery * volume) * share * (1 - disease.old) * (1 - disease.blood)
    return np.asarray(image, np.float32), {"artery_hu": artery, "vein_share": phase}


def _calcify(
    image: Float32Array, plexus: Float32Array, template_mm: Float32Array, drawn: Recipe, rng: np.random.Generator
) -> None:
    """Calcify parts of the plexus, and the pineal gland, in place."""
    if rng.random() < drawn.calcified_plexus:
        parts = plexus * (smooth(rng, 8.0, 1.0) > rng.uniform(-0.5, 1.0))
        image += parts * np.float32(rng.uniform(*drawn.calcified_hu))
    if rng.random() < drawn.calcified_pineal:
        place = np.asarray(PINEAL_MM) + rng.normal(0, 1.5, 3)
        distance = np.sqrt(sum((one - np.float32(at)) ** 2 for one, at in zip(template_mm, place, strict=True)))
        ball = np.clip((rng.uniform(1.5, 4.0) - distance) / STEP_MM + 0.5, 0, 1)
        image += ball * np.float32(rng.uniform(*drawn.calcified_hu))


def scanned_ct(
    image: Float32Array,
    head: Mask,
    drawn: Recipe,
    rng: np.random.Generator,
    slices: tuple[float, float, float] | None = None,
) -> tuple[Float32Array, Facts]:
    """What a scanner makes of a density: hardened beam, point spread, slices, kernel, noise, streaks, motion, export.

    Parameters
    ----------
    image : (X, Y, Z) float32 array, HU
    head : (X, Y, Z) bool array, what lies inside of the skull
    slices : thickness (mm), gap as a share of it and height of the first; drawn where None
    """
    thickness, gap, first = slices or draw_slices(drawn, rng)
    tilt = float(rng.uniform(*drawn.gantry_tilt_deg)) if rng.random() < drawn.gantry_tilt else 0.0
    limited = np.clip(image, AIR_HU, LARGEST_HU)
    if tilt and thickness > STEP_MM:
        limited = sheared(limited, tilt)
    bone = np.clip(limited, 0, 1500)
    one = as_slices(_spread(limited, bone, drawn, rng), thickness, gap, first)
    if rng.random() < drawn.sharpened:
        one = one + np.float32(rng.uniform(*drawn.sharpening)) * (one - ndimage.gaussian_filter(one, (1.0, 1.0, 0)))
    one = one + _cupping(one.shape, float(rng.uniform(*drawn.cupping_hu)))
    path = _path(np.where(bone > DENSE_HU, bone, 0))
    level = float(np.exp(rng.uniform(*np.log(drawn.noise_hu))))
    smear = float(rng.uniform(0.3, 0.9))
    noise = ndimage.gaussian_filter(rng.standard_normal(one.shape, np.float32), (smear, smear, thickness / STEP_MM / 3))
    noise *= np.float32(level / float(noise.std())) * (1 + np.float32(rng.uniform(0, 0.5)) * path[None])
    one = one + noise
    if rng.random() < drawn.streak:
        one = one + _streaks(path, float(rng.uniform(*drawn.streak_hu)), rng)[None]
    if rng.random() < drawn.motion:
        _move(one, drawn, rng)
    if tilt and thickness > STEP_MM:
        one = sheared(one, -tilt)
    if rng.random() < drawn.clipped:  # when exported: air is one value, without noise
        one = np.maximum(one, 0)
    if rng.random() < drawn.ct_stripped:
        one = np.where(ndimage.binary_erosion(head), one, 0)
    facts: Facts = {"noise_hu": level, "slice_mm": thickness, "gantry_tilt_deg": tilt}
    return np.asarray(one, np.float32), facts


def _spread(image: Float32Array, bone: Float32Array, drawn: Recipe, rng: np.random.Generator) -> Float32Array:
    """Point spread in the plane, with a tail, and what a hardened beam adds beside bone."""
    blur, tail_width = (float(rng.uniform(*limits)) / STEP_MM for limits in (drawn.blur_mm, drawn.tail_mm))
    tail = np.float32(rng.uniform(*drawn.tail))
    far = ndimage.gaussian_filter(bone, (tail_width, tail_width, tail_width / 2), truncate=3)
    near = ndimage.gaussian_filter(image, (blur, blur, 0), truncate=3)
    coarse = ndimage.gaussian_filter(far[::2, ::2, ::2], 1.25, truncate=2.5)
    wide = upsampled(coarse[None], far.shape)[0] * np.float32(rng.uniform(*drawn.beam_hardening))
    return np.asarray(near + tail * (far - bone) + wide, np.float32)


def _cupping(shape: tuple[int, ...], height: float) -> Float32Array:
    """A bowl in the plane, HU: 0 in the middle, ``height`` at 70 mm."""
    x, y = np.ogrid[: shape[0], : shape[1]]
    square = (x - (shape[0] - 1) / 2) ** 2 + (y - (shape[1] - 1) / 2) ** 2
    bowl = np.minimum(square / (70 / STEP_MM) ** 2, 1.6) * height
    return np.asarray(bowl[..., None], np.float32)


def _path(dense: Float32Array) -> Float32Array:
    """How much dense bone each row of each slice crosses from left to right, (Y, Z), over the rest; 0 to 1."""
    along = dense.sum(axis=0)
    excess = np.clip(along - ndimage.gaussian_filter1d(along, 12.0, axis=0), 0, None)
    return np.asarray(excess / max(1e-6, float(excess.max())), np.float32)


def _streaks(path: Float32Array, height: float, rng: np.random.Generator) -> Float32Array:
    """Bands between dense bones, (Y, Z): dark where a row crosses most bone, and lines of either sign."""
    lines = ndimage.gaussian_filter(rng.standard_normal(path.shape).astype(np.float32), (0.6, 0.3))
    return np.asarray(height * path * (0.8 * lines / max(1e-6, float(lines.std())) - 1.0), np.float32)


def _move(image: Float32Array, drawn: Recipe, rng: np.random.Generator) -> None:
    """Some slices are moved while they are taken: half of their signal lies elsewhere; in place."""
    depth = image.shape[2]
    low = int(rng.integers(depth))
    part = slice(low, min(depth, low + int(rng.integers(2, 16))))
    shift = rng.normal(size=2)
    shift *= rng.uniform(*drawn.motion_mm) / STEP_MM / max(1e-6, float(np.linalg.norm(shift)))
    moved = ndimage.shift(image[:, :, part], (*shift, 0), order=1, mode="nearest")
    share = np.float32(rng.uniform(0.2, 0.8))
    image[:, :, part] = image[:, :, part] * (1 - share) + moved * share
