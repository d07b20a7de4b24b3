"""The template space and its label maps.

*Template*: ICBM152 2009a nonlinear symmetric at 1 mm (Fonov et al., NeuroImage 2011;54:313-327), as packaged in
nilearn: T1, grey and white matter on one RAS grid of 197 x 233 x 189 voxels. The packaged integers are exactly
symmetric: voxel ``i`` equals voxel ``196 - i`` along x, so the mirror image of an array on its grid is ``array[::-1]``.

*Label map*: an integer volume in template space plus the table that names its labels (``tasks.anatomy``). Three come
with the project (``classic``, ``territory``, ``vascular``; built by ``models.anatomy.label_map``), and a site's own map
is any NIfTI image ``NAME_dseg.nii.gz`` with ``NAME_dseg.tsv`` (columns ``index name side region group``) beside it.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.resources
import itertools
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from cohorts.images.grid import FORM_TOLERANCE_MM, stored_forms
from tasks.anatomy import HEMISPHERES, Group, Label, LabelTable, Side
from tasks.space.boxes import occupied

#: File and sha256 of each packaged map (nilearn 0.14.1).
TEMPLATE_FILES = {
    "t1": (
        "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
        "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6",
    ),
    "grey": (
        "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz",
        "97a5ca69bd24db37a9cb7b32525e1733a209af904129bf1cd36da06d24243bed",
    ),
    "white": (
        "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz",
        "382d92812de4744f9c86c7a0e4f680dc317a0a50e4da1f0153618a6798c7b7db",
    ),
}

LABEL_MAPS = {
    "classic": "aspects_classic_dseg.nii.gz",
    "territory": "aspects_territory_dseg.nii.gz",
    "vascular": "vascular_territories_dseg.nii.gz",
}
DATA_FOLDER = Path(str(importlib.resources.files("models"))) / "data"
TABLE_COLUMNS = ("index", "name", "side", "region", "group")
INTEGER_TOLERANCE = 1e-4  # a label stored through a float scale factor is still that label


@dataclass(frozen=True, eq=False)
class Template:
    """The template's maps on one grid, exactly symmetric along the first axis.

    Attributes
    ----------
    t1 : (X, Y, Z) float32 array, arbitrary units, 0 outside the brain
    grey, white, csf : (X, Y, Z) float32 arrays, tissue share in [0, 1]
        ``csf`` is derived: what grey and white leave of each brain voxel.
    brain : (X, Y, Z) bool array
        The filled largest component of ``t1 > 0``; nilearn ships the T1 without skull.
    affine : (4, 4) float array, voxel -> world, RAS, mm
    """

    t1: NDArray[np.float32]
    grey: NDArray[np.float32]
    white: NDArray[np.float32]
    csf: NDArray[np.float32]
    brain: NDArray[np.bool_]
    affine: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label volume with its table; two maps are equal when their content digests are.

    Attributes
    ----------
    name : str
        For people; not part of the digest.
    labels : (X, Y, Z) int16 array, 0 = no label
    affine : (4, 4) float array, voxel -> world, RAS, mm
    table : LabelTable
    sha256 : str
        Digest of labels, shape, affine and table: what provenance records.

    Raises
    ------
    ValueError
        Not a volume, a singular affine, or labels and table that do not name each other.
    """

    name: str
    labels: NDArray[np.int16]
    affine: NDArray[np.float64]
    table: LabelTable
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        problems = _affine_problems(self.affine)
        if self.labels.ndim != 3:
            problems.append(f"labels must be a volume (X, Y, Z), got shape {self.labels.shape}. Give one 3D image.")
        found = {int(value) for value in np.unique(self.labels)} - {0}
        named = {label.index for label in self.table.labels}
        if unnamed := sorted(found - named):
            problems.append(
                f"every label of the image must be in the table, got {unnamed} without a row. Add the rows."
            )
        if absent := sorted(named - found):
            problems.append(
                f"every label of the table must be in the image, got {absent} without a voxel. "
                "Remove the rows or fix the image."
            )
        if problems:
            raise ValueError(f"label map {self.name}: " + " ".join(problems))
        for array in (self.labels, self.affine):
            array.flags.writeable = False
        object.__setattr__(self, "sha256", _content_digest(self.labels, self.affine, self.table))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelMap) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)


