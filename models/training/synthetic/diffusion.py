"""Diffusion MR of a synthetic patient: forward contrast, coil, slices, noise, and the brain that is found on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from models.training.anatomies import CODE
from models.training.synthetic import grid
from models.training.synthetic.disease import ADC_BY_AGE, S0_BY_AGE, Disease, by_age
from models.training.synthetic.grid import (
    GREY,
    N_TISSUES,
    WHITE,
    as_slices,
    by_table,
    draw_slices,
    smooth,
    symmetric_field,
)
from models.training.synthetic.recipe import Recipe
from tasks.arrays import Float32Array, Mask
from tasks.segmentation import STEP_MM


def draw_tracts(
    template_mm: Float32Array, white: Float32Array, tissue: Float32Array, rng: np.random.Generator
) -> Float32Array:
    """By how much the ADC of normal tissue differs from place to place, 10^-3 mm2/s, alike on both sides.

    The corticospinal tract, the peduncles and other tight bundles have a lower ADC than other white matter and are
    bright at b-high: whoever does not know takes them for infarcts.
    """
    where = tissue > 0
    field = symmetric_field(template_mm, where, float(rng.uniform(8.0, 16.0)), rng)
    share = tissue * np.float32(rng.uniform(0.1, 0.5)) + white
    return np.asarray(np.clip(field, -1.8, 1.8) * share * np.float32(rng.uniform(0.02, 0.12)), dtype=np.float32)


def diffusion(
    samples: Sequence[npt.NDArray[np.uint8]],
    disease: Disease,
    tracts: Float32Array,
    drawn: Recipe,
    rng: np.random.Generator,
) -> tuple[Float32Array, Float32Array, float]:
    """Signal at b = 0 and at b-high without noise, and b."""
    tissue, strength, old, pale = disease.tissue, disease.strength, disease.old, disease.pale
    density, t2, adc = np.zeros(N_TISSUES), np.full(N_TISSUES, 60.0), np.ones(N_TISSUES)
    t2_grey, t2_white = rng.uniform(*drawn.t2_grey_ms), rng.uniform(*drawn.t2_white_ms)
    adc_grey, adc_white, adc_fluid = (
        rng.uniform(*drawn.adc_grey),
        rng.uniform(*drawn.adc_white),
        rng.uniform(*drawn.adc_fluid),
    )
    for name in GREY:
        density[CODE[name]], t2[CODE[name]] = 0.82 * rng.uniform(0.97, 1.03), t2_grey * rng.uniform(0.9, 1.08)
        adc[CODE[name]] = adc_grey * rng.uniform(0.94, 1.05)
    for name in WHITE:
        density[CODE[name]], t2[CODE[name]] = 0.70 * rng.uniform(0.97, 1.05), t2_white * rng.uniform(0.92, 1.1)
        adc[CODE[name]] = adc_white * rng.uniform(0.93, 1.06)
    t2[CODE["pallidum"]] *= rng.uniform(0.6, 0.95)  # iron
    for name in ("csf", "ventricle", "eye"):
        density[CODE[name]], t2[CODE[name]], adc[CODE[name]] = 1.0, 1500.0, adc_fluid
    density[CODE["choroid_plexus"]], t2[CODE["choroid_plexus"]], adc[CODE["choroid_plexus"]] = (
        0.9,
        200,
        rng.uniform(1.2, 2.6),
    )
    fat = rng.uniform(0.05, 0.5)  # suppressed more or less
    for name in ("soft", "skin", "mucosa", "spongy_bone", "dura"):
        density[CODE[name]], t2[CODE[name]], adc[CODE[name]] = fat * rng.uniform(0.3, 1), 50.0, rng.uniform(0.5, 1.5)
    density[CODE["vessel"]] = rng.uniform(0, 0.5)
    b_value, echo = float(rng.uniform(*drawn.b_value)), rng.uniform(*drawn.echo_time_ms)
    s0 = 1000 * density * np.exp(-echo / t2)
    low = by_table(samples, s0)
    high = by_table(samples, s0 * np.exp(-b_value / 1000 * adc))
    texture = 1 + smooth(rng, 20.0, float(rng.uniform(0, 0.05))) + smooth(rng, 6.0, float(rng.uniform(0, 0.04)))
    diffusivity = np.exp(
        -b_value
        / 1000
        * (smooth(rng, 24.0, float(rng.uniform(0, 0.05))) + smooth(rng, 8.0, float(rng.uniform(0, 0.05))))
    )
    low, high = low * texture, high * texture * diffusivity * np.exp(-np.float32(b_value / 1000) * tracts)
    normal = (adc_grey + adc_white) / 2
    decay = b_value / 1000 * normal
    # acute: less diffusion and longer T2; old: towards fluid; pale: longer T2, more diffusion
    ratio = by_age(disease.age_h, ADC_BY_AGE, drawn.infarct_adc, rng.random())
    s0_ratio = by_age(disease.age_h, S0_BY_AGE, drawn.infarct_s0, rng.random())
    low = low * (1 + strength * np.float32(s0_ratio - 1))
    high = high * (1 + strength * np.float32(s0_ratio - 1)) * np.exp(np.float32(decay * (1 - ratio)) * strength)
    fluid_s0 = 1000 * np.exp(-echo / 1500)
    filled = old * np.float32(rng.uniform(0.4, 1.0)) * np.clip(tissue, 0, 1)
    low = low * (1 - filled) + filled * np.float32(fluid_s0)
    high = high * (1 - filled) + filled * np.float32(fluid_s0 * np.exp(-b_value / 1000 * adc_fluid))
    longer, wider = rng.uniform(0.05, 0.6), rng.uniform(0.0, 0.5)
    low = low * (1 + pale * np.float32(longer))
    high = high * (1 + pale * np.float32(longer)) * np.exp(-np.float32(decay * wider) * pale)
    if disease.blood.any():  # fresh blood: T2* takes the signal, most of it where it is densest
        left = 1 - disease.blood * np.float32(rng.uniform(0.3, 0.95))
        low, high = low * left, high * left
    return np.asarray(low, np.float32), np.asarray(high, np.float32), b_value


def scanned(
    low: Float32Array, high: Float32Array, white: Float32Array, drawn: Recipe, rng: np.random.Generator
) -> tuple[Float32Array, Float32Array, dict[str, float | str]]:
    """Coil, blur, slices and Rician noise."""
    thickness, gap, first = draw_slices(drawn, rng)
    coil = np.exp(np.clip(smooth(rng, 90.0, float(rng.uniform(0, drawn.coil / 2))), -drawn.coil, drawn.coil))
    blur = float(rng.uniform(0, 0.7))
    snr = float(np.exp(rng.uniform(*np.log(drawn.snr))))
    level = float(np.median(high[white > 0.9])) if (white > 0.9).any() else 100.0
    smear = float(rng.uniform(0.3, 0.8))  # noise is correlated once it is interpolated
    seen = []
    for image in (low, high):
        one = ndimage.gaussian_filter(image * coil, (blur, blur, 0))
        one = as_slices(one, thickness, gap, first)
        noise = [
            ndimage.gaussian_filter(
                rng.standard_normal(grid.GRID_SHAPE, np.float32), (smear, smear, thickness / STEP_MM / 3)
            )
            for _ in range(2)
        ]
        scale = np.float32(level / snr / max(1e-6, float(noise[0].std())))
        seen.append(np.hypot(one + noise[0] * scale, noise[1] * scale).astype(np.float32))
    facts: dict[str, float | str] = {"slice_mm": thickness, "gap": gap, "snr": snr}
    return seen[0], seen[1], facts


def stored_adc(low: Float32Array, high: Float32Array, b_value: float) -> Float32Array:
    """The map that a scanner stores, 10^-3 mm2/s, not below 0."""
    ratio = np.log(np.maximum(low, 1.0) / np.maximum(high, 1.0)) * np.float32(1000 / b_value)
    return np.clip(ratio, 0, 4).astype(np.float32)


def found_brain(share: Float32Array, b_high: Float32Array, rng: np.random.Generator) -> Mask:
    """The brain as an extraction finds it: its border wrong by up to 3 mm, smoothly, or drawn where the signal ends."""
    inside = ndimage.binary_opening(share > 0.5, iterations=1)
    soft = ndimage.gaussian_filter(inside.astype(np.float32), 1.5)
    border = rng.normal(0.58, 0.1) + smooth(rng, 20.0, float(rng.uniform(0, 0.12)))
    inside = soft > np.clip(border, 0.2, 0.85)
    if rng.random() < 0.5 and inside.any():
        level = float(np.median(b_high[inside])) * rng.uniform(0.3, 0.55)
        inside &= ndimage.gaussian_filter(b_high, 0.6) > level  # fluid around the brain is dark
        inside = ndimage.binary_closing(ndimage.binary_opening(inside), iterations=2)
    labels, n = ndimage.label(inside)
    if n > 1:
        inside = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(inside))
