"""``radiomics``: describes every region of a CT by pyradiomics' features; no score, for no weights stand behind one.

The feature half of two published systems: Tao 2024 (J X-Ray Sci Technol 32:17-30) on CTA, and the comparison of Cao
2022 (Hum Brain Mapp, doi 10.1002/hbm.25845) on plain CT.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from cohorts.folder.source import Gives, ImageName
from flows.cases.described_regions import Voxels
from flows.cases.label_maps import VASCULAR_FILES
from flows.sources.describing import DescribingSource
from flows.sources.interface import Method
from tasks.radiomics.feature_lists import FEATURE_LISTS, FeatureList
from tasks.radiomics.features import MOST_GREY_LEVELS, FeatureSettings
from tasks.segmentation import STEP_MM


class RadiomicsSource(DescribingSource):
    """Radiomics features of every region of a CT, in the brain, on the scan's own grid."""

    about: ClassVar[str] = "pyradiomics' features of each region on CT; no score, as no weights stand behind one"
    gives: ClassVar[frozenset[Gives]] = frozenset({"features"})

    kind: Literal["radiomics"]
    modality: str = Field("ncct", description="Which rows of scans.tsv: scans as they came, in native space")
    image: Literal["ncct", "cta"] = Field("ncct", description="What the scan is, which decides limits")
    feature_list: FeatureList = Field("pyradiomics2_105", description="Which features; Tao 2024 starts from these 105")
    # Tao 2024, section 2.1: width 80, level 40
    window_hu: tuple[float, float] = Field((0.0, 80.0), description="Values beyond are set to the nearer end")
    bin_width_hu: float = Field(5.0, gt=0, description="Width of grey levels; their edges are its multiples")
    voxels: Voxels = Field("own", description="own describes the scan's own voxels, cubes those of 2 mm made of it")

    @model_validator(mode="after")
    def _makes_grey_levels(self) -> RadiomicsSource:
        low, high = self.window_hu
        if not self.bin_width_hu <= high - low <= MOST_GREY_LEVELS * self.bin_width_hu:
            raise ValueError(
                f"window_hu must be low and high and hold 1 to {MOST_GREY_LEVELS} bins of bin_width_hu, got {low:g} to "
                f"{high:g} HU in bins of {self.bin_width_hu:g} HU"
            )
        return self

    @classmethod
    def taken(cls) -> tuple[dict[str, Any], ...]:
        """One on each CT."""
        return tuple(
            {"name": f"{image}-features", "kind": cls.kind_name(), "modality": image, "image": image}
            for image in ("ncct", "cta")
        )

    @property
    def image_kind(self) -> ImageName:
        """As declared."""
        return self.image

    @property
    def described_by(self) -> tuple[FeatureSettings, Voxels]:
        """As declared."""
        return FeatureSettings(FEATURE_LISTS[self.feature_list], self.bin_width_hu, self.window_hu), self.voxels

    @property
    def phrase(self) -> str:
        """What is described, and how."""
        low, high = self.window_hu
        where = "the scan's own grid" if self.voxels == "own" else f"cubes of {STEP_MM:g} mm"
        of_mode = {
            "absolute": "of each region itself",
            "contralateral_diff": "of each region minus those of the other side",
            "ratio": "of each region over those of the other side",
        }
        return (
            f"{len(FEATURE_LISTS[self.feature_list])} radiomics features ({self.feature_list}) by {self.features_by} "
            f"{importlib.metadata.version(self.features_by)} on {self.modality}, {of_mode[self.feature_mode]}, inside "
            f"the brain mask and on {where}, values held within {low:g} to {high:g} HU, grey levels of "
            f"{self.bin_width_hu:g} HU"
        )


METHOD = Method(RadiomicsSource, also_files=VASCULAR_FILES)
