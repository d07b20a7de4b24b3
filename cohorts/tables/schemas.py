"""Every table's contract: columns, types, units, null rules and key; ``cohorts.tables.storage`` alone writes.

Conventions: one row states one fact; ``status`` is ``ok``, ``excluded`` or ``failed``; where it is not ``ok``, numbers
are null and ``reason`` says why - never 0, never -1. ``included + excluded + failed = screened``, always.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from cohorts.folder.analysis_plan import ANALYSIS_SETS, ROLES
from cohorts.folder.clinical_column import ClinicalColumn
from cohorts.tables.contract import Column, ColumnType, Table, count, flag, number, text
from tasks.anatomy import ASPECTS_REGIONS
from tasks.overlap import SURFACE_TOLERANCE_MM, Presence
from tasks.quality.guards import GUARDS
from tasks.radiomics.feature_lists import FEATURE_MODES

STATUSES = ("ok", "excluded", "failed")
STAGES = ("screening", "intake", "scoring", "eligibility")  # the order of the flowchart
WEIGHTS_STATES = ("none", "trained-here", "external")  # METHODS 0.1
MEASURES = ("score", "volume_ml")
PRESENCES = get_args(Presence)
UNGRADED = "ungraded"  # the grade, in statistics, of those without one

PARTICIPANT = text("participant_id", "Pseudonym, with the prefix sub-")
SOURCE = text("source", "What scored: a method, a ground truth or a reader")
STATUS = text("status", "ok, excluded or failed", allowed=STATUSES)
REASON = text("reason", "Reason code where status is not ok", nullable=True)
SIDE = text("side", "Hemisphere of the patient", allowed=("left", "right", "midline"))

PARTICIPANTS = Table(
    "participants",
    "one participant",
    ("participant_id",),
    (
        PARTICIPANT,
        text("site", "Centre", nullable=True),
        text("split", "Train, validation or test set, where given", nullable=True),
        text("status", "included, excluded or failed", allowed=("included", "excluded", "failed")),
        text("stage", "Stage of the primary exclusion", nullable=True, allowed=STAGES),
        text("reason", "Primary exclusion reason", nullable=True),
        flag("is_listed", "Has a row in participants.tsv"),
        flag("is_measured", "A scan was measured or a reading given, whatever excludes the participant"),
        flag("is_examined", "Listed and stopped by nothing before the eligibility rules"),
        flag("is_included", "status is included: listed and stopped by nothing, the eligibility rules among it"),
        text("severity", "Severity grade from the severity column, in order", nullable=True),
    ),
)

#: Quality of a scan in native space (``tasks.quality.figures``); null for masks and where a figure does not apply.
QUALITY_FIGURES = (
    number("slice_step_mm", "Distance of slices: the largest voxel size", "mm", minimum=0),
    count("n_slices", "Slices"),
    number("tilt_deg", "Angle of the head to the template", "deg", minimum=0, maximum=180),
    number("brain_volume_ml", "Volume of the brain mask", "ml", minimum=0),
    number(
        "brain_open_share", "Area of the brain on the first or last slice over its largest area", minimum=0, maximum=1
    ),
    number("brain_side_share", "The same for the sides of the field of view", minimum=0, maximum=1),
    number("template_coverage", "Share of the template's brain inside the field of view", minimum=0, maximum=1),
    number("registration_dice", "Overlap of the brain mask with the template's (Dice)", minimum=0, maximum=1),
    number("tissue_correlation", "Correlation with the template's tissue contrast", minimum=-1, maximum=1),
    number("scale_min", "Smallest stretch from template to scan", minimum=0),
    number("scale_max", "Largest stretch from template to scan", minimum=0),
    number("ganglionic_coverage", "Share of the ganglionic ASPECTS regions in the field of view", minimum=0, maximum=1),
    number("supraganglionic_coverage", "The same of the supraganglionic regions", minimum=0, maximum=1),
    number("noise_hu", "Noise inside the brain, CT", "HU", minimum=0),
    number("noise_share", "Noise inside the brain over its median, MR", minimum=0),
    number("streak_hu", "Streaks and beam hardening inside the brain, CT", "HU", minimum=0),
    number("contrast_hu", "Densest vessels above the brain's median, CT", "HU"),
    flag("has_contrast", "Whether a contrast agent is seen, CT", nullable=True),
    number("asymmetry_hu", "Median of the left hemisphere less that of the right, CT", "HU"),
    number("asymmetry_share", "The same over the brain's median, MR"),
    number("clipped_share", "Share of voxels that hold the smallest value", minimum=0, maximum=1),
    number("saturated_share", "Share of voxels of metal's density, CT", minimum=0, maximum=1),
    number("signal_to_noise", "Brain's median over the noise of air, MR", minimum=0),
    number(
        "chronic_volume_ml", "Largest piece of fluid in the place of tissue, on one side, plain CT", "ml", minimum=0
    ),
    number("haemorrhage_volume_ml", "Largest piece as dense as blood, plain CT", "ml", minimum=0),
    number("hyperdense_mca_hu", "Densest stretch of the middle cerebral artery, of the denser side, plain CT", "HU"),
    number("hyperdense_mca_ratio", "The same over that of the other side, plain CT", minimum=1),
    number("motion_mm", "Largest displacement between frames, 4D", "mm", minimum=0),
    count("n_frames", "Frames, 4D"),
    number("rejected_frame_share", "Share of frames left out for motion, 4D", minimum=0, maximum=1),
    number("frame_interval_s", "Median time between frames, 4D", "s", minimum=0),
    number("aif_quality", "Quality of the arterial input, CT perfusion", minimum=0, maximum=1),
    number("vof_scaling", "Factor of the arterial input for partial volume, CT perfusion", minimum=1),
)

#: What a study's thresholds (``[guards]``) make of the figures; null where they were not measured.
GUARD_FLAGS = tuple(
    flag(guard.flag, f"{guard.title} suspected: above the study's thresholds", nullable=True) for guard in GUARDS
)

SCANS = Table(
    "scans",
    "one participant and modality",
    ("participant_id", "modality"),
    (
        PARTICIPANT,
        text("modality", "Modality as given in scans.tsv"),
        text("space", "Space as given in scans.tsv", nullable=True),
        text("path", "Path inside the cohort folder"),
        text("sha256", "Digest of the file's bytes", nullable=True),
        count("size_bytes", "File size", "byte"),
        text("shape", "Voxels along each axis, as 157x189x136", nullable=True),
        text("spacing_mm", "Voxel size along each axis, as 1x1x1", nullable=True),
        text("orientation", "Axis codes, as LAS", nullable=True),
        number("voxel_volume_mm3", "Absolute determinant of the affine", "mm3", minimum=0),
        text("notes", "What was fixed or seen when the scan was read", nullable=True),
        *QUALITY_FIGURES,
        *GUARD_FLAGS,
        STATUS,
        REASON,
        text("detail", "What was found, the rule and the remedy, where the scan is refused", nullable=True),
    ),
)

EXCLUSIONS = Table(
    "exclusions",
    "one participant and reason",
    ("participant_id", "stage", "reason"),
    (
        PARTICIPANT,
        text("stage", "Where in the flowchart", allowed=STAGES),
        text("reason", "Reason code"),
        text("status", "excluded or failed", allowed=("excluded", "failed")),
        flag("is_primary", "The one reason under which the flowchart counts this participant"),
        text("detail", "What was found, the rule and the remedy"),
    ),
)

REGIONS = Table(
    "regions",
    "one participant, source, side and region",
    ("participant_id", "source", "side", "region"),
    (
        PARTICIPANT,
        SOURCE,
        SIDE,
        text("region", "Region, named in full"),
        count("n_region_voxels", "Voxels of the region on the mask's grid"),
        count("n_lesion_voxels", "Lesion voxels in the region"),
        number("lesion_volume_ml", "Lesion volume in the region (regional load)", "ml", minimum=0),
        number("fraction", "Lesion voxels over region voxels", minimum=0, maximum=1),
        number("relative_difference", "Density less that of the other side, over the other side"),
        number("probability", "Probability that the region is affected", minimum=0, maximum=1),
        number("fluid_share", "Share of the region, where it was placed, that looks like fluid", minimum=0, maximum=1),
        number("atlas_dice", "Dice of a region drawn by a network with the registered atlas's", minimum=0, maximum=1),
        flag("affected", "Whether the rule counts the region as affected", nullable=True),
        text("rule", "Rule that turned the fraction into affected", nullable=True),
        text("weights_state", "none, trained-here or external", allowed=WEIGHTS_STATES),
        STATUS,
        REASON,
    ),
    tsv_twin=False,
)

SCORES = Table(
    "scores",
    "one participant and source",
    ("participant_id", "source"),
    (
        PARTICIPANT,
        SOURCE,
        count("score_left", "ASPECTS of the left hemisphere", "points", maximum=10),
        count("score_right", "ASPECTS of the right hemisphere", "points", maximum=10),
        count("score", "The score that counts under the laterality rule", "points", maximum=10),
        text("scored_side", "Hemisphere that gave the score", nullable=True, allowed=("left", "right", "both")),
        text("laterality", "worst, lesion_side, clinical_side or both"),
        text("rule", "Region rule", nullable=True),
        number("low_score_probability", "Probability of a low score, for binary methods", minimum=0, maximum=1),
        flag("template_assisted", "Reader used the registered template (METHODS N16)", nullable=True),
        text("weights_state", "none, trained-here or external", allowed=WEIGHTS_STATES),
        STATUS,
        REASON,
    ),
)

LESIONS = Table(
    "lesions",
    "one participant and lesion measurement",
    ("participant_id", "source"),
    (
        PARTICIPANT,
        text("source", "Measurement: the modality of a mask, or threshold-<modality>"),
        number("volume_ml", "Voxel count times the affine determinant", "ml", minimum=0),
        count("n_voxels", "Lesion voxels"),
        count("n_components", "Components, 26-connected"),
        number("max_diameter_mm", "Largest extent of any one component, voxel corners", "mm", minimum=0),
        text("side", "Hemisphere holding most of the lesion", nullable=True, allowed=("left", "right", "both", "none")),
        number("volume_left_ml", "Lesion volume left of the mid-plane (x < 0)", "ml", minimum=0),
        number("volume_right_ml", "Lesion volume right of the mid-plane (x > 0)", "ml", minimum=0),
        number("mca_share", "Share of the lesion in MCA territory", minimum=0, maximum=1),
        number("aca_share", "Share of the lesion in ACA territory", minimum=0, maximum=1),
        number("pca_share", "Share of the lesion in PCA territory", minimum=0, maximum=1),
        number("posterior_fossa_share", "Share of the lesion in the posterior fossa", minimum=0, maximum=1),
        number("mca_infarcted_left", "Share of the left MCA territory that is lesion", minimum=0, maximum=1),
        number("mca_infarcted_right", "Share of the right MCA territory that is lesion", minimum=0, maximum=1),
        number("hypoperfused_volume_ml", "CT perfusion: tissue with late Tmax on the affected side", "ml", minimum=0),
        number("mismatch_ratio", "CT perfusion: hypoperfused volume over core volume; null without core", minimum=0),
        number("reference_cbf_ml_100g_min", "CT perfusion: mean flow of the other side", "ml/100 g/min", minimum=0),
        STATUS,
        REASON,
    ),
)

SEGMENTATION = Table(
    "segmentation",
    "one participant, pair of sources and label",
    ("participant_id", "reference", "candidate", "label"),
    (
        PARTICIPANT,
        text("reference", "Reference: a measurement of a lesion, as source of lesions; or the name of drawn regions"),
        text("candidate", "Candidate: another one on the same grid; or a source with regions on the same scan"),
        text("label", "Label compared: lesion, or side and region such as left_caudate"),
        text("side", "Of a region: hemisphere of the patient", nullable=True, allowed=SIDE.allowed),
        text("region", "Of a region: its name in full", nullable=True),
        text(
            "presence",
            "Which mask has a voxel: both, or reference_empty, candidate_empty, both_empty",
            nullable=True,
            allowed=PRESENCES,
        ),
        number("dice", "Dice coefficient; null where both are empty, 0 where one is", minimum=0, maximum=1),
        number(
            "hd95_mm",
            "Larger of the 95th percentiles of distances from each border to the other; null where one is empty",
            "mm",
            minimum=0,
        ),
        number(
            "surface_dice",
            f"Border voxels of both within {SURFACE_TOLERANCE_MM:g} mm of the other border, share; null and 0 as dice",
            minimum=0,
            maximum=1,
        ),
        number("volume_difference_ml", "Candidate minus reference volume", "ml"),
        number("reference_volume_ml", "Volume of the reference", "ml", minimum=0),
        number(
            "lesion_f1",
            "F1 of lesions, 26-connected: found by any shared voxel, missed, or false; null and 0 as dice; no regions",
            minimum=0,
            maximum=1,
        ),
        count("n_reference_lesions", "Lesions of the reference"),
        count("n_candidate_lesions", "Lesions of the candidate"),
        count("n_found_lesions", "Lesions of the reference that share a voxel with the candidate"),
        count("n_false_lesions", "Lesions of the candidate that share no voxel with the reference"),
        STATUS,
        REASON,
    ),
)

FEATURES = Table(
    "features",
    "one participant, source, side, region and feature",
    ("participant_id", "source", "side", "region", "feature"),
    (
        PARTICIPANT,
        text("modality", "Scan that it was measured on, as given in scans.tsv"),
        SOURCE,
        SIDE,
        text("region", "Region, named in full"),
        text("feature_class", "pyradiomics' class, where the feature is one of its own", nullable=True),
        text("feature", "Name of the feature; pyradiomics' own where it comes from there"),
        text(
            "mode",
            "absolute, contralateral_diff (minus the other side's) or ratio (over it), where a source has the choice",
            nullable=True,
            allowed=FEATURE_MODES,
        ),
        number("value", "Feature value"),
        text("settings_sha256", "Digest of the extraction settings"),
        text("distribution", "Distribution and version that computed it"),
        STATUS,
        REASON,
    ),
    tsv_twin=False,
)

STATISTICS = Table(
    "statistics",
    "one printed number",
    ("statistic_id",),
    (
        text("statistic_id", "section/quantity:details/source/what it is held against/set, unique"),
        text("section", "Section of the report"),
        text("quantity", "What was estimated, such as auc or icc_a1"),
        text(
            "role",
            "primary or confirmatory where cohort.toml declared it under [analysis]; exploratory otherwise; "
            "descriptive where nothing is inferred",
            allowed=(*ROLES, "descriptive"),
        ),
        text(
            "measure",
            "What the source gave: score (of scores) or volume_ml (of lesions)",
            nullable=True,
            allowed=MEASURES,
        ),
        text("source", "Source or candidate the number is about", nullable=True),
        text("reference", "Reference source", nullable=True),
        text("reference_measure", "What the reference source gave", nullable=True, allowed=MEASURES),
        text("variable", "Column of participants that the number is about or is held against", nullable=True),
        text("category", "Value whose share it is", nullable=True),
        text("dichotomy", "Declared cut", nullable=True),
        text("side", "left, right or any (affected on either side)", nullable=True, allowed=("left", "right", "any")),
        text("region", "Region, named in full", nullable=True),
        text("stage", "Stage of the flowchart", nullable=True, allowed=STAGES),
        text("reason", "Exclusion reason", nullable=True),
        text("analysis_set", "Whom it is about: a set of participants", allowed=ANALYSIS_SETS),
        text(
            "grade", "Severity grade within the set; ungraded for those without one; null: all of them", nullable=True
        ),
        number("estimate", "The estimate; null where it cannot be computed, with the reason in note"),
        number("lower", "Lower limit of the interval"),
        number("upper", "Upper limit of the interval"),
        number("level", "Level of the interval", minimum=0, maximum=1),
        text("method", "Estimator and interval method"),
        text("unit", "Unit of the estimate", nullable=True),
        count("n", "Participants used"),
        count("n_positive", "Participants in the positive class"),
        text("positive_class", "The positive class, spelled out", nullable=True),
        count("numerator", "Count above the line, where the estimate is a proportion"),
        count("denominator", "Count below the line, where the estimate is a proportion"),
        number("p_value", "p, two-sided, unadjusted", minimum=0, maximum=1),
        number("p_adjusted", "p adjusted within its family", minimum=0, maximum=1),
        text("family", "Family of the multiplicity correction, with its size", nullable=True),
        count("seed", "Seed, where random numbers were used"),
        text("note", "Why there is no estimate, or how to read it", nullable=True),
    ),
)

TIMINGS = Table(
    "timings",
    "one step run of one participant",
    ("participant_id", "step"),
    (
        PARTICIPANT,
        text("step", "Step name"),
        number("seconds", "Wall time of the step", "s", minimum=0),
        number("cpu_seconds", "CPU time of the step", "s", minimum=0),
        number("peak_mib", "Peak resident memory of the worker so far", "MiB", minimum=0),
        text("finished_at", "UTC time of the commit"),
    ),
)

PROVENANCE = Table(
    "provenance",
    "one step result used by this run",
    ("participant_id", "step"),
    (
        PARTICIPANT,
        text("step", "Step name"),
        text("digest", "Address of the result: digest of the four below"),
        text("input_sha256", "Digest of the input bytes"),
        text("settings_sha256", "Digest of the settings, label maps included"),
        text("weights_sha256", "Digest of the weights", nullable=True),
        text("code", "Step name and version"),
        text("software_version", "What software of others calls itself", nullable=True),
        text("software_run_on", "When it was run, as its table says", nullable=True),
        STATUS,
        REASON,
        text("detail", "What was found, the rule and the remedy, where it is not fine", nullable=True),
    ),
)

TABLES = {
    table.name: table
    for table in (
        PARTICIPANTS,
        SCANS,
        EXCLUSIONS,
        REGIONS,
        SCORES,
        LESIONS,
        SEGMENTATION,
        FEATURES,
        STATISTICS,
        TIMINGS,
        PROVENANCE,
    )
}

#: Columns whose names every participants table has already; a clinical column may not reuse one.
RESERVED_COLUMNS = PARTICIPANTS.names
READING_FLAGS = ASPECTS_REGIONS

_ARROW_TYPE: dict[str, ColumnType] = {
    "integer": "int64",
    "number": "float64",
    "category": "string",
    "boolean": "bool",
    "date": "date",
    "text": "string",
}


def statistics_table(grades: tuple[str, ...] = ()) -> Table:
    """The statistics contract with a study's severity grades in order, those without a grade last."""
    return _graded(STATISTICS, "grade", (*grades, UNGRADED) if grades else ())


def _graded(table: Table, name: str, grades: tuple[str, ...]) -> Table:
    """The table with one text column as grades in order; as it is where there are no grades."""
    columns = (
        replace(column, type="grade", allowed=grades) if grades and column.name == name else column
        for column in table.columns
    )
    return replace(table, columns=tuple(columns))


def participants_table(clinical: tuple[ClinicalColumn, ...], grades: tuple[str, ...] = ()) -> Table:
    """The participants contract with a study's severity grades in order, and its clinical columns behind the fixed."""
    return replace(
        PARTICIPANTS,
        columns=_graded(PARTICIPANTS, "severity", grades).columns
        + tuple(
            Column(
                item.column,
                _ARROW_TYPE[item.read_as],
                item.title,
                item.unit,
                nullable=True,
                minimum=item.minimum,
                maximum=item.maximum,
                allowed=tuple(item.level_titles) if item.levels and item.read_as == "category" else None,
            )
            for item in clinical
        ),
    )
