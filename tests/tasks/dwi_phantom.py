"""Diffusion scans of synthetic heads: the template with published T2 and ADC, an infarct, and what spoils scans.

Each head is the template under a random affine and a smooth random warp, so that its two halves differ. Signals follow
``PD exp(-TE / T2) exp(-b ADC)``; then come point spread, slice thickness, coil shading, susceptibility pile-up and void
at the air spaces of the skull base, misplacement between b0 and b1000 by eddy currents, and Rician noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from models.anatomy.template import load_label_map, load_template
from tasks.phantoms.lesion import grow_emboli, grow_lacune, grow_lesion
from tests.once_per_run import once_per_run

B_VALUE = 1000.0
TE_MS = 90.0  # echo time of clinical diffusion scans: 60 to 100
# Proton density, T2 (ms) and ADC (1e-3 mm2/s). T2: Cox & Gowland, Magn Reson Med 2010 (grey 87 and 76, white 80 and 71
# at 1.5 and 3 T); ADC: Helenius et al., AJNR 2002;23:194-199 (cortex 0.89, deep grey 0.75, white 0.70).
GREY, DEEP, WHITE, FLUID = (0.82, 80.0, 0.89), (0.82, 70.0, 0.75), (0.70, 75.0, 0.70), (1.0, 1000.0, 3.0)
#: Where air meets the brain, template world mm: frontal sinus and ethmoid, both petrous bones, both temporal poles.
AIR_MM = ((0, 45, -22), (12, 35, -24), (-12, 35, -24), (48, -22, -28), (-48, -22, -28), (45, 8, -38), (-45, 8, -38))


@dataclass(frozen=True, eq=False)
class DwiPhantom:
    """A scan with its truth; ``adc`` is computed from the noisy ``b0`` and ``dwi``.

    ``places`` is where each voxel lies in the template, (3, N) in C order, mm.
    """

    dwi: np.ndarray
    b0: np.ndarray
    adc: np.ndarray
    lesion: np.ndarray
    brain: np.ndarray
    affine: np.ndarray
    places: np.ndarray


@once_per_run
def anatomy():
    """Tissue shares, brain and regions of the template on its 2 mm grid."""
    template = load_template()
    step = (slice(None, None, 2),) * 3
    labels = load_label_map("classic")
    named = np.array([""] + [""] * max(one.index for one in labels.table.labels), dtype=object)
    for one in labels.table.labels:
        named[one.index] = one.region
    regions = labels.labels[step]
    deep = np.isin(regions, [i for i, n in enumerate(named) if n in ("caudate", "lentiform")])
    bright = np.isin(regions, [i for i, n in enumerate(named) if n in ("insula", "internal_capsule")])
    affine = template.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    grey, white, csf = (
        np.asarray(one[step], dtype=np.float32) for one in (template.grey, template.white, template.csf)
    )
    return grey, white, csf, template.brain[step], deep, bright, affine


def synthetic_lesion(kind, volume_ml, rng):
    """An infarct on the template's 2 mm grid: ``mca``, ``emboli``, ``lacune`` or ``none``."""
    grey, white, _, brain, deep, _, affine = anatomy()
    none = np.zeros(brain.shape, dtype=bool)
    if kind == "none":
        return none
    x, y, z = (np.indices(brain.shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]).T.reshape(3, *brain.shape)
    tissue = brain & (grey + white > 0.6)
    tissue &= (x > 4) if rng.random() < 0.5 else (x < -4)
    if kind != "lacune":
        tissue &= (np.abs(x) > 14) & (y > -60) & (y < 45) & (z > -20) & (z < 62)
    spacing = (2.0, 2.0, 2.0)
    if kind == "emboli":
        n_emboli = int(rng.integers(4, 12))
        return grow_emboli(tissue, n_emboli=n_emboli, volume_ml=volume_ml, spacing_mm=spacing, rng=rng)
    start = tissue & (np.abs(x) > 20) & (np.abs(x) < 50) & (z > -5) & (z < 40)
    if kind == "lacune":
        start = tissue & deep
    voxels = np.argwhere(start)
    seed = tuple(int(one) for one in voxels[rng.integers(len(voxels))])
    if kind == "lacune":
        return grow_lacune(tissue, seed=seed, diameter_mm=12.0, spacing_mm=spacing, rng=rng)
    return grow_lesion(tissue, seed=seed, volume_ml=volume_ml, spacing_mm=spacing, rng=rng)


