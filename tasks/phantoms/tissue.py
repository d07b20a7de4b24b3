"""Tissue of the CT perfusion phantom: flow, volume, transit time and delay of every voxel, healthy or ischaemic.

Normal tissue and core have published values; a lesion's core and penumbra are grown in a territory
(``tasks.phantoms.lesion``). Smooth random fields spread the values over gyri.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tasks.arrays import Float32Array, FloatArray, Mask
from tasks.phantoms.arrival import Spacing, smooth_field
from tasks.phantoms.curves import TissueCurves
from tasks.phantoms.lesion import grow_lesion
from tasks.phantoms.perfusion_head import PhantomHead, on_head_grid
from tasks.space.affines import voxel_sizes_mm

#: Spread of normal tissue over a gyrus: chosen here so that core and penumbra stay apart from the threshold of 30 %.
FIELD_MM, FIELD_STEP_MM, LOG_FLOW_SD, LOG_TRANSIT_SD, DELAY_SD_S = 12.0, 4.0, 0.08, 0.05, 0.4


@dataclass(frozen=True)
class Haemodynamics:
    """Flow (ml/100 g/min) and volume (ml/100 g) of grey and white matter in one state, and the delay of the blood."""

    cbf: tuple[float, float]
    cbv: tuple[float, float]
    delay_s: float


#: Normal and core ("severely reduced"): Riordan et al., Med Phys 2011;38:3212-3221, as in the Digital Brain Perfusion
#: Phantom (FAU Erlangen, 2013). Penumbra has the volumes of its "reduced" state and 45 % of normal flow instead of its
#: 30 %, which is the threshold of core itself. Delays: chosen so that Tmax of penumbra and core lies above 6 s.
NORMAL = Haemodynamics(cbf=(53.0, 25.0), cbv=(3.3, 1.9), delay_s=1.0)
PENUMBRA = Haemodynamics(cbf=(0.45 * 53.0, 0.45 * 25.0), cbv=(3.0, 1.7), delay_s=8.0)
CORE = Haemodynamics(cbf=(5.3, 2.5), cbv=(0.71, 0.42), delay_s=9.0)


@dataclass(frozen=True, eq=False)
class PhantomLesion:
    """Core, and penumbra around it, (X, Y, Z) bool arrays on the template grid; a voxel of both counts as core."""

    core: Mask
    penumbra: Mask


@dataclass(frozen=True, eq=False)
class Tissue:
    """Flow of every tissue voxel of the cropped head: flat positions, one row for grey and one for white matter."""

    positions: npt.NDArray[np.intp]
    columns: tuple[npt.NDArray[np.int32], ...]
    cbf: tuple[FloatArray, ...]
    cbv: tuple[FloatArray, ...]
    delay_s: FloatArray


def grow_ischaemia(
    domain: Mask,
    *,
    seed: tuple[int, int, int],
    core_ml: float,
    hypoperfused_ml: float,
    spacing_mm: Spacing,
    rng: np.random.Generator,
) -> PhantomLesion:
    """Grow a hypoperfused region in a territory and the core inside it, both from ``seed``.

    Parameters
    ----------
    domain : (X, Y, Z) bool array on the template grid, as of `tasks.phantoms.lesion.lesion_domain`
    core_ml, hypoperfused_ml : core, and core with penumbra, ml of the template

    Raises
    ------
    ValueError
        The core is not the smaller, or the domain is too small.
    """
    if not 0 < core_ml < hypoperfused_ml:
        raise ValueError(f"core_ml must be > 0 and < hypoperfused_ml, got {core_ml} and {hypoperfused_ml} ml.")
    whole = grow_lesion(domain, seed=seed, volume_ml=hypoperfused_ml, spacing_mm=spacing_mm, rng=rng)
    core = grow_lesion(whole, seed=seed, volume_ml=core_ml, spacing_mm=spacing_mm, rng=rng)
    return PhantomLesion(core, whole & ~core)


def tissue_states(head: PhantomHead, lesion: PhantomLesion | None) -> npt.NDArray[np.uint8]:
    """0 normal, 1 penumbra, 2 core on the head's grid."""
    states = np.zeros(head.grey.shape, dtype=np.uint8)
    if lesion is not None:
        states[on_head_grid(lesion.core | lesion.penumbra, head)] = 1
        states[on_head_grid(lesion.core, head)] = 2
    return states


def tissue_of(
    head: PhantomHead,
    box: tuple[slice, ...],
    states: npt.NDArray[np.uint8],
    curves: TissueCurves,
    rng: np.random.Generator,
) -> Tissue:
    """Flow, volume and delay of every tissue voxel, spread by smooth fields."""
    spacing = voxel_sizes_mm(head.affine)
    positions = np.flatnonzero((head.grey[box].T + head.white[box].T) > 0)
    flow, transit, late = (_field(states.shape, spacing, rng).T.ravel()[positions] for _ in range(3))
    state = states.T.ravel()[positions]
    delays = np.array([one.delay_s for one in (NORMAL, PENUMBRA, CORE)])
    delay_s = delays[state] + DELAY_SD_S * late
    columns, flows, volumes = [], [], []
    for matter in range(2):
        cbf_of, cbv_of = (
            np.array([getattr(one, name)[matter] for one in (NORMAL, PENUMBRA, CORE)]) for name in ("cbf", "cbv")
        )
        cbf = cbf_of[state] * np.exp(LOG_FLOW_SD * flow)
        wanted = (60 * cbv_of / cbf_of)[state] * np.exp(LOG_TRANSIT_SD * transit)
        column, mtt_s, at_s = curves.nearest(wanted, delay_s)
        columns.append(column)
        flows.append(cbf)
        volumes.append(cbf * mtt_s / 60)
    return Tissue(positions, tuple(columns), tuple(flows), tuple(volumes), at_s)


def _field(shape: tuple[int, ...], spacing: FloatArray, rng: np.random.Generator) -> Float32Array:
    """A smooth random field, made on a coarse grid and interpolated."""
    ratio = FIELD_STEP_MM / spacing
    coarse_shape = tuple(int(np.ceil(size / one)) + 1 for size, one in zip(shape, ratio, strict=True))
    coarse = smooth_field(coarse_shape, np.full(3, FIELD_MM / FIELD_STEP_MM), rng).astype(np.float32)
    return np.asarray(ndimage.affine_transform(coarse, 1 / ratio, output_shape=shape, order=1, prefilter=False))
