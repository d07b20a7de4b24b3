"""The list of quality figures: what each is called and the limits that always hold; gates and pages follow it."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.brain import MAXIMUM_SIDE_SHARE, VOLUME_LIMITS_ML

Limits = tuple[float | None, float | None]


@dataclass(frozen=True)
class QualityFigure:
    """One quality figure: its column of the scans table, how it is printed, and the limits that always hold.

    Attributes
    ----------
    column : str
    title, unit : str
        As printed; a pure number has no unit.
    digits : int
        Decimals.
    group : str
        Heading under which it stands.
    meaning : str
        What it says, in a few words.
    limits : (minimum, maximum)
        Of any modality: brain extraction refuses a scan beyond them before any gate acts.
    """

    column: str
    title: str
    unit: str
    digits: int
    group: str
    meaning: str = ""
    limits: Limits = (None, None)

    @property
    def heading(self) -> str:
        """Title with unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


#: Every quality figure, in the order of the pages.
QUALITY_FIGURES = (
    QualityFigure("slice_step_mm", "Slice step", "mm", 2, "Slices"),
    QualityFigure("n_slices", "Slices", "", 0, "Slices"),
    QualityFigure("brain_volume_ml", "Brain volume", "ml", 0, "Brain", "of the brain mask", VOLUME_LIMITS_ML),
    QualityFigure(
        "brain_open_share", "Brain cut at an end", "", 2, "Brain", "section on the first or last slice, of the largest"
    ),
    QualityFigure(
        "brain_side_share", "Brain cut at a side", "", 2, "Brain", "section on a side face, of the largest",
        (None, MAXIMUM_SIDE_SHARE),
    ),
    QualityFigure(
        "template_coverage", "Template in view", "", 2, "Registration", "share of the template's brain inside the scan"
    ),
    QualityFigure("ganglionic_coverage", "Ganglionic level in view", "", 2, "Registration"),
    QualityFigure("supraganglionic_coverage", "Supraganglionic level in view", "", 2, "Registration"),
    QualityFigure(
        "registration_dice", "Brain overlap", "", 3, "Registration", "Dice of the brain masks after registration"
    ),
    QualityFigure(
        "tissue_correlation", "Tissue correlation", "", 2, "Registration", "with the template, best third of the brain"
    ),
    QualityFigure("tilt_deg", "Tilt", "°", 1, "Registration", "angle between the axes of scan and template"),
    QualityFigure("scale_min", "Smallest stretch", "", 2, "Registration", "from template to scan"),
    QualityFigure("scale_max", "Largest stretch", "", 2, "Registration", "from template to scan"),
    QualityFigure("noise_hu", "Noise", "HU", 1, "Image", "in the brain"),
    QualityFigure("noise_share", "Noise", "share", 3, "Image", "of the brain's median"),
    QualityFigure("signal_to_noise", "Signal to noise", "", 1, "Image"),
    QualityFigure("streak_hu", "Streaks", "HU", 1, "Image"),
    QualityFigure("contrast_hu", "Contrast agent", "HU", 1, "Image"),
    QualityFigure("asymmetry_hu", "Asymmetry", "HU", 1, "Image", "left less right"),
    QualityFigure("asymmetry_share", "Asymmetry", "share", 3, "Image", "left less right, of the brain's median"),
    QualityFigure("clipped_share", "Clipped voxels", "", 3, "Image"),
    QualityFigure("saturated_share", "Saturated voxels", "", 4, "Image", "as of metal"),
    QualityFigure(
        "chronic_volume_ml", "Old infarct", "ml", 1, "Guards", "largest piece of fluid instead of tissue, on one side"
    ),
    QualityFigure("haemorrhage_volume_ml", "Haemorrhage", "ml", 1, "Guards", "largest piece as dense as blood"),
    QualityFigure(
        "hyperdense_mca_hu", "Middle cerebral artery", "HU", 0, "Guards", "densest stretch, of the denser side"
    ),
    QualityFigure(
        "hyperdense_mca_ratio", "Middle cerebral artery, side ratio", "", 2, "Guards", "denser over other side"
    ),
    QualityFigure("n_frames", "Frames", "", 0, "Series"),
    QualityFigure("frame_interval_s", "Frame interval", "s", 2, "Series", "median"),
    QualityFigure("motion_mm", "Motion", "mm", 2, "Series", "between frames"),
    QualityFigure("rejected_frame_share", "Frames rejected", "share", 2, "Series", "for motion"),
    QualityFigure("aif_quality", "Arterial input", "", 2, "Series", "0 poor, 1 good"),
    QualityFigure("vof_scaling", "Arterial scaling", "", 2, "Series", "by the vein, for partial volume"),
)  # fmt: skip
FIGURE_OF = {figure.column: figure for figure in QUALITY_FIGURES}