@dataclass(frozen=True, eq=False)
class GridLabels:
    """A label map's labels on another grid.

    Attributes
    ----------
    labels : (X, Y, Z) int16 array on the other grid, 0 = no label
    coverage : dict of label index -> float in [0, 1]
        Share of the label's volume that lies inside the other grid's field of view; 1 = all of it.
    """

    labels: NDArray[np.int16]
    coverage: dict[int, float]


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Load the template from the installed nilearn package; nothing is downloaded.

    Raises
    ------
    FileNotFoundError
        nilearn no longer ships one of the files.
    ValueError
        A file is not the one that the label maps were built on (sha256), all such files named.

    Examples
    --------
    >>> template = load_template()
    >>> template.t1.shape, template.affine[:3, 3].tolist()
    ((197, 233, 189), [-98.0, -134.0, -72.0])
    """
    folder = Path(str(importlib.resources.files("nilearn"))) / "datasets" / "data"
    problems = []
    for name, digest in TEMPLATE_FILES.values():
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"template file must be in the nilearn package, got no {folder / name}. Install nilearn 0.14."
            )
        if (found := hashlib.sha256((folder / name).read_bytes()).hexdigest()) != digest:
            problems.append(f"template file {name} must have sha256 {digest}, got {found}. Install nilearn 0.14.")
    if problems:
        raise ValueError(" ".join(problems))
    images = {key: cast(Any, nib.load(folder / name)) for key, (name, _) in TEMPLATE_FILES.items()}
    stored = {key: np.asarray(image.dataobj, dtype=np.float32) for key, image in images.items()}
    components, _ = ndimage.label(stored["t1"] > 0)
    brain = ndimage.binary_fill_holes(components == np.bincount(components.ravel())[1:].argmax() + 1)
    grey, white = stored["grey"] / np.float32(255), stored["white"] / np.float32(255)  # packaged as 0-255
    csf = np.where(brain, np.clip(1 - grey - white, 0, 1), 0).astype(np.float32)
    affine = np.asarray(images["t1"].affine, dtype=np.float64)
    for array in (stored["t1"], grey, white, csf, brain, affine):
        array.flags.writeable = False
    return Template(t1=stored["t1"], grey=grey, white=white, csf=csf, brain=brain, affine=affine)


def load_label_map(name_or_path: str | Path) -> LabelMap:
    """Load one of the project's label maps, or a site's own.

    Parameters
    ----------
    name_or_path : str or Path
        ``classic``, ``territory`` or ``vascular``, or the path of an image ``*.nii`` or ``*.nii.gz`` with its label
        table (same name, ``.tsv``) beside it.

    Raises
    ------
    FileNotFoundError
        No such map, image or table.
    ValueError
        The image or its table cannot be used; every problem is named.
    """
    if str(name_or_path) in LABEL_MAPS:
        return _load_own(str(name_or_path))
    path = Path(name_or_path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise FileNotFoundError(
            f"regions must be one of {', '.join(LABEL_MAPS)} or the path of a NIfTI image, got {str(name_or_path)!r}."
        )
    return _read_label_map(path.name.removesuffix(".gz").removesuffix(".nii"), path)


def labels_on_grid(label_map: LabelMap, shape: tuple[int, ...], affine: ArrayLike) -> GridLabels:
    """Nearest-neighbour labels at the voxel centres of another grid in the same space.

    Exact where the other grid's centres coincide with the map's own, as for every 1 mm grid at whole millimetres.

    Parameters
    ----------
    label_map : LabelMap
    shape : (X, Y, Z) of the other grid, voxels
    affine : (4, 4) array of the other grid, voxel -> world, RAS, mm

    Raises
    ------
    ValueError
        The shape is not three positive sizes or the affine is singular.
    """
    target = np.asarray(affine, dtype=np.float64)
    problems = _affine_problems(target)
    if len(shape) != 3 or min(shape) < 1:
        problems.append(f"shape must be three sizes > 0, got {shape}. Give the shape of one volume.")
    if problems:
        raise ValueError(" ".join(problems))
    to_map = np.linalg.solve(label_map.affine, target).round(6)  # so that rounding noise never decides a tie
    labels = ndimage.affine_transform(
        label_map.labels, to_map, output_shape=tuple(shape), order=0, mode="grid-constant", prefilter=False
    )
    return GridLabels(labels=labels, coverage=coverage_on_grid(label_map, shape, target))


def coverage_on_grid(label_map: LabelMap, shape: tuple[int, ...], affine: NDArray[np.float64]) -> dict[int, float]:
    """Share of each label's volume inside another grid's field of view, as in ``GridLabels``."""
    to_grid = np.linalg.inv(np.linalg.solve(label_map.affine, affine).round(6))

    def in_view(voxels: NDArray[np.int64]) -> NDArray[np.bool_]:
        positions = voxels @ to_grid[:3, :3].T + to_grid[:3, 3]
        inside: NDArray[np.bool_] = np.all((positions >= -0.5) & (positions < np.asarray(shape) - 0.5), axis=1)
        return inside

    corners = np.array(list(itertools.product(*(at[[0, -1]] for at in occupied(label_map.labels != 0)))))
    if in_view(corners).all():  # of all that is labelled, as of most scans of a head
        return {label.index: 1.0 for label in label_map.table.labels}
    voxels = np.argwhere(label_map.labels)
    inside = in_view(voxels)
    values = label_map.labels[tuple(voxels.T)]
    total, covered = np.bincount(values), np.bincount(values, weights=inside)
    return {label.index: float(covered[label.index] / total[label.index]) for label in label_map.table.labels}


def mca_territory() -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """The middle cerebral artery's territory, every region of the ``territory`` map, and the affine of its grid."""
    territory = load_label_map("territory")
    return territory.labels > 0, territory.affine


@lru_cache(maxsize=len(LABEL_MAPS))
def _load_own(name: str) -> LabelMap:
    """Load a map that comes with the project, once."""
    return _read_label_map(name, DATA_FOLDER / LABEL_MAPS[name])


