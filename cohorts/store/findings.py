"""What a step found, as its record holds it: typed, frozen parts; a kind of source adds parts of its own.

The parts are JSON in the record (``cohorts.store.records``) and are checked when a record is read. A number that could
not be taken is None. Label maps are named by their content's sha256, images by their modality in scans.tsv.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from tasks.lesion import LesionMeasures
from tasks.space.resample import Grid

#: bool and int before float, so that each keeps its type
Figure = bool | int | float | None


class Found(BaseModel):
    """A part of what was found: frozen, an unknown key is an error, and numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ScanFacts(Found):
    """The grid of an image as the ``scans`` table shows it, with notes of what was changed and their numbers."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    orientation: str
    voxel_volume_mm3: float
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, float] = {}

    @classmethod
    def of(cls, grid: Grid) -> Self:
        """A grid alone, without notes."""
        return cls(
            shape=grid.shape,
            spacing_mm=tuple(round(size, 6) for size in grid.spacing_mm),
            orientation=grid.orientation,
            voxel_volume_mm3=grid.voxel_volume_mm3,
        )


class RegionCounts(Found):
    """Voxels of every label of one map, in the order of its table.

    Attributes
    ----------
    labels : index of each label
    n_region, n_lesion : voxels of the region, and of the lesion in it
    coverage : share of the region that the image shows; None where all of every region must be in view to be measured
    n_hypoperfused : voxels with late arrival, where perfusion was measured
    fluid_share : share of the region that looks like fluid, on a scan; None of a region too small to say
    atlas_dice : Dice of a region that a network drew with that of the registered atlas
    """

    labels: tuple[int, ...]
    n_region: tuple[int, ...]
    n_lesion: tuple[int, ...]
    coverage: tuple[float, ...]
    n_hypoperfused: tuple[int, ...] | None = None
    fluid_share: tuple[float | None, ...] | None = None
    atlas_dice: tuple[float | None, ...] | None = None

    @model_validator(mode="after")
    def _as_long(self) -> RegionCounts:
        lengths = {name: len(value) for name, value in self if value is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"every count must have one number a label, got {lengths}")
        return self


class Findings(Found):
    """What every kind of step may find.

    Attributes
    ----------
    scans : modality -> the grid of each image that was read; the image that the findings lie on comes first
    quality : modality -> quality figures (``tasks.quality.figures.ScanQuality``)
    lesion : what the lesion measures
    counts : sha256 of a label map -> its counts
    """

    scans: Mapping[str, ScanFacts] = {}
    quality: Mapping[str, Mapping[str, Figure]] = {}
    lesion: LesionMeasures | None = None
    counts: Mapping[str, RegionCounts] = {}

    def adding(self, **parts: Any) -> Self:
        """The same findings with further parts; scans and figures of quality join those that are there.

        Raises
        ------
        ValidationError
            A part is not of its type.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        joined = {
            name: {**getattr(self, name), **value} if name in ("scans", "quality") else value
            for name, value in parts.items()
        }
        return type(self)(**(given | joined))
