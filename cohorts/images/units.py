"""What the stored numbers of a scan mean: HU, ADC or signal, recognised by the values themselves.

Three habits of exporters are known and fixed, with a note: HU stored with an offset of 1000 or 1024, HU clipped at
zero, and ADC in mm2/s, 10^-3 or 10^-6 mm2/s. Values that are none of these are refused with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cohorts.images.nifti import ImageProblemError
from cohorts.images.padding import padding_of
from tasks.arrays import Float32Array

#: Air in a scan of plain HU lies below this; nothing else in a head does (lungs are not in the field).
PLAIN_AIR_HU = -500.0
#: Offsets that exporters add to HU to store them unsigned: 1024 (DICOM's usual intercept) and 1000.
OFFSETS_HU = (1024.0, 1000.0)
#: Where the commonest value of soft tissue of a head lies, HU: brain medians of 32-36 measured on clipped scans,
#: room for beam hardening below and contrast agent above.
SOFT_TISSUE_PEAK_HU = (15.0, 55.0)
BRAIN_HU = 34.0  # middle of the measured medians
#: With an offset, brain stands at the offset: a third of all tissue or more, of which 5 HU around the peak hold a tenth
#: or more. Without one, only bone stands there, spread evenly over 1000 HU, so that 5 HU hold a hundredth at most.
OFFSET_PEAK_SHARE = 0.02
#: A scan is clipped where this share of its voxels holds its smallest value: air around the head is never all alike.
CLIPPED_SHARE = 0.05
#: The tissue peak holds at least this share of the voxels above the smallest value: a tenth of what a scan with a
#: brain in a twentieth of its field holds.
MINIMUM_PEAK_SHARE = 0.002
#: The tissue peak is looked for among at least this many voxels.
MINIMUM_TISSUE_VOXELS = 100
#: Median ADC of a head, 10^-3 mm2/s: normal tissue 0.7-0.9, CSF about 3; with a third of CSF still below 2.
ADC_MEDIAN_RANGE = (0.3, 2.5)
#: What brings stored ADC to 10^-3 mm2/s, and how the stored unit is written.
ADC_SCALES: Mapping[str, float] = {"10^-3 mm2/s": 1.0, "10^-6 mm2/s": 1e-3, "mm2/s": 1e3}
#: A mask has 2 values and a map of the ASPECTS regions 21; the narrowest CT window, of 80 HU, has 81.
MOST_LABELS = 32
COUNTED_VOXELS = 10_000_000  # a whole head of 512 x 512 x 38
SAMPLED_VOXELS = 100_000  # enough to see whether a scan has many values, or many below 0
#: Signal below minus a tenth of the brightest percent, in more than a hundredth of the voxels, is no noise; a CT has
#: air at -1000, about as far below 0 as bone is above, around every head.
NEGATIVE_DEPTH, NEGATIVE_SHARE = 0.1, 0.01


def as_hounsfield(values: Float32Array, name: str) -> tuple[Float32Array, tuple[str, ...], dict[str, float]]:
    """Bring stored CT values to HU.

    Parameters
    ----------
    values : float32 array of any shape, finite
    name : for messages

    Returns
    -------
    Values in HU, the notes and the measured numbers: ``tissue_peak_hu``, ``offset_hu``, ``clipped_share``; of padding
    that no header declared, which becomes the darkest value of the rest, ``padding_value`` and ``n_padding_voxels``.

    Raises
    ------
    ImageProblemError
        ``hounsfield_unknown``: no known offset puts the commonest value of soft tissue where it must be, or air is
        neither near -1000 nor clipped to one value.
    """
    values, padding = _bright_padding_as_air(values)
    lowest = float(values.min())
    above = values[values > lowest]  # air clipped to one value is no tissue
    has_air = lowest < PLAIN_AIR_HU
    if has_air and (not above.size or above.min() < PLAIN_AIR_HU):
        return values, _tissue_note(values), {"smallest_hu": lowest, **padding}
    share = max(float((values <= lowest).mean()), float((np.abs(values) < 0.5).mean()))  # interpolation rings below 0
    low, high = SOFT_TISSUE_PEAK_HU
    usable = {}
    for offset in (0.0, *OFFSETS_HU):
        peak = tissue_peak(above - np.float32(offset))
        fewest = MINIMUM_PEAK_SHARE * above.size
        if offset:
            fewest = max(fewest, OFFSET_PEAK_SHARE * int((above > offset + PLAIN_AIR_HU).sum()))
        if peak is not None and low <= peak[0] <= high and peak[1] >= fewest:
            usable[offset] = peak
    if has_air and not (usable and _likeliest_offset(usable)):  # one value is all the air, as around a stripped brain
        return values, _tissue_note(values), {"smallest_hu": lowest, **padding}
    if not usable:
        raise ImageProblemError(
            "hounsfield_unknown",
            f"{name} must hold HU (air near -1000, brain {low:g} to {high:g}), got values from {lowest:g} to "
            f"{float(values.max()):g} without such a peak. Export it with its rescale slope and intercept.",
        )
    offset = _likeliest_offset(usable)
    numbers = {"tissue_peak_hu": usable[offset][0], "offset_hu": offset, **padding}
    if offset:
        air = np.where(values > lowest, values, above.min()) if has_air else values  # -2000 around values of 0 to 4095
        return air - np.float32(offset), ("hu_offset_removed",), numbers
    if share < CLIPPED_SHARE:
        raise ImageProblemError(
            "hounsfield_unknown",
            f"{name} must hold HU with air near -1000, or clipped to one value in {CLIPPED_SHARE:.0%} of the voxels, "
            f"got values from {lowest:g} to {float(values.max()):g} with {share:.1%} at the lowest. "
            "Export it with its rescale slope and intercept, or correct its modality in scans.tsv.",
        )
    notes = ("hu_clipped_at_zero",) if abs(lowest) < 1 else ()
    return values, notes, {**numbers, "clipped_share": share}


def _tissue_note(values: Float32Array) -> tuple[str, ...]:
    """``no_soft_tissue`` where plain HU show no head."""
    peak = tissue_peak(values)
    return () if peak is not None and peak[1] >= MINIMUM_PEAK_SHARE * values.size else ("no_soft_tissue",)


def _bright_padding_as_air(values: Float32Array) -> tuple[Float32Array, dict[str, float]]:
    """Values with padding that is no air, as of 0 or 3071, set to the darkest, and what it was.

    Padding of 3071 would pass for bone around the head. In a series the first frame shows where it lies.
    """
    found = padding_of(values if values.ndim == 3 else values[..., 0]) if values.ndim in (3, 4) else None
    if found is None:
        return values, {}
    value, where = found
    filled = values.copy(order="K")
    filled[where] = values.min()
    return filled, {"padding_value": value, "n_padding_voxels": float(where.sum())}


def _likeliest_offset(peaks: Mapping[float, tuple[float, int]]) -> float:
    """Of the offsets at which brain may lie, the one that puts it nearest to where it belongs; 0 if there is none."""
    added = {offset: peak for offset, peak in peaks.items() if offset}
    n_added = max((count for _, count in added.values()), default=0)
    alike = {offset: peak for offset, (peak, count) in added.items() if 2 * count >= n_added}
    return min(alike, key=lambda offset: abs(alike[offset] - BRAIN_HU), default=0.0)


def tissue_peak(values: Float32Array) -> tuple[float, int] | None:
    """Give the commonest value between 5 and 90 HU and how many voxels lie there; None of too few.

    The histogram has bins of 1 HU, smoothed over 5; exact zeros, where clipped air lies, are left out. Of a series of
    more than ``COUNTED_VOXELS`` every n-th voxel is looked at, and the count multiplied.
    """
    step = -(-values.size // COUNTED_VOXELS)
    if step > 1:
        step += 1 - step % 2  # odd: an even one would see every second column only
        values = values.ravel(order="K")[::step]
    tissue = values[(values >= 5) & (values < 90)]
    if tissue.size < MINIMUM_TISSUE_VOXELS:
        return None
    counts = np.histogram(tissue, bins=85, range=(5, 90))[0]
    smooth = np.convolve(counts, np.ones(5), mode="same")
    place = int(smooth.argmax())
    return 5.5 + place, int(smooth[place]) * max(1, step)


def as_adc(values: Float32Array, name: str) -> tuple[Float32Array, tuple[str, ...], dict[str, float]]:
    """Bring stored ADC to 10^-3 mm2/s by its median over the positive voxels.

    Raises
    ------
    ImageProblemError
        ``adc_unit_unknown``: in none of the three units is the median that of a head.
    """
    positive = values[values > 0]
    median = float(np.median(positive)) if positive.size else 0.0
    low, high = ADC_MEDIAN_RANGE
    for scale in ADC_SCALES.values():
        if low <= median * scale <= high:
            numbers = {"adc_median_1e-3_mm2_per_s": median * scale, "adc_scale": scale}
            notes = () if scale == 1.0 else ("adc_unit_changed",)
            return values if scale == 1.0 else values * np.float32(scale), notes, numbers
    raise ImageProblemError(
        "adc_unit_unknown",
        f"{name} must hold an ADC with a median of {low:g} to {high:g} x 10^-3 mm2/s in one of "
        f"{', '.join(ADC_SCALES)}, got "
        f"a stored median of {median:g}. Export it with its unit.",
    )


def check_signal(values: Float32Array, name: str) -> None:
    """Check that a diffusion image holds signal, which is a magnitude.

    Filters and noise correction leave values a little below 0; HU go far below.

    Raises
    ------
    ImageProblemError
        ``signal_negative``.
    """
    some = _sample(values)
    limit = -NEGATIVE_DEPTH * float(np.percentile(some, 99))
    share = float((some < min(limit, 0.0)).mean())
    if share > NEGATIVE_SHARE:
        raise ImageProblemError(
            "signal_negative",
            f"{name} must hold signal >= 0, got {share:.0%} of the voxels below {limit:g}, down to "
            f"{float(values.min()):g}, as of CT. Give the diffusion image, or correct its modality in scans.tsv.",
        )


def check_is_no_label_image(values: Float32Array, name: str) -> None:
    """Check that a scan is no mask or label map.

    Raises
    ------
    ImageProblemError
        ``label_image``: it holds 0 and a few other whole numbers, none negative.
    """
    if values.min() != 0 or len(np.unique(_sample(values))) > MOST_LABELS:
        return
    found = np.unique(values)
    if len(found) <= MOST_LABELS and (found == np.rint(found)).all():
        shown = ", ".join(f"{value:g}" for value in found[:5]) + (", ..." if len(found) > 5 else "")
        raise ImageProblemError(
            "label_image",
            f"{name} must hold a scan, got only {len(found)} different values ({shown}), as of a mask or label map. "
            "Give the scan, or correct its modality in scans.tsv.",
        )


def _sample(values: Float32Array) -> Float32Array:
    """Evenly spread voxels, at least ``SAMPLED_VOXELS`` or all."""
    return values.ravel(order="K")[:: max(1, values.size // SAMPLED_VOXELS)]