def _read_label_map(name: str, path: Path) -> LabelMap:
    """Read an image and the table beside it."""
    table_path = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")
    missing = [str(file) for file in (path, table_path) if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"label map {name} must be an image with a label table beside it, got no {' and no '.join(missing)}. "
            f"The table has the columns {' '.join(TABLE_COLUMNS)}."
        )
    try:
        image = cast(Any, nib.load(path))
        values = np.asarray(image.dataobj)
    except (ImageFileError, OSError, EOFError, ValueError) as error:
        raise ValueError(f"label map {name} must be a readable NIfTI image, got {path}: {error}") from error
    if values.dtype.kind not in "iub":
        integers = np.rint(np.nan_to_num(values, nan=0.5, posinf=0.5, neginf=0.5))
        wrong = ~(np.abs(values - integers) <= INTEGER_TOLERANCE)
        if wrong.any():
            raise ValueError(
                f"label map {name} must hold whole numbers, got {values[wrong][0]} and {int(wrong.sum()) - 1} more. "
                "Resample labels with nearest neighbour."
            )
        values = integers
    limits = np.iinfo(np.int16)
    if values.size and not (values.min() >= 0 and values.max() <= limits.max):
        raise ValueError(f"label map {name} must hold labels 0..{limits.max}, got {values.min()}..{values.max()}.")
    label_map = LabelMap(
        name, np.ascontiguousarray(values, dtype=np.int16), _stored_affine(image, name), read_label_table(table_path)
    )
    _check_sides(label_map)
    return label_map


def _stored_affine(image: Any, name: str) -> NDArray[np.float64]:
    """Voxel to world as the file says it: by one form, or by two that agree."""
    sform, qform, distance = stored_forms(image.header, image.shape)
    if sform is None and qform is None:
        raise ValueError(
            f"label map {name} must say where it lies in space, got sform_code 0 and qform_code 0. Write it again with "
            "the affine of the template."
        )
    if not distance <= FORM_TOLERANCE_MM:
        raise ValueError(
            f"label map {name} must have a qform and an sform that agree within {FORM_TOLERANCE_MM:g} mm, got "
            f"corners {distance:.1f} mm apart. Decide which is right and write it again."
        )
    return np.array(image.affine, dtype=np.float64)


def _check_sides(label_map: LabelMap) -> None:
    """Refuse a map whose labels of the left lie on the right: every score of one side would be the other's."""
    voxels = np.argwhere(label_map.labels)
    values = label_map.labels[tuple(voxels.T)]
    x_mm = voxels @ label_map.affine[0, :3] + label_map.affine[0, 3]
    of_side = [
        x_mm[np.isin(values, [label.index for label in label_map.table.labels if label.side == side])]
        for side in HEMISPHERES
    ]
    left, right = (float(one.mean()) if len(one) else None for one in of_side)
    if left is not None and right is not None and left > right:
        raise ValueError(
            f"label map {label_map.name} must have its left labels on the patient's left (x < 0), got them at a mean x "
            f"of {left:.0f} mm and the right ones at {right:.0f} mm. Correct the affine or the table's sides."
        )


def read_label_table(path: Path) -> LabelTable:
    """Read a label table, a file of the columns ``TABLE_COLUMNS``.

    Raises
    ------
    ValueError
        It lacks a column, or a row cannot be used; every problem is named.
    """
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream, delimiter="\t")
        if missing := [column for column in TABLE_COLUMNS if column not in (reader.fieldnames or ())]:
            raise ValueError(
                f"label table {path} must have the columns {' '.join(TABLE_COLUMNS)}, got no {', '.join(missing)}."
            )
        rows = list(reader)
    problems = [
        f"row {number}: index must be a whole number, got {row['index']!r}."
        for number, row in enumerate(rows, start=2)
        if not (row["index"] or "").strip().isdecimal()
    ]
    if problems:
        raise ValueError(f"label table {path}: " + " ".join(problems))
    try:
        return LabelTable(
            tuple(
                Label(int(row["index"]), row["name"], cast(Side, row["side"]), row["region"], cast(Group, row["group"]))
                for row in rows
            )
        )
    except ValueError as error:
        raise ValueError(f"label table {path}: {error}") from error


def _content_digest(labels: NDArray[np.int16], affine: NDArray[np.float64], table: LabelTable) -> str:
    """sha256 over what a label map says, whatever file it came from."""
    digest = hashlib.sha256(repr((labels.shape, table)).encode())
    digest.update(np.ascontiguousarray(affine + 0.0, dtype="<f8").tobytes())  # + 0.0 makes -0.0 the same as 0.0
    digest.update(np.ascontiguousarray(labels, dtype="<i2").tobytes())
    return digest.hexdigest()


def _affine_problems(affine: NDArray[np.float64]) -> list[str]:
    """What is wrong with an affine, in words."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        return [f"affine must be a finite (4, 4) array, got shape {affine.shape}. Give the image's own affine."]
    if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        return ["affine must be invertible, got determinant 0 mm3. Give the image's own affine."]
    return []
