"""From stored density differences to affected regions and the affected side, without touching an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, LEFT, RIGHT, LabelTable
from tasks.density.measure import RegionDensity

AffectedSide = Literal["left", "right"]


@dataclass(frozen=True)
class DensityRule:
    """A region is affected where its density is less than ``cuts[region]`` times that of the other side.

    Attributes
    ----------
    name : str
    cuts : mapping of region -> ratio, above 0 and at most 1
    source : str
        Where the cuts come from, for reports.

    Raises
    ------
    ValueError
        There is no cut, or one lies outside 0 to 1.
    """

    name: str
    cuts: Mapping[str, float]
    source: str

    def __post_init__(self) -> None:
        problems = [
            f"cut of {region} must be > 0 and <= 1, got {cut}. Give this side over the other."
            for region, cut in self.cuts.items()
            if not 0 < cut <= 1
        ]
        if not self.cuts:
            problems.append("cuts must hold at least one region, got none. Name the regions.")
        if problems:
            raise ValueError(f"density rule {self.name!r}: " + " ".join(problems))
        object.__setattr__(self, "cuts", MappingProxyType(dict(self.cuts)))

    def is_affected(self, region: str, ratio: float) -> bool:
        """Whether a region is affected.

        Parameters
        ----------
        region : one of those that have a cut
        ratio : density of this side over the other, from ``RegionDensity``
        """
        return ratio < self.cuts[region]


#: A difference of 2.0 HU agreed best with the infarct a day later (r .71), as did a ratio of .94 to .96 (Mokin et al.,
#: Stroke 2017;48:1574-1579, doi 10.1161/STROKEAHA.117.016745); brain tissue of 34 HU makes 2.0 HU a ratio of .94.
NCCT_RATIO = DensityRule("ncct-ratio", dict.fromkeys(ASPECTS_REGIONS, 0.94), "Mokin 2017: 2.0 HU, ratio 0.94")

#: code/cutpoints.csv of github.com/AnotherMak/aspects-on-cta @eb479fe (MIT), rounded.
CTA_RATIO = DensityRule(
    "cta-ratio",
    {
        "caudate": 0.916,
        "insula": 0.871,
        "internal_capsule": 0.949,
        "lentiform": 0.930,
        "m1": 0.936,
        "m2": 0.859,
        "m3": 0.950,
        "m4": 0.957,
        "m5": 0.904,
        "m6": 0.920,
    },
    "aspects-on-cta, cutpoints.csv",
)

BUILT_IN_DENSITY_RULES: dict[str, DensityRule] = {rule.name: rule for rule in (NCCT_RATIO, CTA_RATIO)}


def affected_regions(
    densities: Mapping[int, RegionDensity], table: LabelTable, rule: DensityRule
) -> dict[tuple[str, str], bool | None]:
    """Apply a rule to stored numbers.

    Parameters
    ----------
    densities : label index -> RegionDensity; rebuilt from a record by ``RegionDensity(**row)``
    table : LabelTable of the same map
    rule : DensityRule

    Returns
    -------
    dict of (side, region) -> affected, for every region that has a cut; None where the ratio could not be taken.
    """
    affected: dict[tuple[str, str], bool | None] = {}
    for label in table.labels:
        if label.region in rule.cuts and label.side in HEMISPHERES:
            ratio = densities[label.index].ratio
            affected[label.side, label.region] = None if ratio is None else rule.is_affected(label.region, ratio)
    return affected


def affected_side(densities: Mapping[int, RegionDensity], table: LabelTable, rule: DensityRule) -> AffectedSide | None:
    """The side whose affected regions fall below their cuts by more in sum; None where no region is affected."""
    calls = affected_regions(densities, table, rule)
    excess = dict.fromkeys(HEMISPHERES, 0.0)
    for label in table.labels:
        ratio = densities[label.index].ratio
        if calls.get((label.side, label.region)) and ratio is not None:
            excess[label.side] += rule.cuts[label.region] - ratio
    if excess[LEFT] == excess[RIGHT]:
        return None
    return "left" if excess[LEFT] > excess[RIGHT] else "right"
