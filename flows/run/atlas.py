"""The slices of the template that the report paints region frequencies on.

``python -m flows.run.atlas`` draws the figure of the project's own label maps, ``models/data/label_maps.png``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flows.run.plan import map_location
from models.anatomy.template import DATA_FOLDER, labels_on_grid, load_label_map, load_template
from reports.figures.atlas_figure import label_map_figure
from reports.figures.brain_maps import AtlasLevel, AtlasSlices

FIGURE_DPI = 110
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


def main() -> None:
    """Draw the project's label maps on the template."""
    template = load_template()
    maps = {name: load_label_map(name) for name in ("classic", "territory")}
    drawn = {name: (one.labels, one.table) for name, one in maps.items()}
    figure = label_map_figure(template.t1, template.affine, drawn)
    figure.savefig(DATA_FOLDER / "label_maps.png", dpi=FIGURE_DPI)


if __name__ == "__main__":
    main()
