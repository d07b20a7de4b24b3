"""Anatomies to learn from: whole-head label maps of real people, with our regions and a way to the template.

An *anatomy* is a label map in the numbering of FreeSurfer and SynthSeg (Billot et al., Med Image Anal 2023;86:102789),
reduced to the tissues of ``TISSUES`` on a 1 mm RAS grid around the head. A diffeomorphic registration of its tissues to
the template's (``SimpleITK``, once per anatomy) says where in the template each of its voxels lies. By it the regions
of a label map and lesions drawn in template space come onto the anatomy; its own caudate, putamen and pallidum are
kept where they are labelled.

Only preparing needs SimpleITK; reading what was prepared needs numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cohorts.store.hashing import file_sha256
from models.anatomy.template import LabelMap, load_label_map, load_template
from models.training.kept import kept_arrays
from tasks.arrays import Affine, AnyArray, Float32Array, Mask

#: Tissues in the order of their code.
TISSUES = (
    "air", "grey", "white", "csf", "ventricle", "deep_grey", "caudate", "putamen", "pallidum", "thalamus",
    "cerebellar_grey", "cerebellar_white", "brainstem", "choroid_plexus", "vessel", "dura", "bone", "spongy_bone",
    "soft", "skin", "eye", "mucosa",
)  # fmt: skip
CODE: Mapping[str, int] = {name: code for code, name in enumerate(TISSUES)}
#: FreeSurfer's numbers (FreeSurferColorLUT) and, from 500, SynthSeg's of the rest of the head. 25 and 57 are old
#: lesions, 77 white-matter lesions, 136 and 163 the choroid plexus of the atria: by where they lie.
SYNTHSEG: Mapping[str, tuple[int, ...]] = {
    "grey": (3, 42),
    "white": (2, 41, 25, 57, 77, 85),
    "csf": (24, 512),
    "ventricle": (4, 5, 14, 15, 43, 44, 72),
    "deep_grey": (17, 18, 26, 28, 53, 54, 58, 60, 137, 164),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "thalamus": (10, 49),
    "cerebellar_grey": (8, 47),
    "cerebellar_white": (7, 46),
    "brainstem": (16,),
    "choroid_plexus": (31, 63, 136, 163),
    "vessel": (30, 62, 502),
    "dura": (514,),
    "bone": (515,),
    "spongy_bone": (516,),
    "soft": (507, 508, 530),
    "skin": (511,),
    "eye": (506,),
    "mucosa": (509,),
}
BRAIN = tuple(CODE[name] for name in TISSUES[1:14] if name != "csf")
#: Tissues that a region of the cortex or of the capsule never holds: what is labelled otherwise stays so.
NO_REGION = tuple(CODE[name] for name in ("ventricle", "thalamus", "cerebellar_grey", "cerebellar_white", "brainstem"))
UNKNOWN, MOST_NAMED = 255, 5  # code of a label that is not known, and how many of them a message names
STEP = 2  # the way to the template is kept at every second voxel
AROUND_BRAIN_MM = 42  # around the brain: skull and scalp


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One head, prepared.

    Attributes
    ----------
    name : of the label map
    sha256 : of the label map's file
    tissues : (X, Y, Z) uint8 array, codes of ``TISSUES``, 1 mm, RAS
    regions : label map's name -> (X, Y, Z) uint8 array on the same grid
    to_template : (3, X/2, Y/2, Z/2) float32 array, template world (mm) of every second voxel
    affine : (4, 4) float array of ``tissues``, voxel -> world, RAS, mm
    ventricles_ml : volume of both lateral ventricles
    """

    name: str
    sha256: str
    tissues: npt.NDArray[np.uint8]
    regions: Mapping[str, npt.NDArray[np.uint8]]
    to_template: Float32Array
    affine: Affine
    ventricles_ml: float


def tissues_of(labels: AnyArray) -> npt.NDArray[np.uint8]:
    """Codes of ``TISSUES`` of a label map in SynthSeg's numbering.

    Raises
    ------
    ValueError
        A label is not known.
    """
    whole = np.rint(np.asarray(labels))
    table = np.full(max(max(one) for one in SYNTHSEG.values()) + 2, UNKNOWN, np.uint8)
    table[0] = CODE["air"]
    for name, numbers in SYNTHSEG.items():
        table[list(numbers)] = CODE[name]
    is_in_table = (whole >= 0) & (whole < len(table))  # nor is what is not a number
    codes = table[np.where(is_in_table, whole, -1).astype(np.int32)]
    if len(unknown := np.unique(whole[codes == UNKNOWN])):
        shown = ", ".join(f"{one:.12g}" for one in unknown[:MOST_NAMED]) + (
            ", ..." if len(unknown) > MOST_NAMED else ""
        )
        raise ValueError(f"labels must be SynthSeg's, got [{shown}] as well. Leave the map out or add what they are.")
    return np.asarray(codes, dtype=np.uint8)


