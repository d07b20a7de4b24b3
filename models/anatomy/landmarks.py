"""Landmarks in template space: the right half brain, its deep nuclei, and a little morphology.

Every number is a landmark in mm (x to the right, y to the front, z upwards), rounded to what a reader would measure on
the template; nothing is fitted voxel by voxel to another atlas. Label maps are drawn on the right half and mirrored by
index, so they are exactly symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.anatomy.template import LabelMap, load_template
from tasks.anatomy import LabelTable
from tasks.arrays import FloatArray, Mask

LEVEL_TILT = 0.19  # tan 11 degrees: the orbitomeatal line against the line through the commissures


@dataclass(frozen=True, eq=False)
class RightHalf:
    """The template right of the midline plane: tissue shares, and coordinates that broadcast over it (mm)."""

    grey: NDArray[np.float32]
    white: NDArray[np.float32]
    csf: NDArray[np.float32]
    brain: Mask
    x: FloatArray
    y: FloatArray
    z: FloatArray

    @property
    def h(self) -> FloatArray:
        """Level height, mm."""
        return self.z + LEVEL_TILT * self.y


@lru_cache(maxsize=1)
def right_half() -> RightHalf:
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


def largest(mask: Mask) -> Mask:
    """The largest face-connected component."""
    components, n_components = ndimage.label(mask)
    if not n_components:
        return mask
    return np.asarray(components == np.bincount(components.ravel())[1:].argmax() + 1)


def smooth(mask: Mask) -> Mask:
    """The largest component of a mask whose steps and holes of a voxel or two are evened out."""
    return np.asarray(ndimage.binary_fill_holes(largest(ndimage.gaussian_filter(mask.astype(float), sigma=1.0) > 0.5)))


def within(half: RightHalf, *, y: tuple[float, float], z: tuple[FloatArray | float, FloatArray | float]) -> Mask:
    """The part of the half brain between two coronal planes and two heights (mm), which may vary with y."""
    return np.asarray(half.brain & (half.y > y[0]) & (half.y < y[1]) & (half.z > z[0]) & (half.z < z[1]))


def _anterior_limb(half: RightHalf) -> FloatArray:
    """Where the middle of the anterior limb of the internal capsule lies, x in mm.

    A plane through (15, 10, -5), (21, 10, 15) and (20, 22, 0), which are white between caudate and putamen; behind the
    foramen of Monro (y < 0) it goes straight back beside the body of the caudate.
    """
    return 16 + 0.3 * (np.maximum(half.y, 0) - 6) + 0.3 * (half.z - 2)


def _pallidal_border(half: RightHalf) -> FloatArray:
    """The border of posterior limb and pallidum, x in mm.

    A plane through (13.5, -2, -5), (24, -2, 10) and (27.6, -8, 10); above the pallidum (z > 10) it goes straight up
    into the corona radiata.
    """
    return 17 + 0.7 * np.minimum(half.z, 10) - 0.6 * (half.y + 2)


def _putaminal_border(half: RightHalf) -> FloatArray:
    """The lateral border of the putamen at the external capsule, x in mm, landmarks from back to front at z = 0."""
    return np.interp(half.y, [-20, -10, 0, 10, 20], [35, 34, 32, 29, 25]) - (np.minimum(half.z, 12) / 8) ** 2


def deep_regions(half: RightHalf, *, radiata_top_mm: float) -> dict[str, Mask]:
    """Caudate, lentiform, internal capsule and insula of the right half; no two overlap.

    Above the lentiform nucleus (z > 16) its column and the capsule's go on into the corona radiata up to
    ``radiata_top_mm``, as far as the lateral lenticulostriate arteries reach in the reading at hand.
    """
    x, y = half.x, half.y
    anterior_limb, pallidal, putaminal = _anterior_limb(half), _pallidal_border(half), _putaminal_border(half)
    lentiform_medial = np.maximum(anterior_limb + 2, pallidal)

    # Caudate: grey medial to the anterior limb. Its floor rises behind the head, over accumbens and thalamus.
    floor = np.interp(y, [-14, -2, 4, 6], [16, 14, 0, -8])
    caudate = within(half, y=(-16, 28), z=(floor, 26)) & (half.grey > 0.5) & (x > 5) & (x < anterior_limb)
    caudate = smooth(caudate)

    # Lentiform: putamen and pallidum between internal and external capsule. The upper putamen is up to 0.9
    # white in this template, and pure white there is capsule; lower down the borders alone decide.
    lentiform = within(half, y=(-20, 24), z=(np.interp(y, [-20, 0], [-9, -13]), radiata_top_mm))
    lentiform &= ((half.white < 0.9) | (half.z < 4) | (half.z > 16)) & (half.csf < 0.5)
    lentiform = smooth(lentiform & (x > lentiform_medial) & (x < putaminal)) & ~caudate

    # Capsule: the white band medial to the lentiform nucleus, 5 mm towards the caudate, 8 mm towards the thalamus,
    # whose outermost fibres are white too.
    medial = np.where(y > 2, anterior_limb - 3, pallidal - 8)
    capsule = within(half, y=(-20, 16), z=(-6, radiata_top_mm)) & (half.white > 0.4)
    capsule = smooth(capsule & (x > medial) & (x < lentiform_medial) & ~caudate & ~lentiform) & ~caudate & ~lentiform

    # Insula: claustrum, extreme capsule and cortex from the external capsule to the sylvian fissure, between the
    # inferior and superior circular sulci.
    lateral = np.interp(y, [-24, -10, 0, 10, 26], [45, 44, 43, 42, 36])
    lower = np.interp(y, [-24, -10, 0, 10, 26], [-2, -10, -14, -13, -6])
    upper = np.interp(y, [-24, 0, 24], [18, 13, 7])
    insula = within(half, y=(-24, 24), z=(lower, upper)) & (x > np.maximum(putaminal + 1, 30)) & (x < lateral)
    deep = {"caudate": caudate, "lentiform": lentiform, "internal_capsule": capsule, "insula": insula & ~lentiform}
    return {region: largest(mask) for region, mask in deep.items()}


def anterior_border(half: RightHalf) -> FloatArray:
    """Border of the anterior cerebral artery's territory, x in mm: about the superior frontal sulcus."""
    return np.interp(half.y, [-80, -24, 17, 60], [26, 24, 22, 20])


def posterior_border(half: RightHalf) -> FloatArray:
    """Border of the posterior cerebral artery's territory behind the insula, x in mm.

    Below, about the inferior temporal sulcus; above, the lateral occipital sulcus; the occipital pole is all its own.
    """
    return np.where(half.y < -95, 60, np.interp(half.z, [-20, -5, 10, 40], [54, 42, 32, 28]))


def lateral_ventricle(half: RightHalf) -> Mask:
    """The lateral ventricle: the fluid that hangs together with its body at (10, -15, 22)."""
    components, _ = ndimage.label(half.csf > 0.5)
    body = (half.x == 10) & (half.y == -15) & (half.z == 22)
    return np.asarray(components == components[body])


def mirrored(name: str, right: NDArray[np.int16], table: LabelTable) -> LabelMap:
    """Put the right half and its mirror image on the template grid; the midline plane stays empty.

    Parameters
    ----------
    name : str
    right : (98, Y, Z) int16 array
        Labels 1..n of the right half; the mirrored labels are n + 1..2n.
    table : LabelTable of the 2n labels
    """
    left = np.where(right > 0, right + len(table.labels) // 2, 0).astype(np.int16)
    labels = np.concatenate([left[::-1], np.zeros_like(right[:1]), right])
    return LabelMap(name, labels, load_template().affine.copy(), table)
