"""CT perfusion phantom: a 4D series of the template's head whose blood flow, volume, transit time and delay are known.

Tissue is that of ``tasks.phantoms.tissue``, its curves those of ``tasks.phantoms.curves``. Grey and white matter of one
voxel add up, so the truth of a mixed voxel is the sum of flows and of volumes; arteries, veins and fluid dilute tissue
by partial volume. The signal is made on the head's 2 mm grid (``tasks.phantoms.perfusion_head``) and carried to the
slab frame by frame through that frame's rigid pose, two or more samples per slice averaged over its thickness.

Noise is white and Gaussian in every voxel of the slab; its standard deviation states the dose, since it falls with the
square root of the tube current (Brooks and Di Chiro, Med Phys 1976;3:237-240). Not modelled: beam hardening, noise that
is correlated or depends on place, dispersion on the way to the tissue, leakage, time differences between slices of one
frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tasks.arrays import Affine, AnyArray, Float32Array, FloatArray, Mask
from tasks.phantoms.arrival import Spacing
from tasks.phantoms.curves import (
    RESIDUE_SHAPES,
    Bolus,
    Residue,
    arterial_curve,
    tissue_curves,
    tissue_factor,
    venous_curve,
)
from tasks.phantoms.perfusion_head import PhantomHead, VesselName
from tasks.phantoms.tissue import PhantomLesion, Tissue, tissue_of, tissue_states
from tasks.space.affines import voxel_sizes_mm
from tasks.space.resample import Grid, resample_image
from tasks.space.rigid_motion import grid_centre, pose_matrix

#: An adult's head beside the ICBM152 template, which is larger than most (``tasks.registration.affine``: 0.75 to 1.05).
USUAL_POSE = np.diag([0.88, 0.88, 0.88, 1.0])
#: Occluded artery: what collaterals still bring to it, share and delay; chosen here.
OCCLUDED_SHARE, OCCLUDED_DELAY_S = 0.6, 5.0
SAMPLE_MM = 2.5  # at least one sample per so much of a slice's thickness: the head's grid has 2 mm
MARGIN_MM = 6.0  # of the head's grid around the slab


@dataclass(frozen=True)
class Protocol:
    """How the series is acquired.

    Attributes
    ----------
    shape : voxels of one frame
    spacing_mm : voxel size
    frame_times_s : time of each frame, any intervals
    noise_hu : standard deviation of the noise in every voxel; half the dose multiplies it by 1.41
    centre_mm : template point at which the slab's middle lies
    bolus : Bolus
    residue : ``exponential``, ``gamma`` or ``box``

    Raises
    ------
    ValueError
        Every value that cannot be used, named.
    """

    shape: tuple[int, int, int] = (128, 128, 16)
    spacing_mm: Spacing = (1.7, 1.7, 5.0)
    frame_times_s: tuple[float, ...] = tuple(1.5 * frame for frame in range(40))
    noise_hu: float = 4.0
    centre_mm: tuple[float, float, float] = (0.0, -18.0, 18.0)
    bolus: Bolus = field(default_factory=Bolus)
    residue: Residue = "exponential"

    def __post_init__(self) -> None:
        problems = []
        if len(self.shape) != 3 or min(self.shape) < 2:
            problems.append(f"shape must be three sizes >= 2 voxels, got {self.shape}.")
        if len(self.spacing_mm) != 3 or min(self.spacing_mm) <= 0:
            problems.append(f"spacing_mm must be three sizes > 0 mm, got {self.spacing_mm}.")
        times = np.asarray(self.frame_times_s, dtype=float)
        if len(times) < 2 or times[0] < 0 or not (np.diff(times) > 0).all():
            problems.append(f"frame_times_s must be two or more increasing times >= 0 s, got {self.frame_times_s}.")
        if not self.noise_hu >= 0:
            problems.append(f"noise_hu must be >= 0 HU, got {self.noise_hu} HU.")
        if self.residue not in RESIDUE_SHAPES:
            problems.append(f"residue must be one of {', '.join(RESIDUE_SHAPES)}, got {self.residue!r}.")
        if problems:
            raise ValueError(" ".join(problems))


@dataclass(frozen=True, eq=False)
class PerfusionTruth:
    """What is true on the slab's grid at the reference pose.

    Attributes
    ----------
    cbf, cbv : (X, Y, Z) float32 arrays, ml/100 g/min and ml/100 g, of the whole voxel
    mtt_s, delay_s : (X, Y, Z) float32 arrays, NaN where next to no tissue is (flow below 1 ml/100 g/min)
    core, penumbra, brain : (X, Y, Z) bool arrays, half of the voxel or more
    grey, white, artery, vein : (X, Y, Z) float32 arrays, share of the voxel in [0, 1]
    """

    cbf: Float32Array
    cbv: Float32Array
    mtt_s: Float32Array
    delay_s: Float32Array
    core: Mask
    penumbra: Mask
    brain: Mask
    grey: Float32Array
    white: Float32Array
    artery: Float32Array
    vein: Float32Array


@dataclass(frozen=True, eq=False)
class PerfusionPhantom:
    """A simulated series.

    Attributes
    ----------
    series : (X, Y, Z, T) float32 array, HU, each frame contiguous
    affine : (4, 4) float array, voxel -> world of the scan, RAS, mm
    frame_times_s, aif_hu, vof_hu : (T,) float arrays; enhancement of pure arterial and venous blood
    motion : (T, 6) float array, pose of each frame about the middle of the slab (``tasks.space.rigid_motion``)
    template_to_scan : (4, 4) float array, template world -> scan world at the reference pose
    truth : PerfusionTruth
    """

    series: Float32Array
    affine: Affine
    frame_times_s: FloatArray
    aif_hu: FloatArray
    vof_hu: FloatArray
    motion: FloatArray
    template_to_scan: Affine
    truth: PerfusionTruth


def simulate_perfusion(
    head: PhantomHead,
    protocol: Protocol,
    rng: np.random.Generator,
    *,
    lesion: PhantomLesion | None = None,
    template_to_scan: Affine = USUAL_POSE,
    motion: npt.ArrayLike | None = None,
) -> PerfusionPhantom:
    """Simulate one series.

    Parameters
    ----------
    head : PhantomHead
    protocol : Protocol
    rng : the same generator state gives the same series
    lesion : PhantomLesion; the middle cerebral artery of its side is occluded
    template_to_scan : (4, 4) float array, where the head lies in the scanner and how large it is
    motion : (T, 6) array, pose of each frame; none moves nothing

    Raises
    ------
    ValueError
        ``motion`` has not one row per frame.
    """
    times = np.asarray(protocol.frame_times_s, dtype=np.float64)
    poses = np.zeros((len(times), 6)) if motion is None else np.asarray(motion, dtype=np.float64)
    if poses.shape != (len(times), 6):
        raise ValueError(f"motion must be one pose of six numbers per frame, ({len(times)}, 6), got {poses.shape}.")
    grid = _slab_grid(protocol, template_to_scan)
    centre = grid_centre(grid.shape, grid.affine)
    to_head = [_inverse(pose_matrix(pose, centre) @ template_to_scan) for pose in poses]
    box = _box_around(head, grid, to_head)
    states = tissue_states(head, lesion)[box]
    curves = tissue_curves(times, protocol.bolus, protocol.residue)
    crop = _Crop(head, box, grid)
    tissue = tissue_of(head, box, states, curves, rng)
    aif, vof = arterial_curve(times, protocol.bolus), venous_curve(times, protocol.bolus)
    vessels = _vessel_curves(times, protocol.bolus, lesion, head)
    factors = [
        (tissue_factor(cbf) * crop.flat(share)[tissue.positions]).astype(np.float32)
        for cbf, share in zip(tissue.cbf, (head.grey, head.white), strict=True)
    ]
    static = crop.flat(head.static_hu)
    blood = {name: crop.flat(share) for name, share in head.vessels.items()}
    places = {name: np.flatnonzero(share) for name, share in blood.items()}
    series = np.empty((*grid.shape, len(times)), dtype=np.float32, order="F")
    for frame, transform in enumerate(to_head):
        values = static.copy()
        for columns, factor in zip(tissue.columns, factors, strict=True):
            values[tissue.positions] += factor * curves.bank[frame][columns]
        for name, where in places.items():
            values[where] += blood[name][where] * np.float32(vessels[name][frame])
        series[..., frame] = crop.on_slab(values, transform, outside=float(head.static_hu.min()))
        if protocol.noise_hu:
            noise = rng.standard_normal(grid.shape[::-1], dtype=np.float32).T
            series[..., frame] += np.float32(protocol.noise_hu) * noise
    truth = _truth(crop, head, tissue, states, _inverse(template_to_scan))
    return PerfusionPhantom(series, grid.affine, times, aif, vof, poses, np.asarray(template_to_scan), truth)


def _inverse(matrix: Affine) -> Affine:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


class _Crop:
    """The part of the head's grid around the slab, flat with x fastest, and the way from there to the slab."""

    def __init__(self, head: PhantomHead, box: tuple[slice, ...], grid: Grid) -> None:
        self.box = box
        self.shape = tuple(one.stop - one.start for one in box)
        self.affine = head.affine.copy()
        self.affine[:3, 3] += head.affine[:3, :3] @ [one.start for one in box]
        spacing = voxel_sizes_mm(grid.affine)
        self.n_samples = max(1, int(np.ceil(spacing[2] / SAMPLE_MM - 1e-9)))
        affine = grid.affine @ np.diag([1, 1, 1 / self.n_samples, 1])
        affine[:3, 3] -= grid.affine[:3, 2] * (1 - 1 / self.n_samples) / 2
        self.fine = Grid((grid.shape[0], grid.shape[1], grid.shape[2] * self.n_samples), affine)

    def flat(self, values: AnyArray) -> Float32Array:
        """Values of the whole head cut to the box."""
        return np.ascontiguousarray(values[self.box].T, dtype=np.float32).ravel()

    def on_slab(self, flat: Float32Array, scan_to_head: Affine, *, outside: float = 0.0) -> Float32Array:
        """Linear samples through a pose, averaged over each slice's thickness."""
        values = flat.reshape(self.shape[::-1]).T
        fine = resample_image(values, self.affine, self.fine, scan_to_head, outside=outside)
        total = fine[:, :, :: self.n_samples].copy(order="F")
        for sample in range(1, self.n_samples):
            total += fine[:, :, sample :: self.n_samples]
        return total / np.float32(self.n_samples)