def prepare_anatomy(path: Path, label_maps: tuple[str, ...] = ("classic", "territory")) -> Anatomy:
    """Read a label map, register it to the template and carry the regions over; about two minutes of one core.

    Raises
    ------
    ValueError
        A label is not known.
    """
    image = cast(nib.Nifti1Image, nib.as_closest_canonical(nib.load(path)))  # type: ignore[no-untyped-call]
    labels = np.asarray(image.dataobj)
    affine = np.asarray(image.affine, dtype=np.float64)
    codes = tissues_of(labels)
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    ventricles_ml = float(np.isin(np.rint(labels), (4, 43)).sum()) * voxel_ml
    box = tuple(
        slice(max(0, int(at.min()) - AROUND_BRAIN_MM), int(at.max()) + 1 + AROUND_BRAIN_MM)
        for at in np.nonzero(np.isin(codes, BRAIN))
    )
    codes = np.ascontiguousarray(codes[box])
    codes = codes[tuple(slice(0, size // STEP * STEP) for size in codes.shape)]
    affine = affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [one.start for one in box]
    to_template = _registered(codes, affine)
    regions = {name: _regions(codes, to_template, load_label_map(name)) for name in label_maps}
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    return Anatomy(name, file_sha256(path), codes, regions, to_template, affine, ventricles_ml)


def save_anatomy(anatomy: Anatomy, path: Path) -> None:
    """Keep a prepared anatomy in one file."""
    parts = {f"regions_{name}": one for name, one in anatomy.regions.items()}
    np.savez_compressed(
        path,
        name=anatomy.name,
        sha256=anatomy.sha256,
        tissues=anatomy.tissues,
        to_template=anatomy.to_template.astype(np.float16),
        affine=anatomy.affine,
        ventricles_ml=anatomy.ventricles_ml,
        **parts,  # type: ignore[arg-type]
    )


def load_anatomy(path: Path) -> Anatomy:
    """Read what ``save_anatomy`` kept.

    Raises
    ------
    BrokenFileError
        It cannot be read.
    """
    with kept_arrays(path, "a prepared anatomy") as kept:
        regions = {key.removeprefix("regions_"): kept[key] for key in kept.files if key.startswith("regions_")}
        return Anatomy(
            str(kept["name"]),
            str(kept["sha256"]),
            kept["tissues"],
            regions,
            kept["to_template"].astype(np.float32),
            kept["affine"],
            float(kept["ventricles_ml"]),
        )


def upsampled(field: Float32Array, shape: tuple[int, ...]) -> Float32Array:
    """Linear interpolation between kept voxels, which lie at 0, 2, 4 ...; the last is repeated."""
    out = field
    for axis in range(1, 4):
        following = np.concatenate(
            [out[(slice(None),) * axis + (slice(1, None),)], out[(slice(None),) * axis + (slice(-1, None),)]], axis=axis
        )
        both = np.stack([out, (out + following) / 2], axis=axis + 1)
        out = both.reshape(*out.shape[:axis], 2 * out.shape[axis], *out.shape[axis + 1 :])
    return out[:, : shape[0], : shape[1], : shape[2]]


def _look(grey: AnyArray, fluid: AnyArray, deep: AnyArray, brain: AnyArray) -> Float32Array:
    """A synthetic scan that tells cortex, deep nuclei, white matter and fluid apart, for the registration."""
    return np.asarray(brain * 1.0 + grey * 0.45 + deep * 0.9 - fluid * 0.8, dtype=np.float32)


def _template_look() -> tuple[Float32Array, Mask, Affine]:
    """The template in the same look; caudate and lentiform by our own map."""
    template = load_template()
    classic = load_label_map("classic")
    deep_indices = [one.index for one in classic.table.labels if one.region in ("caudate", "lentiform")]
    deep = np.isin(classic.labels, deep_indices).astype(np.float32)
    grey = template.grey * (1 - deep)
    return _look(grey, template.csf, deep, template.brain), template.brain, template.affine


def _registered(codes: npt.NDArray[np.uint8], affine: Affine) -> Float32Array:
    """Template world of every second voxel: affine on the masks' moments, then SimpleITK's affine and demons."""
    import SimpleITK as sitk  # noqa: N813

    look, _, template_affine = _template_look()
    brain = np.isin(codes, BRAIN)
    inside = ndimage.binary_closing(np.pad(brain, 6), iterations=5)[6:-6, 6:-6, 6:-6] | brain
    grey = np.isin(codes, [CODE["grey"], CODE["deep_grey"], CODE["cerebellar_grey"], CODE["thalamus"]])
    fluid = inside & np.isin(codes, [CODE["csf"], CODE["ventricle"]])
    deep = np.isin(codes, [CODE["caudate"], CODE["putamen"], CODE["pallidum"]])
    own = _look(grey, fluid, deep, inside)
    fixed, moving = (
        _itk(ndimage.gaussian_filter(one, 0.7), matrix) for one, matrix in ((own, affine), (look, template_affine))
    )
    shrunk = sitk.Shrink(sitk.SmoothingRecursiveGaussian(fixed, 1.0), [STEP] * 3)
    start = sitk.CenteredTransformInitializer(
        shrunk, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 200, 0.7)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([4, 2])
    method.SetInitialTransform(start, inPlace=True)
    method.SetInterpolator(sitk.sitkLinear)
    method.Execute(shrunk, moving)
    field = None
    for factor, n_steps in ((4, 120), (2, 100), (1, 60)):
        grid = (
            sitk.Shrink(sitk.SmoothingRecursiveGaussian(fixed, STEP * factor / 2), [STEP * factor] * 3)
            if factor > 1
            else _every_second(fixed)
        )
        seen = sitk.Resample(
            sitk.SmoothingRecursiveGaussian(moving, max(0.7, STEP * factor / 2)) if factor > 1 else moving,
            grid,
            start,
            sitk.sitkLinear,
            0.0,
        )
        demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfIterations(n_steps)
        demons.SetSmoothDisplacementField(True)
        demons.SetStandardDeviations(1.3)
        demons.SetSmoothUpdateField(True)
        demons.SetUpdateFieldStandardDeviations(0.7)
        if field is None:
            field = demons.Execute(grid, seen)
        else:
            field = sitk.Resample(field, grid, sitk.Transform(), sitk.sitkLinear, 0.0, field.GetPixelID())
            field = demons.Execute(grid, seen, sitk.Cast(field, sitk.sitkVectorFloat64))
    matrix = np.asarray(start.GetMatrix()).reshape(3, 3)
    centre, shift = np.asarray(start.GetCenter()), np.asarray(start.GetTranslation())
    vectors = sitk.GetArrayFromImage(field)  # (Z, Y, X, 3), LPS
    kept = tuple(size // STEP for size in codes.shape)
    index = np.indices(kept).astype(np.float64) * STEP
    world = np.tensordot(affine[:3, :3], index, 1) + affine[:3, 3].reshape(3, 1, 1, 1)
    lps = np.array([-1.0, -1.0, 1.0])
    points = world * lps.reshape(3, 1, 1, 1) + np.moveaxis(vectors.transpose(2, 1, 0, 3), -1, 0)
    moved = np.tensordot(matrix, points - centre.reshape(3, 1, 1, 1), 1) + (centre + shift).reshape(3, 1, 1, 1)
    return np.asarray(moved * lps.reshape(3, 1, 1, 1), dtype=np.float32)


def _every_second(image: object) -> object:
    """Every second voxel, the first among them, so that its grid is ours."""
    import SimpleITK as sitk  # noqa: N813

    smooth = sitk.SmoothingRecursiveGaussian(image, 0.8)
    size = [one // STEP * STEP for one in smooth.GetSize()]
    return sitk.RegionOfInterest(smooth, size, [0, 0, 0])[::STEP, ::STEP, ::STEP]


def _itk(values: Float32Array, affine: Affine) -> object:
    """An image as SimpleITK takes it, in LPS."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0), dtype=np.float32))
    lps = np.diag([-1.0, -1.0, 1.0])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps @ (affine[:3, :3] / spacing)).ravel().tolist())
    image.SetOrigin((lps @ affine[:3, 3]).tolist())
    return image


def _regions(codes: npt.NDArray[np.uint8], to_template: Float32Array, label_map: LabelMap) -> npt.NDArray[np.uint8]:
    """A label map on the anatomy, its own caudate, putamen and pallidum in the place of the map's."""
    points = upsampled(to_template, codes.shape)
    inverse = np.linalg.inv(label_map.affine)
    voxels = np.tensordot(inverse[:3, :3], points, 1) + inverse[:3, 3].reshape(3, 1, 1, 1)
    carried = ndimage.map_coordinates(label_map.labels, np.rint(voxels), order=0, mode="constant", cval=0)
    carried = np.where(np.isin(codes, NO_REGION), 0, carried).astype(np.uint8)
    by_region = {(one.side, one.region): one.index for one in label_map.table.labels}
    own = {"caudate": ("caudate",), "lentiform": ("putamen", "pallidum")}
    for region, tissues in own.items():
        mask = np.isin(codes, [CODE[one] for one in tissues])
        indices = [by_region[(side, region)] for side in ("left", "right")]
        x_mm = points[0]
        carried[np.isin(carried, indices)] = 0
        for side, index in zip(("left", "right"), indices, strict=True):
            on_side = x_mm < 0 if side == "left" else x_mm > 0
            carried[mask & on_side] = index
    return carried
