"""The slices of the template that the report paints region frequencies on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flows.plan import map_location
from models.template import labels_on_grid, load_label_map, load_template
from reports.brain_maps import AtlasLevel, AtlasSlices

#: Axial planes through the basal ganglia and above them, z in mm of the template: both show all their regions.
LEVELS = (("ganglionic", 4.0), ("supraganglionic", 34.0))


def atlas_slices(regions: str, folder: Path) -> AtlasSlices:
    """Cut the template's T1 and a label map at the two ASPECTS levels.

    Parameters
    ----------
    regions : label map, as named in ``cohort.toml``
    folder : cohort folder, for a site's own map
    """
    template = load_template()
    label_map = load_label_map(map_location(regions, folder))
    labels = labels_on_grid(label_map, template.t1.shape, template.affine).labels
    levels = []
    for name, z_mm in LEVELS:
        k = round(float((np.linalg.inv(template.affine) @ (0, 0, z_mm, 1))[2]))
        levels.append(AtlasLevel(name, f"z = {z_mm:g} mm", template.t1[:, :, k], labels[:, :, k]))
    return AtlasSlices(regions, label_map.table, tuple(levels))