def _slab_grid(protocol: Protocol, template_to_scan: Affine) -> Grid:
    """The slab's grid, LPS as CT comes, around its centre."""
    x, y, z = protocol.spacing_mm
    affine = np.diag([-x, -y, z, 1.0])
    centre = (template_to_scan @ [*protocol.centre_mm, 1.0])[:3]
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.asarray(protocol.shape) - 1) / 2)
    return Grid(protocol.shape, affine)


def _box_around(head: PhantomHead, grid: Grid, to_head: list[Affine]) -> tuple[slice, ...]:
    """The head's voxels that the slab sees in any frame."""
    corners = np.array(np.meshgrid(*((-0.5, size - 0.5) for size in grid.shape), [1.0])).reshape(4, -1)
    inverse = np.linalg.inv(head.affine)
    voxels = np.concatenate([(inverse @ one @ grid.affine @ corners)[:3] for one in to_head], axis=1)
    margin = MARGIN_MM / voxel_sizes_mm(head.affine)
    low = np.clip(np.floor(voxels.min(axis=1) - margin), 0, np.asarray(head.grey.shape) - 2).astype(int)
    high = np.clip(np.ceil(voxels.max(axis=1) + margin), low + 2, head.grey.shape).astype(int)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _vessel_curves(
    times: FloatArray, bolus: Bolus, lesion: PhantomLesion | None, head: PhantomHead
) -> dict[VesselName, FloatArray]:
    """Enhancement of each vessel; the middle cerebral artery of the lesion's side fills late and less."""
    arterial = arterial_curve(times, bolus)
    enhancement: dict[VesselName, FloatArray] = {
        "artery": arterial, "left_mca": arterial, "right_mca": arterial, "vein": venous_curve(times, bolus)
    }  # fmt: skip
    if lesion is not None:
        middle = np.argwhere(lesion.core | lesion.penumbra).mean(axis=0)
        x_mm = head.template_affine[0] @ [*middle, 1.0]
        late = np.maximum(times - OCCLUDED_DELAY_S, 0)
        enhancement["left_mca" if x_mm < 0 else "right_mca"] = OCCLUDED_SHARE * arterial_curve(late, bolus)
    return enhancement


