"""From stored density differences to affected regions, without touching an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES
from tasks.scoring import RegionEvidence


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

    def judge(self, evidence: RegionEvidence) -> bool | None:
        """Whether a region of a hemisphere is affected; None without a cut or a difference."""
        if evidence.region not in self.cuts or evidence.side not in HEMISPHERES or evidence.value is None:
            return None
        return self.is_affected(evidence.region, 1 + evidence.value)


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
