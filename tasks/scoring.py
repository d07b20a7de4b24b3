"""From stored evidence about regions to ASPECTS: rules and laterality, without touching an image.

*Evidence* is what a source measured of one region; a *rule* says when that makes the region affected; *laterality* says
whose score counts (METHODS A.6, S1, S2).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from tasks.anatomy import ASPECTS_REGIONS, CORTICAL_REGIONS, DEEP_REGIONS, HEMISPHERES, MAXIMUM_SCORE

Laterality = Literal["worst", "lesion_side", "clinical_side", "both"]

_OPERATORS: dict[str, Callable[[float, float], bool]] = {"ge": operator.ge, "gt": operator.gt}


#: A region of which less than this share lies in the image cannot be scored.
LEAST_COVERAGE = 0.95
#: A region that is fluid by more than this was not placed on the tissue whose name it has: of 640 regions that the
#: refined atlas placed on 32 synthetic training patients, those above had a mean Dice of .28, those below of .70.
MOST_FLUID = 0.5
#: What evidence can be: share of the region that is lesion, difference from the other side over its density, chance.
EvidenceColumn = Literal["fraction", "relative_difference", "probability"]


@dataclass(frozen=True)
class RegionEvidence:
    """What one source measured of one region.

    Attributes
    ----------
    side, region : of the label
    column : which number ``value`` is
    value : None where it could not be taken
    coverage : share of the region that the image shows, 0 to 1
    n_region_voxels, n_lesion_voxels, lesion_volume_ml : of a source that draws a lesion
    fluid_share : share of the region that looks like fluid
    atlas_dice : Dice of a region that a network drew with the registered atlas's
    is_affected : what the source itself says, where it says so and gives no number
    reason : why there is neither
    """

    side: str
    region: str
    column: EvidenceColumn
    value: float | None
    coverage: float = 1.0
    n_region_voxels: int | None = None
    n_lesion_voxels: int | None = None
    lesion_volume_ml: float | None = None
    fluid_share: float | None = None
    atlas_dice: float | None = None
    is_affected: bool | None = None
    reason: str | None = None


class Rule(Protocol):
    """When evidence makes a region affected."""

    @property
    def name(self) -> str:
        """As tables show it."""

    def judge(self, evidence: RegionEvidence) -> bool | None:
        """Whether the region is affected; None where the rule does not speak of it."""


@dataclass(frozen=True)
class RegionRule:
    """When a region counts as affected: ``fraction OPERATOR cut`` and at least ``minimum_voxels`` lesion voxels."""

    name: str
    cuts: Mapping[str, tuple[Literal["ge", "gt"], float]]
    minimum_voxels: int = 1

    def judge(self, evidence: RegionEvidence) -> bool | None:
        """Whether a region is affected by its share of lesion; None without a cut or a fraction."""
        if evidence.region not in self.cuts or evidence.value is None:
            return None
        n_voxels = self.minimum_voxels if evidence.n_lesion_voxels is None else evidence.n_lesion_voxels
        return self.is_affected(region=evidence.region, fraction=evidence.value, n_lesion_voxels=n_voxels)

    def is_affected(self, *, region: str, fraction: float, n_lesion_voxels: int) -> bool:
        """Whether ``region`` is affected.

        Parameters
        ----------
        region : one of the ten ASPECTS regions
        fraction : lesion voxels over region voxels, 0 to 1
        n_lesion_voxels : lesion voxels in the region
        """
        compare, cut = self.cuts[region]
        return n_lesion_voxels >= self.minimum_voxels and _OPERATORS[compare](fraction, cut)


def fraction_rule(
    name: str,
    *,
    deep: tuple[Literal["ge", "gt"], float],
    cortical: tuple[Literal["ge", "gt"], float],
    minimum_voxels: int = 1,
) -> RegionRule:
    """Build a rule with one cut for the deep and one for the cortical regions.

    >>> rule = fraction_rule("half", deep=("gt", 0.0), cortical=("ge", 0.5))
    >>> rule.is_affected(region="m2", fraction=0.5, n_lesion_voxels=10)
    True
    """
    return RegionRule(
        name, {**dict.fromkeys(DEEP_REGIONS, deep), **dict.fromkeys(CORTICAL_REGIONS, cortical)}, minimum_voxels
    )


BUILT_IN_RULES: dict[str, RegionRule] = {
    # Deep-ASPECTS (paper 2), scoring function: every region that the infarct overlaps
    "any": fraction_rule("any", deep=("gt", 0.0), cortical=("gt", 0.0)),
    # Wei 2026 (doi 10.1093/braincomms/fcag053), "DWI-ASPECTS by raters": any deep lesion, >= 1/3 of M1 to M6
    "wei": fraction_rule("wei", deep=("gt", 0.0), cortical=("ge", 1 / 3)),
    # Cao 2022 (doi 10.1002/hbm.25845), ground truth: core fills more than 10 % of the region
    "danet": fraction_rule("danet", deep=("gt", 0.10), cortical=("gt", 0.10)),
}


@dataclass(frozen=True)
class ProbabilityRule:
    """A region of a hemisphere counts as affected where its probability is at least ``cuts[region]``."""

    name: str
    cuts: Mapping[str, float]

    def judge(self, evidence: RegionEvidence) -> bool | None:
        """Whether a region is affected; None without a cut or a probability."""
        if evidence.region not in self.cuts or evidence.side not in HEMISPHERES or evidence.value is None:
            return None
        return evidence.value >= self.cuts[evidence.region]


@dataclass(frozen=True)
class AsGiven:
    """A region counts as affected where the source says so."""

    name: str = "as_given"

    def judge(self, evidence: RegionEvidence) -> bool | None:
        """What the source says."""
        return evidence.is_affected


#: More likely than not; a network's own operating points come with its weights.
PROBABILITY_RULES: dict[str, Rule] = {
    "probability-50": ProbabilityRule("probability-50", dict.fromkeys(ASPECTS_REGIONS, 0.5)),
}


def affected_side(affected: Mapping[tuple[str, str], bool]) -> Literal["left", "right", "both", "none"]:
    """The side with more affected regions; ``both`` where they are as many, ``none`` where there is none.

    >>> affected_side({("left", "m1"): True, ("right", "m1"): False})
    'left'
    """
    n_left, n_right = (sum(flag for (side, _), flag in affected.items() if side == one) for one in HEMISPHERES)
    if n_left == n_right:
        return "both" if n_left else "none"
    return "left" if n_left > n_right else "right"


@dataclass(frozen=True)
class Score:
    """ASPECTS of both hemispheres and the one that counts; ``reason`` where none can be given."""

    left: int | None
    right: int | None
    score: int | None
    scored_side: Literal["left", "right", "both"] | None
    reason: str | None = None


def aspects_score(
    affected: Mapping[tuple[str, str], bool],
    *,
    laterality: Laterality,
    lesion_side: str | None = None,
    clinical_side: str | None = None,
) -> Score:
    """ASPECTS from affected regions.

    Parameters
    ----------
    affected : (side, region) -> affected, for both sides and all ten regions
    laterality : which score counts. ``worst`` the lower of the two (Cao 2022); ``lesion_side`` the side with more
        lesion; ``clinical_side`` the hemisphere recorded in the clinical table; ``both`` ten minus the affected regions
        of both sides, not below 0 (paper 1 scores all twenty regions)
    lesion_side : ``left``, ``right``, ``both`` (equal volumes) or ``none``
    clinical_side : ``left`` or ``right``; None where the table has none

    Returns
    -------
    Score; ``score`` is None with a reason where the side is unknown.

    Raises
    ------
    ValueError
        A region of a side is missing.
    """
    missing = [
        f"{side}_{region}" for side in ("left", "right") for region in ASPECTS_REGIONS if (side, region) not in affected
    ]
    if missing:
        raise ValueError(f"affected must hold all twenty regions, got none for {', '.join(missing)}.")
    left, right = (
        MAXIMUM_SCORE - sum(affected[side, region] for region in ASPECTS_REGIONS) for side in ("left", "right")
    )
    return choose_side(left, right, laterality=laterality, lesion_side=lesion_side, clinical_side=clinical_side)


def choose_side(
    left: int,
    right: int,
    *,
    laterality: Laterality,
    lesion_side: str | None = None,
    clinical_side: str | None = None,
) -> Score:
    """Which of two hemispheres' scores counts; parameters as in ``aspects_score``.

    >>> choose_side(8, 9, laterality="worst").score, choose_side(8, 9, laterality="both").score
    (8, 7)
    """
    if laterality == "both":
        return Score(left, right, max(0, left + right - MAXIMUM_SCORE), "both")
    if laterality == "clinical_side":
        if clinical_side == "left":
            return Score(left, right, left, "left")
        if clinical_side == "right":
            return Score(left, right, right, "right")
        return Score(left, right, None, None, "clinical_side_missing")
    if laterality == "lesion_side" and lesion_side == "left":
        return Score(left, right, left, "left")
    if laterality == "lesion_side" and lesion_side == "right":
        return Score(left, right, right, "right")
    if left == right:  # no side is worse: either gives the same score
        return Score(left, right, left, "both")
    return Score(left, right, min(left, right), "left" if left < right else "right")
