"""What is declared of series whose headers were emptied: b-values of diffusion MR, intervals of dynamic CT.

Anonymisers take private attributes out, and with them the only place of the b-value on many scanners. A declaration is
checked against the voxels: diffusion weighting only ever takes signal away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from cohorts.dicom.headers import Frame
from cohorts.dicom.import_settings import FILE, DeclareRule, ImportSettings
from cohorts.dicom.pixels import read_slices
from cohorts.dicom.recognise import MAXIMUM_B0_VALUE, Recognition, by_b_value
from cohorts.dicom.stacks import Stack
from cohorts.images.mask import ImageProblemError

CONTRADICTED = "b_values_contradicted"
#: Voxels brighter than this share of the brightest (99th percentile) are tissue and fluid, not air.
TISSUE_SHARE = 0.1


def with_declarations(stacks: Iterable[Stack], settings: ImportSettings) -> list[Stack]:
    """Add to the stacks what is declared of them.

    Parameters
    ----------
    stacks : of all series
    settings : whose first fitting ``[[declare]]`` counts

    Returns
    -------
    The stacks; one for every b-value in place of a series without any. Where a declaration has another number of
    volumes than the series, or the voxels contradict it, the series is refused: ``b_values_do_not_fit``,
    ``b_values_contradicted``.
    """
    found: list[Stack] = []
    for stack in stacks:
        rule = next((rule for rule in settings.declare if rule.fits(stack.header)), None)
        if rule is None:
            found.append(stack)
        elif rule.b_values_s_per_mm2 and _has_no_b_value(stack):
            found += _by_b_value(stack, rule)
        elif rule.frame_interval_s and stack.recognition.kind == "ctp":
            found.append(replace(stack, places=tuple(_timed(place, rule.frame_interval_s) for place in stack.places)))
        else:
            found.append(stack)
    return found


def _has_no_b_value(stack: Stack) -> bool:
    """Whether a series may be diffusion MR and does not say its b-value."""
    recognition = stack.recognition
    is_open = recognition.refusal == "b_value_unknown" or (recognition.kind, recognition.refusal) == ("mr", None)
    return is_open and all(frame.b_value is None for place in stack.places for frame in place)


def _timed(place: tuple[Frame, ...], interval_s: float) -> tuple[Frame, ...]:
    """Frames of a place with the offsets that are declared; clocks of the header are preferred to them."""
    return tuple(replace(frame, offset_s=number * interval_s) for number, frame in enumerate(place))


def _by_b_value(stack: Stack, rule: DeclareRule) -> list[Stack]:
    """One stack for every b-value declared, in the order of acquisition."""
    values = rule.b_values_s_per_mm2
    counts = {len(place) for place in stack.places}
    if len(values) == 1:
        values *= max(counts)
    if counts != {len(values)}:
        evidence = f"{min(counts)} to {max(counts)} volumes, and {len(values)} declared in {FILE}"
        return [replace(stack, recognition=Recognition("dwi", evidence, "b_values_do_not_fit"))]
    phases: dict[float, list[int]] = defaultdict(list)
    for phase, value in enumerate(values):
        phases[value].append(phase)
    stacks = [
        replace(
            stack,
            key=stack.key if len(phases) == 1 else f"{stack.key}\0b{value:g}",
            places=tuple(tuple(place[phase] for phase in own) for place in stack.places),
            recognition=by_b_value(value, f"declared in {FILE}"),
            n_files=len({place[phase].path for place in stack.places for phase in own}),
        )
        for value, own in sorted(phases.items())
    ]
    if _is_contradicted(stacks):
        evidence = f"signal, which rises with the b-values declared in {FILE}"
        return [
            replace(one, recognition=replace(one.recognition, evidence=evidence, refusal=CONTRADICTED))
            for one in stacks
        ]
    return stacks


def _is_contradicted(stacks: list[Stack]) -> bool:
    """Whether tissue is brighter with more diffusion weighting than without."""
    if len(stacks) < 2 or (stacks[0].recognition.b_value or 0.0) > MAXIMUM_B0_VALUE:
        return False
    try:
        images = [read_slices([place[0] for place in stack.places]).values for stack in (stacks[0], stacks[-1])]
    except ImageProblemError:
        return False  # said when the volume is made
    brightest = np.maximum(*images)
    is_tissue = brightest > TISSUE_SHARE * np.percentile(brightest, 99)
    return bool(np.median(images[1][is_tissue]) >= np.median(images[0][is_tissue]))
