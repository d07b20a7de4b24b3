"""Gates on quality figures: limits that exclude a scan, each with its reason code, measured value, rule and remedy.

Gates are applied to stored figures when tables are made, so that a changed limit opens no image. A gate without a limit
excludes nothing until a study sets one (``with_limits``). A figure that is null breaks no gate: it does not apply, or
what kept it from being measured has a reason of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tasks.modality import ScanContrast
from tasks.quality.catalogue import Limits
from tasks.quality.figures import CONTRAST_HU

Figure = float | bool | None

_UNITS = ("mm", "deg", "ml", "hu")


@dataclass(frozen=True)
class Gate:
    """Limits of one figure.

    Attributes
    ----------
    figure : str
        A field of ``ScanQuality``.
    minimum, maximum : float or None
        Both still allowed, in the figure's unit; None for no limit.
    reason : str
        Code of the exclusion.
    remedy : str
        What to do about it, as a sentence.

    Raises
    ------
    ValueError
        A limit is not finite, or the minimum lies above the maximum.
    """

    figure: str
    minimum: float | None
    maximum: float | None
    reason: str
    remedy: str

    def __post_init__(self) -> None:
        limits = [one for one in (self.minimum, self.maximum) if one is not None]
        if not all(math.isfinite(one) for one in limits):
            raise ValueError(
                f"limits of {self.figure} must be finite or null, got {limits}. Leave out a limit by null."
            )
        if len(limits) == 2 and limits[0] > limits[1]:
            raise ValueError(
                f"limits of {self.figure} must be in order, got {limits[0]:g} to {limits[1]:g}. Put the smaller first."
            )

    @property
    def rule(self) -> str:
        """The limits in words, with the unit; empty without a limit."""
        unit = _unit(self.figure)
        if self.minimum is not None and self.maximum is not None:
            return f"{self.minimum:g} to {self.maximum:g}{unit}"
        if self.minimum is not None:
            return f">= {self.minimum:g}{unit}"
        return "" if self.maximum is None else f"<= {self.maximum:g}{unit}"


@dataclass(frozen=True)
class Finding:
    """A gate that a scan breaks.

    Attributes
    ----------
    reason : str
    detail : str
        Measured value, rule, remedy, and the setting that would let the scan pass.
    """

    reason: str
    detail: str


#: Part of a level's regions that must be in view (paper 1 excludes incomplete brains). One slice of 5 mm lost at the
#: upper or lower end of the phantom's levels leaves 0.93 to 0.97, two leave 0.80 to 0.89.
MINIMUM_LEVEL_COVERAGE = 0.9
#: Noise and streak stronger than this hide the early sign: the contrast of grey and white matter, 37 and 28 HU.
TISSUE_CONTRAST_HU = 9.0
#: Between the world axes of scan and template: 30 of a badly placed head and 20 of the gantry.
MAXIMUM_TILT_DEG = 50.0
#: Share of the template brain in view; half a brain lost leaves at most 0.64 in most scans.
MINIMUM_COVERAGE = 0.7
#: Of a perfusion slab: 40 mm of the phantom's head leave 0.43 to 0.46 and register within 0.9 mm (slices of 5 mm) or
#: 3.3 mm (10 mm) everywhere in the brain.
SLAB_COVERAGE = 0.35
SCALE_LIMITS = (0.65, 1.2)  # adult brains are 0.75 to 1.05 of the ICBM152 template along an axis
#: Whole heads reach 0.93 to 0.97; a third of the head blanked, or a wrong pose, 0.89.
MINIMUM_BRAIN_DICE = 0.9
#: Of ``tasks.registration.agreement``, on phantoms: right poses have 0.75 and more with infarcts of up to 300 ml on one
#: or 240 ml on both sides, haemorrhage, atrophy, no cerebellum or noise. Less than this has no pose wrong by less
#: than 6 mm, and 17 of 20 wrong by 12 mm or more.
MINIMUM_TISSUE_CORRELATION = 0.35

#: The limits of brain extraction have acted before; a study may set narrower ones here.
_BRAIN = (
    Gate("brain_volume_ml", None, None, "brain_volume_out_of_range", "Check the brain mask by eye."),
    Gate("brain_side_share", None, None, "brain_cut_at_side", "Use a complete scan."),
)
_REGISTRATION = (
    Gate("tilt_deg", None, MAXIMUM_TILT_DEG, "head_tilt_too_large", "Check the orientation of the scan."),
    Gate("template_coverage", MINIMUM_COVERAGE, None, "field_of_view_too_small", "Use a complete scan."),
    Gate("scale_min", SCALE_LIMITS[0], None, "registration_scale_out_of_range", "Check the voxel size."),
    Gate("scale_max", None, SCALE_LIMITS[1], "registration_scale_out_of_range", "Check the voxel size."),
    Gate(
        "registration_dice", MINIMUM_BRAIN_DICE, None, "registration_overlap_too_low", "Check the registration by eye."
    ),
    Gate(
        "tissue_correlation",
        MINIMUM_TISSUE_CORRELATION,
        None,
        "registration_tissue_mismatch",
        "Check the modality and the registration by eye.",
    ),
)
_VIEW = (
    Gate("ganglionic_coverage", MINIMUM_LEVEL_COVERAGE, None, "ganglionic_level_not_covered", "Use a complete scan."),
    Gate(
        "supraganglionic_coverage",
        MINIMUM_LEVEL_COVERAGE,
        None,
        "supraganglionic_level_not_covered",
        "Use a complete scan.",
    ),
)
_EXPORT = (
    Gate("brain_open_share", None, None, "brain_cut_at_end", "Use a complete scan."),
    Gate("n_slices", None, None, "slice_count_out_of_range", "Check that every slice was exported."),
    Gate("clipped_share", None, None, "values_clipped", "Export the values unclipped."),
)
_GEOMETRY = (*_BRAIN, *_REGISTRATION, *_VIEW, *_EXPORT)
#: Levels need not be covered: of a slab, regions out of view are marked one by one.
_SLAB = (
    *_BRAIN,
    *(replace(gate, minimum=SLAB_COVERAGE) if gate.figure == "template_coverage" else gate for gate in _REGISTRATION),
    *_EXPORT,
)
_LOOK = "Look at the scan: the figure is no finding."
_THICK = "Use thinner slices where the archive has them."

_CT = (
    *_GEOMETRY,
    # Paper 3 takes slices of 3 to 6 mm (METHODS A.3); e-ASPECTS changes its score above 6 mm (Neuberger 2020).
    Gate("slice_step_mm", None, 6.0, "slices_too_thick", _THICK),
    Gate("streak_hu", None, TISSUE_CONTRAST_HU, "streak_artefact", "Use a series without the artefact."),
    Gate("asymmetry_hu", None, None, "hemispheres_differ", "Check for shading and for a wrong mid-plane."),
    Gate("saturated_share", None, None, "metal_in_scan", "Use a series without metal."),
)

_BY_CONTRAST: dict[ScanContrast, tuple[Gate, ...]] = {
    "ct": (
        *_CT,
        # Two standard deviations either way fill the 50 HU window of paper 3.
        Gate("noise_hu", None, 12.5, "noise_too_high", "Use a smoother or thicker reconstruction."),
        Gate(
            "contrast_hu", None, CONTRAST_HU, "contrast_present", "Use the scan before contrast agent, or score as CTA."
        ),
        Gate("chronic_volume_ml", None, None, "chronic_suspected", _LOOK),
        Gate("haemorrhage_volume_ml", None, None, "haemorrhage_suspected", _LOOK),
    ),
    "cta": (
        *_CT,
        # Two standard deviations either way fill the 80 HU window of paper 1.
        Gate("noise_hu", None, 20.0, "noise_too_high", "Use a smoother or thicker reconstruction."),
        Gate("contrast_hu", CONTRAST_HU, None, "contrast_missing", "Use the arterial phase, or score as CT."),
    ),
    "ctp": (
        *_SLAB,
        # The thickest slices of dynamic scanners; beyond, a slice holds more than a region of one level.
        Gate("slice_step_mm", None, 10.0, "slices_too_thick", _THICK),
        Gate("noise_hu", None, None, "noise_too_high", "Use a smoother or thicker reconstruction."),
        Gate("motion_mm", None, None, "head_moved", "Check the motion trace by eye."),
        Gate("rejected_frame_share", None, 0.25, "too_many_frames_rejected", "Look at the series: the head moved."),
        Gate("n_frames", None, None, "frame_count_out_of_range", "Give the whole series."),
        Gate("frame_interval_s", None, None, "frame_interval_out_of_range", "Check the protocol."),
        Gate("aif_quality", None, None, "arterial_input_poor", "Check artery and curve by eye, or give them by hand."),
        Gate("vof_scaling", None, None, "vof_scaling_out_of_range", "Check artery and vein by eye."),
    ),
    "dwi": (
        *_GEOMETRY,
        # The largest spacing of paper 4's scanners (METHODS G4: thickness and spacing 7/8 mm).
        Gate("slice_step_mm", None, 8.0, "slices_too_thick", _THICK),
        # Below a signal of 3 the magnitude image is biased (Gudbjartsson & Patz, Magn Reson Med 1995;34:910-914).
        Gate("noise_share", None, 0.33, "noise_too_high", "Use a series with more averages."),
        Gate("signal_to_noise", 3.0, None, "signal_too_low", "Use a series with more averages."),
        Gate("asymmetry_share", None, None, "hemispheres_differ", "Check for coil shading and for a wrong mid-plane."),
    ),
}
GATES: Mapping[ScanContrast, tuple[Gate, ...]] = {**_BY_CONTRAST, "b0": _BY_CONTRAST["dwi"]}


def with_limits(gates: tuple[Gate, ...], limits: Mapping[str, Limits]) -> tuple[Gate, ...]:
    """A study's gates: the given ones with some limits replaced.

    Parameters
    ----------
    gates : the defaults of a modality, from ``GATES``
    limits : figure -> (minimum, maximum), None for no limit; replaces both limits of that figure. A figure that has a
        gate in another modality only is passed over, so that one mapping serves a whole study.

    Raises
    ------
    ValueError
        A figure has no gate, or limits are unusable; every problem is named.
    """
    known = list(dict.fromkeys(gate.figure for each in GATES.values() for gate in each))
    problems = [
        f"figure of a limit must be one of {', '.join(known)}, got {figure!r}. Name one of them."
        for figure in limits
        if figure not in known
    ]
    changed = []
    for gate in gates:
        minimum, maximum = limits.get(gate.figure, (gate.minimum, gate.maximum))
        try:
            changed.append(replace(gate, minimum=minimum, maximum=maximum))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(" ".join(problems))
    return tuple(changed)


def judge_quality(figures: Mapping[str, Figure], gates: tuple[Gate, ...]) -> tuple[Finding, ...]:
    """Every gate that a scan's figures break, in the order of the gates.

    Parameters
    ----------
    figures : figure -> value, as ``dataclasses.asdict`` of a ``ScanQuality`` or a row of the scans table gives them; a
        null or absent figure breaks no gate
    gates : those of the scan's modality, from ``GATES`` or ``with_limits``

    Raises
    ------
    ValueError
        A figure is NaN: a missing figure is null.

    Examples
    --------
    >>> [finding.reason for finding in judge_quality({"contrast_hu": 12.0, "slice_step_mm": 7.5}, GATES["cta"])]
    ['slices_too_thick', 'contrast_missing']
    """
    findings = []
    for gate in gates:
        value = figures.get(gate.figure)
        if value is None:
            continue
        if math.isnan(value):
            raise ValueError(f"{gate.figure} must not be NaN, got NaN. Give null for what was not measured.")
        if (gate.minimum is not None and value < gate.minimum) or (gate.maximum is not None and value > gate.maximum):
            measured = f"{value:.4g}{_unit(gate.figure)}"
            detail = f"{gate.figure} must be {gate.rule}, got {measured}. {gate.remedy} {_setting(gate.figure)}"
            findings.append(Finding(gate.reason, detail))
    return tuple(findings)


def _setting(figure: str) -> str:
    """Where a study that can do with less sets its own limit."""
    return f'Set [[gate]] figure = "{figure}" in cohort.toml for another limit.'


def _unit(figure: str) -> str:
    """The unit that a figure's name ends in, with a space before it."""
    unit = figure.rsplit("_", 1)[-1]
    return f" {'HU' if unit == 'hu' else unit}" if unit in _UNITS else ""
