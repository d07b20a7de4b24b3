"""Every table's contract: columns, types, units, null rules and key. One writer (``cohorts.storage``) enforces them.

Conventions: one row states one fact; ``status`` is ``ok``, ``excluded`` or ``failed``; where it is not ``ok``, numbers
are null and ``reason`` says why - never 0, never -1. ``included + excluded + failed = screened``, always.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from cohorts.study import ClinicalColumn
from tasks.anatomy import ASPECTS_REGIONS

ColumnType = Literal["string", "int64", "float64", "bool"]

STATUSES = ("ok", "excluded", "failed")
STAGES = ("screening", "intake", "scoring", "eligibility")  # the order of the flowchart
WEIGHTS_STATES = ("none", "trained-here", "external")  # METHODS 0.1


@dataclass(frozen=True)
class Column:
    """One column: its type, unit, meaning and what its values may be."""

    name: str
    type: ColumnType
    description: str
    unit: str = ""
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Table:
    """One table: what a row is, its unique key, and its columns in order."""

    name: str
    row: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    tsv_twin: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)


def _text(name: str, description: str, *, nullable: bool = False, allowed: tuple[str, ...] | None = None) -> Column:
    return Column(name, "string", description, nullable=nullable, allowed=allowed)


def _number(
    name: str,
    description: str,
    unit: str = "",
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    nullable: bool = True,
) -> Column:
    return Column(name, "float64", description, unit, nullable, minimum, maximum)


def _count(
    name: str,
    description: str,
    unit: str = "",
    *,
    nullable: bool = True,
    minimum: float | None = 0,
    maximum: float | None = None,
) -> Column:
    return Column(name, "int64", description, unit, nullable, minimum, maximum)


def _flag(name: str, description: str, *, nullable: bool = False) -> Column:
    return Column(name, "bool", description, nullable=nullable)


PARTICIPANT = _text("participant_id", "Pseudonym, with the prefix sub-")
SOURCE = _text("source", "What scored: a method, a ground truth or a reader")
STATUS = _text("status", "ok, excluded or failed", allowed=STATUSES)
REASON = _text("reason", "Reason code where status is not ok", nullable=True)
SIDE = _text("side", "Hemisphere of the patient", allowed=("left", "right", "midline"))

PARTICIPANTS = Table(
    "participants",
    "one participant",
    ("participant_id",),
    (
        PARTICIPANT,
        _text("site", "Centre", nullable=True),
        _text("split", "Train, validation or test set, where given", nullable=True),
        _text("status", "included, excluded or failed", allowed=("included", "excluded", "failed")),
        _text("stage", "Stage of the primary exclusion", nullable=True, allowed=STAGES),
        _text("reason", "Primary exclusion reason", nullable=True),
        _flag("is_listed", "Has a row in participants.tsv"),
        _flag("is_scored", "Listed, and at least one declared source gave a score or a measurement"),
        _flag("is_eligible", "Scored, and kept by every eligibility rule"),
        _text("severity", "Severity grade from the severity column", nullable=True),
    ),
)

SCANS = Table(
    "scans",
    "one participant and modality",
    ("participant_id", "modality"),
    (
        PARTICIPANT,
        _text("modality", "Modality as given in scans.tsv"),
        _text("space", "Space as given in scans.tsv", nullable=True),
        _text("path", "Path inside the cohort folder"),
        _text("sha256", "Digest of the file's bytes", nullable=True),
        _count("size_bytes", "File size", "byte"),
        _text("shape", "Voxels along each axis, as 157x189x136", nullable=True),
        _text("spacing_mm", "Voxel size along each axis, as 1x1x1", nullable=True),
        _text("orientation", "Axis codes, as LAS", nullable=True),
        _number("voxel_volume_mm3", "Absolute determinant of the affine", "mm3", minimum=0),
        STATUS,
        REASON,
    ),
)

EXCLUSIONS = Table(
    "exclusions",
    "one participant and reason",
    ("participant_id", "stage", "reason"),
    (
        PARTICIPANT,
        _text("stage", "Where in the flowchart", allowed=STAGES),
        _text("reason", "Reason code"),
        _text("status", "excluded or failed", allowed=("excluded", "failed")),
        _flag("is_primary", "The one reason under which the flowchart counts this participant"),
        _text("detail", "What was found, the rule and the remedy"),
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
        _text("region", "Region, named in full"),
        _count("n_region_voxels", "Voxels of the region on the mask's grid"),
        _count("n_lesion_voxels", "Lesion voxels in the region"),
        _number("lesion_volume_ml", "Lesion volume in the region (regional load)", "ml", minimum=0),
        _number("fraction", "Lesion voxels over region voxels", minimum=0, maximum=1),
        _number("probability", "Probability that the region is affected", minimum=0, maximum=1),
        _flag("affected", "Whether the rule counts the region as affected", nullable=True),
        _text("rule", "Rule that turned the fraction into affected", nullable=True),
        _text("weights_state", "none, trained-here or external", allowed=WEIGHTS_STATES),
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
        _count("score_left", "ASPECTS of the left hemisphere", "points", maximum=10),
        _count("score_right", "ASPECTS of the right hemisphere", "points", maximum=10),
        _count("score", "The score that counts under the laterality rule", "points", maximum=10),
        _text("scored_side", "Hemisphere that gave the score", nullable=True, allowed=("left", "right", "both")),
        _text("laterality", "worst, lesion_side, clinical_side or both"),
        _text("rule", "Region rule", nullable=True),
        _number("low_score_probability", "Probability of a low score, for binary methods", minimum=0, maximum=1),
        _flag("template_assisted", "Reader used the registered template (METHODS N16)", nullable=True),
        _text("weights_state", "none, trained-here or external", allowed=WEIGHTS_STATES),
        STATUS,
        REASON,
    ),
)

LESIONS = Table(
    "lesions",
    "one participant and lesion-measuring source modality",
    ("participant_id", "source"),
    (
        PARTICIPANT,
        _text("source", "Modality whose mask was measured"),
        _number("volume_ml", "Voxel count times the affine determinant", "ml", minimum=0),
        _count("n_voxels", "Lesion voxels"),
        _count("n_components", "Components, 26-connected"),
        _number("max_diameter_mm", "Largest extent of any one component, voxel corners", "mm", minimum=0),
        _text(
            "side", "Hemisphere holding most of the lesion", nullable=True, allowed=("left", "right", "both", "none")
        ),
        _number("volume_left_ml", "Lesion volume left of the mid-plane (x < 0)", "ml", minimum=0),
        _number("volume_right_ml", "Lesion volume right of the mid-plane (x > 0)", "ml", minimum=0),
        _number("mca_share", "Share of the lesion in MCA territory", minimum=0, maximum=1),
        _number("aca_share", "Share of the lesion in ACA territory", minimum=0, maximum=1),
        _number("pca_share", "Share of the lesion in PCA territory", minimum=0, maximum=1),
        _number("posterior_fossa_share", "Share of the lesion in the posterior fossa", minimum=0, maximum=1),
        _number("mca_infarcted_left", "Share of the left MCA territory that is lesion", minimum=0, maximum=1),
        _number("mca_infarcted_right", "Share of the right MCA territory that is lesion", minimum=0, maximum=1),
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
        _text("reference", "Reference source"),
        _text("candidate", "Candidate source"),
        _text("label", "Label compared"),
        _number("dice", "Dice coefficient", minimum=0, maximum=1),
        _number("hd95_mm", "95th percentile Hausdorff distance", "mm", minimum=0),
        _number("surface_dice", "Normalised surface Dice", minimum=0, maximum=1),
        _number("volume_difference_ml", "Candidate minus reference volume", "ml"),
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
        SOURCE,
        SIDE,
        _text("region", "Region, named in full"),
        _text("feature", "pyradiomics name"),
        _number("value", "Feature value"),
        _text("settings_sha256", "Digest of the extraction settings"),
        _text("distribution", "Distribution and version that computed it"),
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
        _text("statistic_id", "section/quantity/source/reference/stratum, unique"),
        _text("section", "Section of the report"),
        _text("quantity", "What was estimated, such as auc or icc_a1"),
        _text("source", "Source or candidate the number is about", nullable=True),
        _text("reference", "Reference source or clinical column", nullable=True),
        _text("stratum", "Analysis set or subgroup"),
        _number("estimate", "The estimate; null where it cannot be computed, with the reason in note"),
        _number("lower", "Lower limit of the interval"),
        _number("upper", "Upper limit of the interval"),
        _number("level", "Level of the interval", minimum=0, maximum=1),
        _text("method", "Estimator and interval method"),
        _text("unit", "Unit of the estimate", nullable=True),
        _count("n", "Participants used"),
        _count("n_positive", "Participants in the positive class"),
        _text("positive_class", "The positive class, spelled out", nullable=True),
        _count("numerator", "Count above the line, where the estimate is a proportion"),
        _count("denominator", "Count below the line, where the estimate is a proportion"),
        _number("p_value", "p, two-sided, unadjusted", minimum=0, maximum=1),
        _number("p_adjusted", "p adjusted within its family", minimum=0, maximum=1),
        _text("family", "Family of the multiplicity correction, with its size", nullable=True),
        _count("seed", "Seed, where random numbers were used"),
        _text("note", "Why there is no estimate, or how to read it", nullable=True),
    ),
)

TIMINGS = Table(
    "timings",
    "one step run of one participant",
    ("participant_id", "step"),
    (
        PARTICIPANT,
        _text("step", "Step name"),
        _number("seconds", "Wall time of the step", "s", minimum=0),
        _number("cpu_seconds", "CPU time of the step", "s", minimum=0),
        _number("peak_mib", "Peak resident memory of the worker so far", "MiB", minimum=0),
        _text("finished_at", "UTC time of the commit"),
    ),
)

PROVENANCE = Table(
    "provenance",
    "one step result used by this run",
    ("participant_id", "step"),
    (
        PARTICIPANT,
        _text("step", "Step name"),
        _text("digest", "Address of the result: digest of the four below"),
        _text("input_sha256", "Digest of the input bytes"),
        _text("settings_sha256", "Digest of the settings, label maps included"),
        _text("weights_sha256", "Digest of the weights", nullable=True),
        _text("code", "Step name and version"),
        STATUS,
        REASON,
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
    "date": "string",
    "text": "string",
}


def participants_table(clinical: tuple[ClinicalColumn, ...]) -> Table:
    """The participants contract with a study's clinical columns, typed, behind the fixed ones."""
    return replace(
        PARTICIPANTS,
        columns=PARTICIPANTS.columns
        + tuple(
            Column(
                item.column,
                _ARROW_TYPE[item.read_as],
                item.title,
                item.unit,
                nullable=True,
                minimum=item.minimum,
                maximum=item.maximum,
                allowed=tuple(item.levels) if item.levels and item.read_as == "category" else None,
            )
            for item in clinical
        ),
    )
