"""A BIDS data set with the masks of its derivatives as a cohort folder; ISLES'22 and ISLES'24 are of this shape.

A file is read by its name: ``sub-<label>``, ``ses-<label>`` and ``space-<label>``, and the suffix, which says what it
is. On which scan a mask was drawn is not guessed: it is the one of the same participant with the same voxels.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from cohorts.folder.adopting import Adopted, Clinical, Found, check_empty, once_each, write_folder
from cohorts.folder.clinical import FILE as PARTICIPANTS
from cohorts.folder.foreign_table import TableForm, read_delimited
from cohorts.folder.scans import SIDECAR_SUFFIX, sidecar_path
from cohorts.folder.table_merge import folder_table
from cohorts.folder.tsv import MISSING, as_participant_id
from cohorts.folder.workbook import SUFFIXES as WORKBOOKS
from cohorts.folder.workbook import read_workbook

DERIVATIVES = "derivatives"
_ENTITY = re.compile(r"(?P<key>[a-z]+)-(?P<value>[A-Za-z0-9]+)")
#: Suffixes, in lower case, of images that a source reads, and as which modality.
_MODALITIES = {
    **{name: name for name in ("dwi", "adc", "ncct", "cta", "ctp", "cbf", "cbv", "mtt", "tmax", "ttp", "flair")},
    "ct": "ncct",
    "trace": "dwi",
}
_MASK = re.compile(r"(?:(?P<what>[a-z0-9]+)-)?(?:mask|msk|roi)")
_LESION = {"lesion", "infarct", "stroke", "l", "core"}
_TEMPLATE = re.compile(r"MNI|template|Talairach", re.I)
DRAWN_ON = ("dwi", "ncct", "cta")
SAME_AFFINE = 1e-3  # mm; forms are stored in single precision


@dataclass(frozen=True)
class Image:
    """One image of the data set, by its name."""

    path: Path
    relative: str
    participant_id: str
    entities: Mapping[str, str]
    suffix: str

    @property
    def is_derived(self) -> bool:
        """Whether it lies below the derivatives."""
        return DERIVATIVES in self.relative.split("/")[:-1]


def adopt_bids(source: Path, folder: Path) -> dict[str, int]:
    """Write a BIDS data set, with its derivatives' masks, as a cohort folder.

    Returns
    -------
    Modality -> images listed; ``init_report.tsv`` says what became of every image.

    Raises
    ------
    FileExistsError
        The folder holds something.
    ValueError
        There is no image that a source can score.
    """
    check_empty(folder)
    found = images_of(source)
    rows = _participants(source, found)
    also = {"participants.json": source / "participants.json"} if (source / "participants.json").is_file() else {}
    name = source.resolve().name
    adopted = Adopted(name, f"BIDS data set {name}", found, rows, also=also | _sidecars(source, found))
    return dict(write_folder(folder, adopted, source))


def adopt_isles22(source: Path, folder: Path) -> dict[str, int]:
    """Write ISLES'22 (doi 10.5281/zenodo.7153326) as a cohort: DWI, ADC, and the lesion drawn on DWI.

    Its images lie in ``sub-strokecase0001/ses-0001/dwi`` or in ``rawdata/sub-...``, as releases differ, its masks in
    ``derivatives/sub-strokecase0001/ses-0001/..._msk.nii.gz``. Raises as ``adopt_bids``.
    """
    check_empty(folder)
    _must_hold(source, "derivatives", "ISLES'22")
    found = images_of(source)
    description = "ISLES'22: acute and subacute strokes of several centres, with expert masks drawn on diffusion MR"
    adopted = Adopted("ISLES'22", description, found, _participants(source, found), also=_sidecars(source, found))
    return dict(write_folder(folder, adopted, source))


#: Columns of ISLES'24 that have a role here, as their names read in small letters.
_ISLES24_CLINICAL = (
    Clinical("nihss_at_admission", 'read_as = "integer"\nlabel = "NIHSS at admission"\nminimum = 0\nmaximum = 42\n'),
    Clinical("mrs_3_months", 'read_as = "integer"\nlabel = "mRS at 3 months"\nminimum = 0\nmaximum = 6\n'),
    Clinical("age", 'read_as = "number"\nlabel = "Age"\nunit = "years"\nminimum = 0\nmaximum = 120\n'),
    Clinical("sex", 'read_as = "category"\nlabel = "Sex"\n'),
)


def adopt_isles24(source: Path, folder: Path) -> dict[str, int]:
    """Write ISLES'24 (doi 10.5281/zenodo.17652035) as a cohort: acute CT, CTA and CTP, and the final infarct.

    ``raw_data`` (``rawdata`` in earlier releases), ``derivatives`` and ``phenotype`` lie in the folder or in its
    ``train``. Raises as ``adopt_bids``.
    """
    check_empty(folder)
    root = source / "train" if (source / "train").is_dir() else source
    _must_hold(root, "derivatives", "ISLES'24")
    found = images_of(root)
    rows = _phenotype(root, found)
    columns = set(rows[0]) if rows else set()
    clinical = tuple(item for item in _ISLES24_CLINICAL if item.column in columns)
    names = {item.column for item in clinical}
    adopted = Adopted(
        "ISLES'24",
        "ISLES'24: CT at admission, and the infarct drawn on diffusion MR 2 to 9 days later",
        found,
        rows,
        clinical,
        "mrs_3_months" if "mrs_3_months" in names else None,
        "nihss_at_admission" if "nihss_at_admission" in names else None,
        _sidecars(root, found),
    )
    return dict(write_folder(folder, adopted, root))


def images_of(source: Path) -> tuple[Found, ...]:
    """Every image below a folder with what it is; one per participant and modality is listed."""
    paths = sorted(path for path in source.rglob("*") if re.search(r"\.nii(\.gz)?$", path.name))
    images = [image for path in paths if (image := image_of(path, source)) is not None]
    named = {image.path for image in images}
    of_whom = [image for image in images if not _is_misplaced(image)]
    scans: dict[str, list[tuple[str, Image]]] = defaultdict(list)
    listed: list[Found] = []
    for image in sorted(of_whom, key=lambda one: (one.is_derived, one.relative)):
        if _MASK.fullmatch(image.suffix) is None:
            modality = _modality(image)
            scans[image.participant_id].append((modality, image))
            listed.append(Found(image.relative, image.participant_id, modality))
    masks = [_mask(image, scans[image.participant_id]) for image in of_whom if _MASK.fullmatch(image.suffix)]
    drawn_on = {scan for _, scan in masks}
    found = list(once_each(sorted(listed, key=lambda one: one.path not in drawn_on)))  # a scan with a mask first
    there = {one.path for one in found if one.left_out is None}
    for mask, scan in masks:
        left_out = mask.left_out if scan is None or scan in there else f"it is drawn on {scan}, which is not listed"
        found.append(replace(mask, left_out=left_out))
    for image in images:
        if _is_misplaced(image):
            told = "its name and its folder say different participants"
            found.append(Found(image.relative, image.participant_id, image.suffix, None, told))
    for path in paths:
        if path not in named:
            told = "its name does not say whose it is (sub-<label>)"
            found.append(Found(path.relative_to(source).as_posix(), MISSING, MISSING, None, told))
    return once_each(found)


def image_of(path: Path, source: Path) -> Image | None:
    """Read a file's name; None where it names no participant."""
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name)
    *parts, suffix = stem.split("_")
    entities = {found["key"]: found["value"] for part in parts if (found := _ENTITY.fullmatch(part))}
    if "sub" not in entities:
        return None
    relative = path.relative_to(source).as_posix()
    return Image(path, relative, as_participant_id(entities["sub"]), entities, suffix.lower())


