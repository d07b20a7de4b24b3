"""What ``dwi-unet`` sees and learns: diffusion MR in, six classes out, the infarct last.

In training the ADC is left out for every second patient, so that one network serves b-high alone as well, and scaled
for some; the contrast of b-high is stretched. With fewer left out, large infarcts were not found without an ADC, though
a plain threshold finds them.
Signal piles up where brain lies on air that no label map holds: the cells of the petrous bones and mastoids, the ear
canals, the frontal sinuses. It is bright on both sides, up to eight times normal tissue, with a normal ADC. Without
an ADC nothing but its place and its likeness on both sides tells it from an infarct: more of those patients have it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.training.pool import IGNORED, PooledPatient
from models.training.trainer import Task
from tasks.arrays import Float32Array, FloatArray
from tasks.segmentation import CLASSES, INFARCT, N_DWI_CHANNELS, dwi_channels, template_places

#: Least difference of an infarct to be learned, in units of the channels: a sixth of an ordinary infarct's.
LEAST_BRIGHTER, LEAST_LOWER = 0.1, 0.06
NO_ADC = 0.5  # share of training patients whose ADC is left out
CONTRAST = (0.8, 1.25)  # by which the logarithm of the signal is stretched, logarithmic: b-value and echo time
PILED_UP, PILED_UP_ALONE = 0.5, 0.65  # share of synthetic patients with an ADC, and of those without
JUDGED_SEED = 1  # of the artefacts of those who judge, beside the patient's number
#: Where, on the right, template mm (the left is its mirror-image), and how far from there: beside the petrous bone,
#: under the temporal lobe at ear canal and mastoid, above the frontal sinus.
PILED_AT_MM = (
    ((32.0, -42.0, -34.0), (11.0, 14.0, 9.0)),
    ((52.0, -14.0, -30.0), (6.0, 14.0, 7.0)),
    ((14.0, 60.0, -8.0), (8.0, 6.0, 7.0)),
)
AT_EACH = 0.6  # share of the patients with it who have it at each place
#: How large (standard deviation, mm), and the largest natural logarithm of the signal's gain, by either side.
PILE_MM, PILE_GAIN = (2.5, 13.0), (0.2, 2.0)


def _channels(patient: PooledPatient, rng: np.random.Generator | None) -> Float32Array:
    """Of a pooled patient; ``rng`` leaves the ADC out now and then."""
    with_adc = (rng is None or rng.random() >= NO_ADC) and bool(patient.adc.size)
    adc = patient.adc.astype(np.float32) if with_adc else None
    if adc is not None and rng is not None and rng.random() < 0.3:
        adc = adc * np.float32(rng.uniform(0.92, 1.08))  # wrong b-value, gradient calibration
    channels = dwi_channels(_scanned(patient, PILED_UP if with_adc else PILED_UP_ALONE, rng), adc, patient.brain)
    if rng is not None:
        channels[0] *= np.float32(np.exp(rng.uniform(*np.log(CONTRAST))))
    return channels


def without_adc(patient: PooledPatient, rng: np.random.Generator | None) -> Float32Array:
    """Of b-high alone."""
    return dwi_channels(_scanned(patient, PILED_UP_ALONE, rng), None, patient.brain)


def _scanned(patient: PooledPatient, share: float, rng: np.random.Generator | None) -> Float32Array:
    """Signal of b-high, with what piles up for a share of the synthetic patients.

    Those who judge have it as often as those who teach, each always the same: a threshold that is chosen where it is
    missing is too low for scans.
    """
    b_high = patient.b_high.astype(np.float32)
    if patient.is_real:
        return b_high
    own = rng or np.random.default_rng((JUDGED_SEED, int(patient.facts["number"])))
    return b_high * piled_up(patient.to_template, b_high.shape, own) if own.random() < share else b_high


def piled_up(to_template: FloatArray, shape: tuple[int, ...], rng: np.random.Generator) -> Float32Array:
    """By what the signal is multiplied where it piles up at the base, (X, Y, Z); much alike on both sides.

    Parameters
    ----------
    to_template : (3, 4) float array, voxel -> template world, mm
    shape : of the grid
    rng : the same state gives the same artefact
    """
    places = template_places(to_template, shape)
    gain = np.zeros(shape, np.float32)
    for middle, scatter in PILED_AT_MM:
        if rng.random() >= AT_EACH:
            continue
        place, size = rng.normal(middle, scatter), rng.uniform(*PILE_MM, 3)
        strength = rng.uniform(*PILE_GAIN)
        for side in (1.0, -1.0):
            own = place * (side, 1.0, 1.0) + rng.normal(0, 3.0, 3)
            distance = sum(((axis - at) / width) ** 2 for axis, at, width in zip(places, own, size, strict=True))
            piled = np.exp(-0.5 * distance) * np.float32(strength * rng.uniform(0.4, 1.0))
            gain = np.maximum(gain, piled)
    return np.asarray(np.exp(gain), np.float32)


def _labels(patient: PooledPatient) -> npt.NDArray[np.uint8]:
    """The classes; a drawn infarct that the images do not show is nobody's to learn, and counts nowhere.

    What a reader marked on a patient's scan was seen, and counts.
    """
    if patient.is_real or is_visible(patient):
        return patient.classes
    return np.where(patient.classes == INFARCT, IGNORED, patient.classes).astype(np.uint8)


def is_visible(patient: PooledPatient) -> bool:
    """Whether the infarct, if any, is brighter than the patient's other tissue or has a lower ADC; medians of both."""
    infarct = (patient.classes == INFARCT) & patient.brain
    normal = np.isin(patient.classes, (CLASSES.index("grey"), CLASSES.index("white"))) & patient.brain
    if not infarct.any() or not normal.any():
        return True
    signal, adc, _ = dwi_channels(patient.b_high.astype(np.float32), patient.adc.astype(np.float32), patient.brain)
    brighter = float(np.median(signal[infarct]) - np.median(signal[normal]))
    lower = float(np.median(adc[normal]) - np.median(adc[infarct]))
    return brighter >= LEAST_BRIGHTER and lower >= LEAST_LOWER


DWI_TASK = Task(
    name="dwi-unet",
    n_channels=N_DWI_CHANNELS,
    n_classes=len(CLASSES),
    channels=_channels,
    labels=_labels,
    foreground=(INFARCT,),
    weights=(0.5, 0.8, 0.8, 0.8, 1.0, 1.2),
    fewer=without_adc,
)