def dwi_phantom(kind="mca", volume_ml=20.0, *, seed=0, slice_mm=2.0, lesion=None):
    """A phantom; ``lesion`` (on the template's 2 mm grid) takes the place of a synthetic one."""
    rng = np.random.default_rng(seed)
    truth = synthetic_lesion(kind, volume_ml, rng) if lesion is None else lesion
    s0, sb = _signals(truth, rng)
    _, _, _, brain, _, _, source = anatomy()
    spacing = np.array([2.0, 2.0, 2.0] if slice_mm < 3 else [1.5, 1.5, slice_mm])
    shape = tuple(np.ceil(np.array([180.0, 216.0, 160.0]) / spacing).astype(int))
    grid = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    grid[:3, 3] = np.array([0.0, -18.0, 4.0]) - grid[:3, :3] @ ((np.array(shape) - 1) / 2)
    points = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")).reshape(3, -1)
    world = _deformed(grid[:3, :3] @ points + grid[:3, 3:], shape, spacing, rng)
    blur = np.array([1.1, 1.1, max(1.1, slice_mm / np.sqrt(12))]) / 2  # point spread of 2.6 mm; a slice's box

    def onto(image, at):
        smooth = ndimage.gaussian_filter(np.asarray(image, dtype=np.float32), blur)
        voxels = np.linalg.inv(source)[:3] @ np.vstack([at, np.ones(at.shape[1])])
        return ndimage.map_coordinates(smooth, voxels, order=1, output=np.float32).reshape(shape)

    eddy = world.copy()
    eddy[1] += rng.normal(0, 0.5) + rng.normal(0, 0.01) * (world[1] + 18)  # mm: shift and stretch along phase encoding
    clean0, cleanb, mask = onto(s0, eddy), onto(sb, world), onto(brain, world) > 0.5
    pile = _susceptibility(world, rng).reshape(shape)
    shading = _shading(world, rng).reshape(shape)
    clean0, cleanb = clean0 * pile ** rng.uniform(0.75, 1.05) * shading, cleanb * pile * shading  # not quite alike
    level = float(np.median(cleanb[mask]))
    noise = level / rng.uniform(15, 30)  # of the trace of three directions
    dwi, b0 = _rician(cleanb, noise, rng), _rician(clean0, noise * 1.5, rng)
    unit = rng.uniform(100, 900) / level
    with np.errstate(divide="ignore", invalid="ignore"):
        adc = np.where(mask, np.log(b0 / dwi), 0) * 1000 / B_VALUE
    adc = np.clip(np.nan_to_num(adc), 0, 4).astype(np.float32)
    seen = (onto(truth, world) > 0.5) & mask
    return DwiPhantom(dwi * np.float32(unit), b0 * np.float32(unit), adc, seen, mask, grid, world)


