"""Label maps on a worker: the one that a run was planned with, and the voxels of a scan or mask that each label has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cohorts.store.findings import RegionCounts
from flows.cases.case import MapReference
from models.anatomy.template import LabelMap, load_label_map
from tasks.anatomy import LabelTable
from tasks.quality.regions import Placing

#: The map of arterial territories, in which every lesion is counted besides the regions of its sources.
VASCULAR_MAP = "vascular"
#: Its files, for methods that read it whatever the regions of their source.
VASCULAR_FILES = ("models/data/vascular_territories_dseg.nii.gz", "models/data/vascular_territories_dseg.tsv")


@lru_cache(maxsize=8)
def planned_map(reference: MapReference) -> LabelMap:
    """Load a label map and check that it is the one the run was planned with."""
    label_map = load_label_map(reference.location)
    if label_map.sha256 != reference.sha256:
        raise ValueError(
            f"label map {reference.location} must not change during a run, got {label_map.sha256[:12]} for "
            f"{reference.sha256[:12]}. Run again."
        )
    return label_map


def region_counts(
    table: LabelTable,
    n_region: npt.NDArray[np.integer],
    parts: Mapping[str, npt.NDArray[np.integer]],
    coverage: Mapping[int, float],
    placing: Placing | None = None,
) -> RegionCounts:
    """Counts of every label of a table, as a record stores them.

    Parameters
    ----------
    table : of the label map
    n_region : voxels of each label, by its index
    parts : name of a count, such as ``n_lesion`` -> voxels in each label, by its index
    coverage : index -> share of the label that the image shows
    placing : whether the labels lie where they should
    """
    indices = [label.index for label in table.labels]
    return RegionCounts(
        labels=tuple(indices),
        n_region=tuple(n_region[indices].tolist()),
        coverage=tuple(coverage[index] for index in indices),
        **{name: tuple(counts[indices].tolist()) for name, counts in parts.items()},
        fluid_share=None if placing is None else placing.fluid_share,
        atlas_dice=None if placing is None else placing.atlas_dice,
    )
