"""Build the project's label maps from the template's tissue maps and stated anatomical landmarks.

``python -m models.anatomy.label_map`` writes ``models/data``: image, label table and sidecar of every map.

*Level height* ``h = z + 0.19 y`` (mm): height above the anterior commissure along a stack of CT slices. The
orbitomeatal line rises backwards against the line through the commissures by about 11 degrees, so one CT slice shows M3
and M6 about 15 mm higher than M1 and M4.

The sector planes, the levels and the outer band are rounded from the extents of the regions as read on three NCCT,
registered to the template.

Readings of ASPECTS (Barber et al., Lancet 2000;355:1670-1674; both occur in the literature):

* ``classic``: the cortical regions fill only the ganglionic level (25 mm high) and the supraganglionic level (31 mm),
  and of these only the outer band that a reader outlines;
* ``territory``: the same sectors extend over the whole territory of the middle cerebral artery, and lentiform and
  capsule go on into the corona radiata, as far as the lateral lenticulostriate arteries reach.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np

from models.anatomy.landmarks import (
    RightHalf,
    anterior_border,
    deep_regions,
    largest,
    lateral_ventricle,
    mirrored,
    posterior_border,
    right_half,
    within,
)
from models.anatomy.template import DATA_FOLDER, LABEL_MAPS, TABLE_COLUMNS, TEMPLATE_FILES, LabelMap
from models.anatomy.vascular_map import build_vascular_territories
from tasks.anatomy import ASPECTS_REGIONS, TEMPLATE_SPACE, aspects_label_table
from tasks.arrays import Mask

FRONT_MM = 17.0  # coronal plane through the front of lentiform and insula: M1 | M2 and M4 | M5
BACK_MM = -24.0  # coronal plane through the back of lentiform and insula: M2 | M3 and M5 | M6
GANGLIONIC_TOP_MM = 17.0  # level height between the levels: the top of the putamen
CLASSIC_HEIGHTS_MM = (-8.0, 48.0)  # level heights of the lowest and highest slice that count in the classic reading
CAPSULE_TOP_MM = 16.0  # z where capsule and putamen end and the corona radiata begins
RADIATA_TOP_MM = 24.0  # z up to which the lateral lenticulostriate arteries feed the corona radiata

DESCRIPTIONS = {
    "classic": "The ten ASPECTS regions per side, read at the ganglionic and the supraganglionic CT level.",
    "territory": "The ten ASPECTS regions per side, extended over the whole middle cerebral artery territory.",
    "vascular": "Approximate arterial territories per side.",
}


def _sectors(half: RightHalf, extent: Mask) -> dict[str, Mask]:
    """Split the cortical extent into M1..M6 by two coronal planes and the plane between the levels."""
    ganglionic = half.h < GANGLIONIC_TOP_MM
    temporal_pole = (half.z < -18) & (half.y < 26)  # lies before the front plane, yet belongs to M2
    front, back = (half.y > FRONT_MM) & ~temporal_pole, half.y <= BACK_MM
    parts = {
        "m1": ganglionic & front,
        "m2": ganglionic & ~front & ~back,
        "m3": ganglionic & back,
        "m4": ~ganglionic & front,
        "m5": ~ganglionic & ~front & ~back,
        "m6": ~ganglionic & back,
    }
    return {region: largest(extent & part) for region, part in parts.items()}


def _territory_extent(half: RightHalf) -> Mask:
    """The cortical territory of the middle cerebral artery with the white matter under it."""
    behind = half.y <= BACK_MM
    beside_deep = ~behind & (half.y <= FRONT_MM) & (half.h < GANGLIONIC_TOP_MM)
    medial = np.where(behind, np.maximum(anterior_border(half), posterior_border(half)), anterior_border(half))
    # Beside the deep regions the white matter starts 26 mm (front) to 36 mm (back) from the midline.
    medial = np.where(beside_deep, np.interp(half.y, [BACK_MM, FRONT_MM], [36, 26]), medial)
    floor = np.interp(half.y, [-60, -20, 10], [-20, -30, -50])  # the inferior temporal sulcus falls towards the pole
    return within(half, y=(-90, 64), z=(floor, 70)) & (half.x > medial) & ~lateral_ventricle(half)


def _classic_extent(half: RightHalf) -> Mask:
    """The two CT levels: the territory cut to the slices, and to the outer band that a reader outlines."""
    lowest, highest = CLASSIC_HEIGHTS_MM
    x, y = half.x, half.y
    ganglionic = np.interp(y, [-66, -24, 17, 52], [37, 37, 30, 28])
    supraganglionic = np.interp(y, [-66, -24, 17, 52], [28, 31, 28, 22])
    medial = np.where(half.h < GANGLIONIC_TOP_MM, ganglionic, supraganglionic)
    level = (half.h > lowest) & (half.h < highest) & (y > -68) & (y < 53)
    return _territory_extent(half) & level & (x > medial)


def build_aspects(name: str) -> LabelMap:
    """Build the ``classic`` or the ``territory`` map on the template grid.

    Raises
    ------
    ValueError
        Another name.
    """
    half = right_half()
    if name == "classic":
        extent, radiata_top_mm = _classic_extent(half), CAPSULE_TOP_MM
    elif name == "territory":
        extent, radiata_top_mm = _territory_extent(half), RADIATA_TOP_MM
    else:
        raise ValueError(f"name must be classic or territory, got {name!r}.")
    deep = deep_regions(half, radiata_top_mm=radiata_top_mm)
    occupied = np.logical_or.reduce(list(deep.values()))
    regions = deep | _sectors(half, extent & ~occupied)
    right = np.zeros(half.brain.shape, dtype=np.int16)
    for index, region in enumerate(ASPECTS_REGIONS, start=1):
        right[regions[region]] = index
    return mirrored(name, right, aspects_label_table())


def write_label_map(label_map: LabelMap, folder: Path) -> None:
    """Write image, label table and sidecar; the same map gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    image = cast(Any, nib.Nifti1Image)(label_map.labels.astype(np.uint8), label_map.affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(label_map.affine, code="mni")
    image.set_sform(label_map.affine, code="mni")
    path = folder / LABEL_MAPS[label_map.name]
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    stem = path.name.removesuffix(".nii.gz")
    table = io.StringIO()
    writer = csv.writer(table, delimiter="\t", lineterminator="\n")
    writer.writerow(TABLE_COLUMNS)
    writer.writerows(
        [label.index, label.name, label.side, label.region, label.group] for label in label_map.table.labels
    )
    (folder / f"{stem}.tsv").write_text(table.getvalue(), encoding="utf-8")
    sidecar = {
        "Description": DESCRIPTIONS[label_map.name],
        "Space": TEMPLATE_SPACE,
        "Resolution": "1 mm, the template's own grid; x runs to the right",
        "Sources": [file for file, _ in TEMPLATE_FILES.values()],
        "Method": "Stated landmarks on the template's tissue maps, mirrored: models/anatomy/landmarks.py, "
        "models/anatomy/label_map.py and, for arterial territories, models/anatomy/vascular_map.py.",
        "ContentSha256": label_map.sha256,
        "GeneratedBy": "python -m models.anatomy.label_map",
    }
    (folder / f"{stem}.json").write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Build and write every map that comes with the project."""
    for label_map in (build_aspects("classic"), build_aspects("territory"), build_vascular_territories()):
        write_label_map(label_map, DATA_FOLDER)


if __name__ == "__main__":
    main()