def _is_misplaced(image: Image) -> bool:
    """Whether the folder above is that of another participant."""
    folders = [part for part in image.relative.split("/")[:-1] if part.startswith("sub-")]
    return bool(folders) and folders[-1] != image.participant_id


def _modality(image: Image) -> str:
    """Modality of a scan; one in the space of another says so."""
    modality = _MODALITIES.get(image.suffix, image.suffix)
    if image.suffix == "ct" and ("ce" in image.entities or "cta" in image.entities.get("acq", "").lower()):
        modality = "cta"
    if "space" in image.entities:
        return f"{modality}-on-{image.entities['space'].lower()}"
    is_series = modality == "dwi" and len(_header(image.path)[0]) > 3
    return "dwi-directions" if is_series else modality  # a series of diffusion directions is no trace image


def _mask(image: Image, scans: Iterable[tuple[str, Image]]) -> tuple[Found, str | None]:
    """A mask under the modality of the scan that it was drawn on, and that scan's path; None where it has none."""
    found = _MASK.fullmatch(image.suffix)
    what = (found["what"] if found else None) or image.entities.get("label", image.entities.get("desc", "lesion"))
    one = Found(image.relative, image.participant_id, f"{what.lower()}-mask")
    if what.lower() not in _LESION:
        return one, None
    space = image.entities.get("space")
    if space is not None and _TEMPLATE.search(space):
        return replace(one, modality="lesion", space=space), None
    ours = _header(image.path)
    session = image.entities.get("ses")
    same = [(modality, scan) for modality, scan in scans if modality in DRAWN_ON and _is_same(ours, _header(scan.path))]
    same.sort(key=lambda one: (one[1].entities.get("ses") != session, DRAWN_ON.index(one[0])))
    if not same:
        told = f"no {', '.join(DRAWN_ON)} of this participant has its voxels, so that its scan is not known"
        return replace(one, left_out=told), None
    modality, scan = same[0]
    return replace(one, modality=f"{modality}-lesion"), scan.relative


