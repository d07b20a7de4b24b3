"""Build the project's label maps from the template's tissue maps and stated anatomical landmarks.

``python -m models.label_map`` writes ``models/data``. Every number below is a landmark in template space (mm, right
hemisphere, x to the right, y to the front, z upwards), rounded to what a reader would measure on the template; nothing
is fitted to another atlas. The right half is built and mirrored by index, so the maps are exactly symmetric.

*Level height* ``h = z + 0.19 y``: height above the plane through the anterior commissure that is tilted like a CT slice.
The orbitomeatal line rises backwards against the commissures by about 11 degrees, so the same CT slice shows M3 and M6
about 15 mm higher than M1 and M4.

Readings of ASPECTS (Barber et al., Lancet 2000;355:1670-1674):

* ``classic``: the cortical regions fill the ganglionic and the supraganglionic level only, as seen on CT slices;
* ``territory``: the same sectors extend over the whole territory of the middle cerebral artery.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.template import DATA_FOLDER, LABEL_MAPS, SPACE, TABLE_COLUMNS, LabelMap, load_template
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, Label, LabelTable, aspects_label_table

LEVEL_TILT = 0.19  # tan 11 degrees

Mask = NDArray[np.bool_]
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RightHalf:
    """The template right of the midline plane: tissue shares, and coordinates that broadcast over it (mm)."""

    grey: NDArray[np.float32]
    white: NDArray[np.float32]
    csf: NDArray[np.float32]
    brain: Mask
    x: Array
    y: Array
    z: Array

    @property
    def h(self) -> Array:
        """Level height, mm."""
        return self.z + LEVEL_TILT * self.y


@lru_cache(maxsize=1)
def _right_half() -> RightHalf:
    """The right half of the template; the midline plane itself belongs to neither side."""
    template = load_template()
    middle = template.t1.shape[0] // 2
    right = slice(middle + 1, None)
    x, y, z = (
        template.affine[axis, axis] * np.arange(size) + template.affine[axis, 3]
        for axis, size in enumerate(template.t1.shape)
    )
    return RightHalf(
        grey=template.grey[right],
        white=template.white[right],
        csf=template.csf[right],
        brain=template.brain[right],
        x=x[right, None, None],
        y=y[None, :, None],
        z=z[None, None, :],
    )


def _largest(mask: Mask) -> Mask:
    """The largest face-connected component."""
    components, n_components = ndimage.label(mask)
    if not n_components:
        return mask
    return np.asarray(components == np.bincount(components.ravel())[1:].argmax() + 1)


def _anterior_limb(half: RightHalf) -> Array:
    """Where the middle of the anterior limb of the internal capsule lies, x in mm.

    A plane through (15, 10, -5), (21, 10, 15) and (20, 22, 0), which are white between caudate and putamen; behind the
    foramen of Monro (y < 0) it goes straight back beside the body of the caudate.
    """
    return 16 + 0.3 * (np.maximum(half.y, 0) - 6) + 0.3 * (half.z - 2)


def _pallidal_border(half: RightHalf) -> Array:
    """The border of posterior limb and pallidum, x in mm: a plane through (13.5, -2, -5), (24, -2, 10), (27.6, -8, 10)."""
    return 17 + 0.7 * half.z - 0.6 * (half.y + 2)


def _putaminal_border(half: RightHalf) -> Array:
    """The lateral border of the putamen at the external capsule, x in mm, landmarks from front to back."""
    widest = np.interp(half.y, [-20, -10, 0, 10, 20], [34.5, 33.5, 31.5, 29, 24.5])
    return widest - (half.z / 7) ** 2


def _deep_regions(half: RightHalf, *, capsule_top_mm: float) -> dict[str, Mask]:
    """Caudate, lentiform, internal capsule and insula of the right half; masks may still touch, never overlap."""
    x, y, z = half.x, half.y, half.z
    anterior_limb, pallidal, putaminal = _anterior_limb(half), _pallidal_border(half), _putaminal_border(half)
    lentiform_medial = np.maximum(anterior_limb + 2, pallidal)

    # Caudate: grey medial to the anterior limb. Its floor rises behind the head, over accumbens and thalamus.
    floor = np.interp(y, [-14, -2, 4, 6], [16, 14, 0, -8])
    caudate = (half.grey > 0.5) & (x > 5) & (x < anterior_limb) & (y > -16) & (y < 28) & (z > floor) & (z < 26)
    caudate = _largest(ndimage.binary_opening(caudate))

    # Lentiform: putamen and pallidum between capsule and external capsule; pallidum is up to 0.8 white in this template.
    lentiform = (
        (half.white < 0.8) & (x > lentiform_medial) & (x < putaminal) & (y > -20) & (y < 22) & (z > -12) & (z < 18)
    )
    lentiform &= ~caudate
    lentiform = ndimage.binary_closing(_largest(ndimage.binary_opening(lentiform)), iterations=2) & ~caudate

    # Capsule: 6 mm of white medial to the lentiform nucleus, between it and the caudate (front) or thalamus (back).
    behind_genu = x > pallidal - 6
    before_genu = x > anterior_limb - 4
    capsule = np.where(y > 2, before_genu, behind_genu) & (x < np.maximum(lentiform_medial, 20)) & (half.white > 0.5)
    capsule = capsule & (y > -20) & (y < 18) & (z > -6) & (z < capsule_top_mm) & ~caudate & ~lentiform
    capsule = _largest(ndimage.binary_opening(capsule))

    # Insula: claustrum, extreme capsule and cortex from the external capsule to the sylvian fissure, between the
    # inferior and superior circular sulci.
    lateral = np.interp(y, [-24, -10, 0, 10, 26], [45, 44, 43, 42, 36])
    lower = np.interp(y, [-24, -10, 0, 10, 26], [0, -9, -13, -12, -4])
    upper = np.interp(y, [-24, 0, 24], [18, 13, 7])
    insula = half.brain & (x > putaminal + 1.5) & (x < lateral) & (y > -24) & (y < 26) & (z > lower) & (z < upper)
    insula = _largest(insula & ~lentiform)
    return {"caudate": caudate, "lentiform": lentiform, "internal_capsule": capsule, "insula": insula}


FRONT_MM = 17.0  # coronal plane through the front of lentiform and insula: M1 | M2 and M4 | M5
BACK_MM = -24.0  # coronal plane through the back of lentiform and insula: M2 | M3 and M5 | M6
GANGLIONIC_TOP_MM = 16.0  # level height between the ganglionic and the supraganglionic level
CLASSIC_HEIGHTS_MM = (-7.0, 46.0)  # level heights of the lowest and highest slice that count in the classic reading


def _sectors(half: RightHalf, extent: Mask) -> dict[str, Mask]:
    """Split the cortical extent into M1..M6 by two coronal planes and the plane between the levels."""
    ganglionic = half.h < GANGLIONIC_TOP_MM
    front, back = half.y > FRONT_MM, half.y <= BACK_MM
    parts = {
        "m1": ganglionic & front,
        "m2": ganglionic & ~front & ~back,
        "m3": ganglionic & back,
        "m4": ~ganglionic & front,
        "m5": ~ganglionic & ~front & ~back,
        "m6": ~ganglionic & back,
    }
    return {region: _largest(extent & part) for region, part in parts.items()}


def _ventricles(half: RightHalf) -> Mask:
    """Ventricular fluid: fluid-filled voxels more than 15 mm inside the brain, grown back to the wall."""
    fluid = half.csf > 0.5
    depth = ndimage.distance_transform_edt(half.brain)
    return np.asarray(ndimage.binary_propagation(fluid & (depth > 15) & (half.x < 40), mask=fluid & (depth > 10)))


def _territory_extent(half: RightHalf) -> Mask:
    """The cortical territory of the middle cerebral artery with the white matter under it."""
    x, y, z = half.x, half.y, half.z
    # Border with the anterior cerebral artery: the superior frontal and the intraparietal sulcus, 22 to 28 mm lateral.
    medial = np.interp(y, [-80, -24, 17, 60], [30, 26, 24, 20])
    above = half.h >= GANGLIONIC_TOP_MM
    # Border with the posterior cerebral artery: lateral occipital and inferior temporal sulcus.
    medial_below = np.interp(y, [-80, -24, 17, 60], [36, 36, 26, 20])
    temporal = np.interp(y, [-60, -20, 10], [-20, -30, -50])
    inside = half.brain & (y > -86) & (y < 64) & (x > np.where(above, medial, medial_below)) & (z < 70)
    return np.asarray(inside & (above | (z > temporal)) & ~_ventricles(half))


def _classic_extent(half: RightHalf) -> Mask:
    """The two CT levels: the territory cut to the slices, and to the outer band that a reader outlines."""
    lowest, highest = CLASSIC_HEIGHTS_MM
    x, y = half.x, half.y
    ganglionic = np.interp(y, [-66, -24, 17, 52], [36, 38, 30, 28])
    supraganglionic = np.interp(y, [-66, -24, 17, 52], [27, 28, 26, 20])
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
    half = _right_half()
    if name == "classic":
        extent, capsule_top_mm = _classic_extent(half), 17.0
    elif name == "territory":
        extent, capsule_top_mm = _territory_extent(half), 24.0
    else:
        raise ValueError(f"name must be classic or territory, got {name!r}.")
    deep = _deep_regions(half, capsule_top_mm=capsule_top_mm)
    occupied = np.logical_or.reduce(list(deep.values()))
    regions = deep | _sectors(half, extent & ~occupied)
    right = np.zeros(half.brain.shape, dtype=np.int16)
    for index, region in enumerate(ASPECTS_REGIONS, start=1):
        right[regions[region]] = index
    left = np.where(right > 0, right + len(ASPECTS_REGIONS), 0).astype(np.int16)
    return _both_sides(name, right, left, aspects_label_table())


def _both_sides(name: str, right: NDArray[np.int16], left: NDArray[np.int16], table: LabelTable) -> LabelMap:
    """Put the right half and the mirrored left half on the template grid; the midline plane stays empty."""
    labels = np.concatenate([left[::-1], np.zeros_like(right[:1]), right])
    return LabelMap(name, labels, load_template().affine.copy(), table)


def write_label_map(label_map: LabelMap, folder: Path) -> None:
    """Write image, label table and sidecar; the same map gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(label_map.labels.astype(np.uint8), label_map.affine)
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
    sidecar = {"Space": SPACE, "sha256": label_map.sha256, "Command": "python -m models.label_map"}
    (folder / f"{stem}.json").write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Build and write every map that comes with the project."""
    for name in ("classic", "territory"):
        write_label_map(build_aspects(name), DATA_FOLDER)


if __name__ == "__main__":
    main()
