"""Scans of the head phantom: CT without contrast agent, CT angiography and diffusion MR, with an infarct if given.

Values follow from tissue physics; the source of each number stands on its line. What is simple: CT noise is white, and
diffusion images have no distortion and no signal loss at the skull base.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tasks.arrays import Affine, Float32Array, Mask
from tasks.phantoms.head import Acquisition, Head, sample_head
from tasks.phantoms.vessels import vessel_share
from tasks.space.resample import resample_image

#: HU at 120 kV, as the registration takes them (``tasks.registration.target``); bone is compact and spongy bone mixed,
#: soft is skin, fat and muscle mixed.
TISSUE_HU: Mapping[str, float] = {
    "grey": 37.0,
    "white": 28.0,
    "csf": 10.0,
    "fluid": 8.0,
    "bone": 900.0,
    "soft": 40.0,
}
AIR_HU = -1000.0
#: Net water uptake at 4.5 h, the threshold that parts lesions before and after it best: 11.5 % (Minnerup et al., Ann
#: Neurol 2016;80:924-934); of 33 HU, the middle of grey and white matter. Taken as linear
#: in time: 0.84 HU/h, beside 3.9 HU in 6 h in rats (Dzialowski et al., J Neuroimaging 2004;14:42-48).
LOWERING_HU_PER_H = 0.115 * 33 / 4.5
MOST_LOWERING_HU = 0.2 * 33  # 20 % of water: beyond lies the malignant oedema of later days
CUPPING_MM = 15.0  # depth below the skull at which the beam-hardening cup has fallen to 1/e
BLOOD_VOLUME = {"grey": 0.04, "white": 0.02}  # ml of blood per ml of tissue: 4 and 2 ml/100 g, as in perfusion texts

B_VALUE_S_PER_MM2 = 1000.0
ECHO_TIME_MS = 80.0  # common for clinical echo-planar DWI at 1.5 T
#: Proton density (share of water's), T2 at 1.5 T (ms), ADC (10^-3 mm2/s). T2 of grey and white matter and of muscle:
#: Stanisz et al., Magn Reson Med 2005;54:507-512; soft tissue at half its density, as fat is suppressed. ADC of grey
#: and white matter: normal 0.84 on average (Nagesh et al., Stroke 1998;29:1778-1782), grey above white; fluid: free
#: water at 37 degrees. Bone gives no signal.
DIFFUSION: Mapping[str, tuple[float, float, float]] = {
    "grey": (0.82, 95.0, 0.86),
    "white": (0.70, 72.0, 0.76),
    "csf": (1.0, 2000.0, 3.0),
    "fluid": (1.0, 2000.0, 3.0),
    "soft": (0.5, 44.0, 1.5),
}
SIGNAL_SCALE = 1000.0  # stored signal of pure water without decay
#: An infarct of 0 to 63 h is brighter on DWI by 0.13 of log10 by its ADC and by 0.11 by its longer T2 (Eastwood et al.,
#: AJNR 2003;24:680-687): at b = 1000 the first is an ADC lower by 0.3 of 0.84 x 10^-3 mm2/s.
ACUTE_ADC_RATIO = 1 - 0.13 * np.log(10) / 0.84
ACUTE_T2_RATIO = 10**0.11
ADC_MINIMUM_SNR = 5.0  # below it the logarithm of the signal is noise, and scanners store 0


@dataclass(frozen=True, eq=False)
class Infarct:
    """An acute infarct in template space.

    Attributes
    ----------
    mask : (X, Y, Z) bool array
    affine : (4, 4) float array, voxel -> template world, RAS, mm
    lowering_hu : by how much grey and white matter are darker on CT; see ``lowering_hu``
    adc_ratio : ADC of grey and white matter over their normal one
    t2_ratio : signal at b = 0 of grey and white matter over their normal one
    """

    mask: Mask
    affine: Affine
    lowering_hu: float
    adc_ratio: float = ACUTE_ADC_RATIO
    t2_ratio: float = ACUTE_T2_RATIO


@dataclass(frozen=True, eq=False)
class DiffusionScan:
    """Images of one diffusion series, (X, Y, Z) float32 each: ``b0`` and ``b1000`` in units of signal; ``adc`` in
    10^-3 mm2/s, 0 where there is too little signal.
    """

    b0: Float32Array
    b1000: Float32Array
    adc: Float32Array


def lowering_hu(hours_from_onset: float) -> float:
    """How much darker an infarct of this age is on CT, HU: 0.84 an hour, at most 6.6."""
    return float(np.clip(LOWERING_HU_PER_H * hours_from_onset, 0.0, MOST_LOWERING_HU))


def simulate_ncct(
    head: Head,
    acquisition: Acquisition,
    infarct: Infarct | None = None,
    *,
    noise_hu: float = 4.0,
    cupping_hu: float = 2.0,
) -> Float32Array:
    """A CT without contrast agent, HU, with negative values; clip it at 0 for a scan that lost them.

    Parameters
    ----------
    noise_hu : standard deviation per voxel: 3 to 5 HU in slices of 5 mm, and root five times that in slices of 1 mm
    cupping_hu : by how much brain next to bone is brighter than in the middle, which beam hardening leaves
    """
    image = head.image(TISSUE_HU, AIR_HU)
    image += np.float32(cupping_hu) * np.exp(-head.depth_mm / np.float32(CUPPING_MM)) * head.brain
    if infarct is not None:
        image -= np.float32(infarct.lowering_hu) * _tissue_in(infarct, head)
    return _with_ct_noise(sample_head(image, head, acquisition, AIR_HU), noise_hu, acquisition.seed)


def simulate_cta(
    head: Head,
    acquisition: Acquisition,
    infarct: Infarct | None = None,
    *,
    vessel_hu: float = 300.0,
    noise_hu: float = 8.0,
) -> Float32Array:
    """A CT angiography, HU: large arteries filled to ``vessel_hu``, tissue brighter by its share of blood.

    Inside an infarct no blood arrives, so that it is darker by water and by blood.
    """
    image = head.image(TISSUE_HU, AIR_HU)
    for tissue, share in BLOOD_VOLUME.items():
        filled = head.shares[tissue] * np.float32(share * vessel_hu)
        image += filled if infarct is None else filled * (1 - _share_of(infarct, head))
    if infarct is not None:
        image -= np.float32(infarct.lowering_hu) * _tissue_in(infarct, head)
    vessels = vessel_share(head.grid)
    image += vessels * (np.float32(vessel_hu) - image)
    return _with_ct_noise(sample_head(image, head, acquisition, AIR_HU), noise_hu, acquisition.seed)


def simulate_diffusion(
    head: Head,
    acquisition: Acquisition,
    infarct: Infarct | None = None,
    *,
    noise: float = 9.0,
    bias: float = 0.2,
) -> DiffusionScan:
    """Diffusion images at b = 0 and b = 1000 s/mm2 (trace), and the ADC that follows from both.

    Signal is density x exp(-TE/T2) x exp(-b ADC), summed over tissues, times a smooth coil sensitivity; noise is Rician
    (Gudbjartsson and Patz, Magn Reson Med 1995;34:910-914).

    Parameters
    ----------
    noise : standard deviation of either channel, in units of signal; 9 is a fortieth of grey matter's at b = 0
    bias : coil sensitivity differs from 1 by at most this
    """
    decay = {tissue: SIGNAL_SCALE * pd * np.exp(-ECHO_TIME_MS / t2) for tissue, (pd, t2, _) in DIFFUSION.items()}
    unit = B_VALUE_S_PER_MM2 / 1000  # times 10^-3 mm2/s
    weighted = {tissue: decay[tissue] * np.exp(-unit * adc) for tissue, (_, _, adc) in DIFFUSION.items()}
    low, high = head.image(decay, 0.0), head.image(weighted, 0.0)
    if infarct is not None:
        share = _share_of(infarct, head)
        for tissue in ("grey", "white"):
            at_0 = decay[tissue] * infarct.t2_ratio
            at_b = at_0 * np.exp(-unit * DIFFUSION[tissue][2] * infarct.adc_ratio)
            low += share * head.shares[tissue] * np.float32(at_0 - decay[tissue])
            high += share * head.shares[tissue] * np.float32(at_b - weighted[tissue])
    rng = np.random.default_rng(acquisition.seed)
    sensitivity = _sensitivity(acquisition.grid.shape, bias, rng)
    b0, b1000 = (
        _with_rician_noise(sample_head(image, head, acquisition, 0.0) * sensitivity, noise, rng)
        for image in (low, high)
    )
    has_signal = b0 > ADC_MINIMUM_SNR * noise
    ratio = np.divide(b0, b1000, out=np.ones_like(b0), where=has_signal & (b1000 > 0))
    return DiffusionScan(b0, b1000, np.clip(np.log(ratio) / np.float32(unit), 0, None))


def _share_of(infarct: Infarct, head: Head) -> Float32Array:
    """Share of each voxel of the head that is infarct."""
    return resample_image(infarct.mask, infarct.affine, head.grid, np.eye(4))


def _tissue_in(infarct: Infarct, head: Head) -> Float32Array:
    """Share of each voxel that is infarcted grey or white matter: fluid does not change."""
    return np.asarray(_share_of(infarct, head) * (head.shares["grey"] + head.shares["white"]), dtype=np.float32)


def _with_ct_noise(image: Float32Array, noise_hu: float, seed: int) -> Float32Array:
    """Add white noise."""
    noise = np.random.default_rng(seed).standard_normal(image.shape, dtype=np.float32)
    return image + noise * np.float32(noise_hu)


def _with_rician_noise(signal: Float32Array, noise: float, rng: np.random.Generator) -> Float32Array:
    """The magnitude of a signal with the same normal noise in both channels."""
    real, imaginary = (rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(noise) for _ in range(2))
    return np.asarray(np.hypot(signal + real, imaginary), dtype=np.float32)


def _sensitivity(shape: tuple[int, int, int], bias: float, rng: np.random.Generator) -> Float32Array:
    """A smooth coil sensitivity: one random parabola along each axis."""
    axes = [np.linspace(-1, 1, size, dtype=np.float32) for size in shape]
    slopes, bends = rng.uniform(-1, 1, (2, 3)).astype(np.float32)
    x, y, z = (slope * axis + bend * (axis**2 - 0.5) for slope, bend, axis in zip(slopes, bends, axes, strict=True))
    return np.asarray(1 + np.float32(bias / 4.5) * (x[:, None, None] + y[:, None] + z), dtype=np.float32)