def _header(path: Path) -> tuple[tuple[int, ...], Any]:
    """Shape and affine of an image; an empty shape where it cannot be read."""
    try:
        image: Any = nib.load(path)
        return tuple(int(size) for size in image.shape), np.asarray(image.affine)
    except (OSError, ValueError, nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError):
        return (), np.full((4, 4), np.nan)


def _is_same(one: tuple[tuple[int, ...], Any], other: tuple[tuple[int, ...], Any]) -> bool:
    """Whether two images have the same voxels."""
    return bool(one[0]) and one[0][:3] == other[0][:3] and bool(np.allclose(one[1], other[1], atol=SAME_AFFINE))


def _sidecars(source: Path, found: Iterable[Found]) -> dict[str, Path]:
    """The JSON files beside listed images."""
    paths = [sidecar_path(one.path) for one in found if one.left_out is None]
    return {path: source / path for path in paths if path.endswith(SIDECAR_SUFFIX) and (source / path).is_file()}


def _participants(source: Path, found: Sequence[Found]) -> list[dict[str, str]]:
    """Rows of the data set's participants.tsv, and of those whom only images know."""
    path = source / PARTICIPANTS
    table = folder_table(path.read_bytes().decode("utf-8-sig")) if path.is_file() else folder_table("")
    rows = [{name: row.get(name) or MISSING for name in table.columns} for row in table.rows]
    listed = {as_participant_id(row["participant_id"]) for row in rows}
    missing = dict.fromkeys(one.participant_id for one in found if one.left_out is None)
    blank = dict.fromkeys(table.columns, MISSING)
    return rows + [blank | {"participant_id": name} for name in missing if name not in listed]


def _phenotype(root: Path, found: Sequence[Found]) -> list[dict[str, str]]:
    """One row per participant of all its tables of one row below ``phenotype``."""
    rows = {row["participant_id"]: row for row in _participants(root, found)}
    columns: dict[str, None] = {}
    for path in sorted((root / "phenotype").rglob("*")):
        whose = re.match(r"sub-[A-Za-z0-9]+", path.name)
        if whose is None or path.suffix.lower() not in (".csv", *WORKBOOKS):
            continue
        is_book = path.suffix.lower() in WORKBOOKS
        table = read_workbook(path, TableForm()) if is_book else read_delimited(path, TableForm(separator=","))
        cells = table.rows[0].cells if len(table.rows) == 1 else {}
        row = rows.setdefault(whose.group(), {"participant_id": whose.group()})
        for name, value in cells.items():
            key = re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")
            if key and key != "participant_id":
                columns.setdefault(key)
                row[key] = MISSING if value.casefold() in ("", "nan", "n/a", "na") else value
    return [{"participant_id": name} | {key: row.get(key, MISSING) for key in columns} for name, row in rows.items()]


def _must_hold(source: Path, name: str, what: str) -> None:
    """Refuse a folder that is not of this data set."""
    if not (source / name).is_dir():
        raise FileNotFoundError(f"source must hold {what}, got no {name} in {source}. Unpack it there, or correct it.")