def _truth(
    crop: _Crop, head: PhantomHead, tissue: Tissue, states: npt.NDArray[np.uint8], scan_to_head: Affine
) -> PerfusionTruth:
    """Averages of the truth over the slab's voxels."""
    shares = [crop.flat(one) for one in (head.grey, head.white)]

    def mean(values: AnyArray) -> Float32Array:
        return crop.on_slab(np.asarray(values, dtype=np.float32), scan_to_head)

    def summed(quantities: tuple[FloatArray, ...]) -> Float32Array:
        total = np.zeros(shares[0].size, dtype=np.float32)
        for quantity, share in zip(quantities, shares, strict=True):
            total[tissue.positions] += quantity * share[tissue.positions]
        return mean(total)

    cbf, cbv = summed(tissue.cbf), summed(tissue.cbv)
    delayed = summed(tuple(one * tissue.delay_s for one in tissue.cbf))
    has_flow = cbf > 1
    flat = states.T.ravel()
    mtt_s, delay_s = (np.full(cbf.shape, np.nan, dtype=np.float32, order="F") for _ in range(2))
    mtt_s[has_flow] = 60 * cbv[has_flow] / cbf[has_flow]
    delay_s[has_flow] = delayed[has_flow] / cbf[has_flow]
    core = mean(flat == 2) >= 0.5
    penumbra = (mean(flat == 1) >= 0.5) & ~core
    arteries = [crop.flat(share) for name, share in head.vessels.items() if name != "vein"]
    return PerfusionTruth(
        cbf, cbv, mtt_s, delay_s, core, penumbra, mean(crop.flat(head.brain)) >= 0.5, mean(shares[0]), mean(shares[1]),
        mean(np.sum(arteries, axis=0)), mean(crop.flat(head.vessels["vein"])),
    )  # fmt: skip