def _signals(lesion, rng):
    """Signals at b0 and b1000 of the head at rest, on the template's 2 mm grid."""
    grey, white, csf, brain, deep, bright, _ = anatomy()

    def field(length_mm, sd):
        noise = ndimage.gaussian_filter(rng.standard_normal(grey.shape).astype(np.float32), length_mm / 2)
        return noise * np.float32(sd / noise.std())

    patches = (field(4, 1) > 1.6) & (white > 0.8)  # chronic white matter change: long T2 and raised ADC
    weight = rng.random() < 0.5
    soft = ndimage.gaussian_filter(lesion.astype(np.float32), 0.5)
    # Infarct of the first days: ADC 0.63 +- 0.08 (Nagesh et al., Stroke 1998;29:1778-1782); b0 signal 1.1 to 1.5 times
    # normal (Eastwood et al., AJNR 2003;24:680-687: at 0-63 h log10 of the T2 part 0.11).
    ratio = np.float32(rng.uniform(0.62, 0.80)) * np.exp(field(5, 0.08))
    t2_part = np.float32(rng.uniform(1.1, 1.5)) * np.exp(field(5, 0.08))
    totals = [np.zeros(grey.shape, np.float32) for _ in range(2)]
    vary_t2, vary_adc = np.exp(field(8, 0.05)), np.exp(field(8, 0.04))
    for share, (density, t2, adc) in (
        (np.where(deep, 0, grey), GREY),
        (np.where(deep, grey, 0), DEEP),
        (white, WHITE),
        (csf, FLUID),
    ):
        base = density * np.exp(-TE_MS / t2) * share * brain
        is_fluid = t2 > 500
        amount = base if is_fluid else base * vary_t2 * np.where(bright, 1.12, 1) * np.where(weight & patches, 1.7, 1)
        coefficient = adc if is_fluid else adc * vary_adc + 0.3 * (weight & patches)
        if not is_fluid:
            amount = amount * (1 + soft * (t2_part - 1))
            coefficient = coefficient * (1 + soft * (ratio - 1))
        totals[0] += amount
        totals[1] += amount * np.exp(-B_VALUE / 1000 * coefficient)
    return totals


def _deformed(world, shape, spacing, rng):
    """Template points seen at the scan's points: a random affine and a smooth warp of about 2 mm."""
    angles = np.radians(rng.normal(0, 4, 3))
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = [i for i in range(3) if i != axis]
        part = np.eye(3)
        part[one, one] = part[other, other] = np.cos(angle)
        part[one, other], part[other, one] = -np.sin(angle), np.sin(angle)
        turn = turn @ part
    matrix = turn @ np.diag(rng.normal(1.08, 0.03, 3))  # heads are smaller than the template
    centre = np.array([[0.0], [-18.0], [4.0]])
    moved = matrix @ (world - centre) + centre + rng.normal(0, 4, (3, 1))
    for axis in range(3):
        coarse = rng.standard_normal(tuple(np.maximum(2, (np.array(shape) * spacing / 25).astype(int))))
        zoomed = ndimage.zoom(coarse, np.array(shape) / coarse.shape, order=1, grid_mode=True, mode="nearest")
        moved[axis] += 2.0 * zoomed.reshape(-1)
    return moved


def _shading(world, rng):
    """Coil sensitivity: a random quadratic of up to about 30 % across the head."""
    x, y, z = (world - np.array([[0.0], [-18.0], [4.0]])) / 80
    terms = np.stack([x, y, z, x * x, y * y, z * z, x * y, x * z, y * z])
    return np.exp(rng.normal(0, 0.10, 9) @ terms + 0.10 * (x * x + y * y)).astype(np.float32)


def _susceptibility(world, rng):
    """Pile-up and void at the air spaces: 1.3 to 2.5 times as bright, and dark beside it."""
    factor = np.ones(world.shape[1], np.float32)
    for place in AIR_MM:
        if rng.random() < 0.7:
            centre = np.array(place)[:, None] + rng.normal(0, 4, (3, 1))
            widths = rng.uniform(4, 9, (3, 1))
            factor *= 1 + rng.uniform(0.3, 1.5) * np.exp(-(((world - centre) / widths) ** 2).sum(0) / 2)
            factor *= 1 - 0.7 * np.exp(-(((world - centre + np.array([[0], [2.0], [10]])) / 6) ** 2).sum(0) / 2)
    return factor


def _rician(clean, noise, rng):
    """Magnitude of a complex signal with noise in both parts."""
    one, other = rng.standard_normal((2, *clean.shape)).astype(np.float32) * np.float32(noise)
    return np.sqrt((clean + one) ** 2 + other**2).astype(np.float32)
