"""Published sets of CT slices with a mask for each slice as cohort folders: AISD and CPAISD.

The slices of a study become one volume as ``aspects import`` makes it, and the masks lie on the grid of that volume.
Which mask belongs to which slice is told by the set's own folders, or by its own pictures of the slices; never by
counting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cohorts.dicom.attributes import number_of
from cohorts.dicom.geometry import check_stack
from cohorts.dicom.headers import Frame, read_headers
from cohorts.dicom.pixels import read_slices
from cohorts.dicom.resample import canonical, regular_volume, stack_affine
from cohorts.dicom.stacks import Stack, group_stacks
from cohorts.dicom.volume import build_volume
from cohorts.dicom.writing import volume_bytes
from cohorts.folder.adopting import Adopted, Found, check_empty, write_folder
from cohorts.folder.tsv import as_participant_id, is_valid_participant_id
from cohorts.images.mask import ImageProblemError
from cohorts.images.nifti import nifti_bytes
from cohorts.store.records import write_bytes
from tasks.arrays import AnyArray, Float32Array, Mask

#: Masks of a study: modality of scans.tsv -> file of a slice -> (rows, columns) bool array.
SliceMasks = Mapping[str, Mapping[Path, Mask]]
CORE_LABEL, PENUMBRA_LABEL = 1, 2  # values of CPAISD's masks, arXiv 2404.02518
BRAIN_WINDOW_HU = (0.0, 80.0)
LEAST_CORRELATION = 0.9  # of a picture with its slice; neighbours of 5 mm reach .8 to .9
_EVERY = 4  # pixels; pictures are compared coarsely
_RESAMPLED = {"gantry_tilt", "uneven_steps", "missing_slices"}


@dataclass(frozen=True)
class Study:
    """One study of a set: its slices, and how to tell their masks."""

    name: str
    files: tuple[Path, ...]
    split: str | None = None


def adopt_cpaisd(source: Path, folder: Path) -> dict[str, int]:
    """Write CPAISD (doi 10.5281/zenodo.10892316) as a cohort: ``{train,val,test}/STUDY/SLICE/{raw.dcm,mask.npz}``.

    The masks of the core, and of core and penumbra together, become two modalities.

    Returns
    -------
    Modality -> images listed; ``init_report.tsv`` says what became of every study.

    Raises
    ------
    FileNotFoundError
        The folder is not of this set.
    ValueError
        No study could be used.
    """
    check_empty(folder)
    root = source / "dataset" if (source / "dataset").is_dir() else source
    studies = [
        Study(study.name, tuple(sorted(study.glob("*/raw.dcm"))), split)
        for split in ("train", "val", "test")
        for study in _folders(root / split)
    ]
    if not any(study.files for study in studies):
        raise FileNotFoundError(f"source must hold train, val or test with STUDY/SLICE/raw.dcm, got none in {root}.")

    def masks(study: Study, _stack: Stack) -> SliceMasks:
        labels = {file: _npz(file.with_name("mask.npz")) for file in study.files}
        return {
            "ncct-core": {file: values == CORE_LABEL for file, values in labels.items()},
            "ncct-lesion": {
                file: (values == CORE_LABEL) | (values == PENUMBRA_LABEL) for file, values in labels.items()
            },
        }

    description = "CPAISD: early CT of acute strokes, core and penumbra drawn slice by slice"
    return _adopt("CPAISD", description, studies, masks, folder)


def adopt_aisd(source: Path, folder: Path) -> dict[str, int]:
    """Write AISD (github.com/GriffinLiang/AISD) as a cohort: ``dicom-0/ID/CT``, ``image/ID/*.png``, ``mask/ID/*.png``.

    A mask is of the slice that its picture of the same name in ``image`` shows. Returns and raises as ``adopt_cpaisd``.
    """
    check_empty(folder)
    if not (source / "mask").is_dir() or not (source / "image").is_dir():
        raise FileNotFoundError(
            f"source must hold image, mask and dicom-0 to dicom-3, got no image or mask in {source}."
        )
    series = {place.parent.name: place for place in sorted(source.glob("dicom*/*/CT"))}  # later parts replace damaged
    studies = [
        Study(study.name, tuple(sorted(path for path in series[study.name].iterdir() if path.is_file())))
        if study.name in series
        else Study(study.name, ())
        for study in _folders(source / "mask")
    ]

    def masks(study: Study, stack: Stack) -> SliceMasks:
        pictures = sorted((source / "image" / study.name).glob("*.png"))
        shown = _slices_shown([_png(path) for path in pictures], stack)
        drawn = {
            frame.path: _png(source / "mask" / study.name / picture.name) > 0
            for picture, frame in zip(pictures, shown, strict=True)
            if (source / "mask" / study.name / picture.name).is_file()
        }
        strange = {path.name for path in (source / "mask" / study.name).glob("*.png")} - {p.name for p in pictures}
        if strange:
            raise ValueError(f"{len(strange)} masks have no picture of their name in image")
        return {"ncct-lesion": drawn}

    description = "AISD: non-contrast CT of acute strokes, lesions drawn slice by slice with diffusion MR as reference"
    return _adopt("AISD", description, studies, masks, folder)


def _adopt(name: str, description: str, studies: Sequence[Study], masks: Any, folder: Path) -> dict[str, int]:
    """Write every study that can be used, and say of each other one why not."""
    found: list[Found] = []
    folder.mkdir(parents=True, exist_ok=True)
    for study in studies:
        participant_id = as_participant_id(study.name)
        try:
            if not is_valid_participant_id(participant_id):
                raise ValueError("its name must be letters, digits and . _ -")
            for modality, content in _images(study, masks):
                path = f"{participant_id}/ct/{participant_id}_{modality}.nii.gz"
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                write_bytes(folder / path, content)
                found.append(Found(path, participant_id, modality))
        except (ImageProblemError, ValueError, OSError, KeyError) as error:
            found.append(
                Found(study.name, participant_id, "ncct", None, str(error).rstrip(".") or type(error).__name__)
            )
    splits = {as_participant_id(study.name): study.split for study in studies if study.split}
    rows = [
        {"participant_id": name} | ({"split": splits[name]} if splits else {})
        for name in dict.fromkeys(as_participant_id(study.name) for study in studies)
    ]
    return dict(write_folder(folder, Adopted(name, description, tuple(found), rows), None))


def _images(study: Study, masks: Any) -> Iterator[tuple[str, bytes]]:
    """The volume of a study and its masks, as files."""
    if not study.files:
        raise ValueError("it has no DICOM slices")
    headers, unread = read_headers(list(study.files))
    stacks = [stack for stack in group_stacks(headers) if stack.recognition.refusal is None]
    if unread or len(stacks) != 1 or stacks[0].n_files != len(study.files):
        raise ValueError(f"its {len(study.files)} files must be the slices of one series, got {len(stacks)} series")
    volume = build_volume(stacks[0])
    drawn = masks(study, stacks[0])
    yield "ncct", volume_bytes(volume)
    for modality, by_file in drawn.items():
        values, affine = _on_volume(by_file, stacks[0])
        if values.shape != volume.values.shape or not np.allclose(affine, volume.affine, atol=1e-3):
            raise ValueError("masks must come to lie on the grid of the volume")
        yield modality, nifti_bytes((values >= 0.5).astype(np.uint8), affine)


def _on_volume(by_file: Mapping[Path, Mask], stack: Stack) -> tuple[Float32Array, AnyArray]:
    """Masks of slices on the grid that the slices' volume has; a slice without one has no lesion."""
    first = [place[0] for place in stack.places]
    tilt = number_of(stack.header.dataset, "GantryDetectorTilt")
    spacing = first[0].spacing_mm or (0.0, 0.0)
    geometry = check_stack(
        [frame.position or () for frame in first],
        [frame.orientation or () for frame in first],
        spacing,
        [frame.thickness_mm for frame in first],
        tilt if tilt == tilt else None,
    )
    nothing = np.zeros(first[0].shape, dtype=bool)
    slices = [by_file.get(first[place].path, nothing) for place in geometry.order]
    if any(one.shape != first[0].shape for one in slices):
        raise ValueError("masks must have the pixels of their slices")
    values = np.stack(slices).astype(np.float32)
    if {fault.reason for fault in geometry.faults} & _RESAMPLED:
        values, affine = regular_volume(values, geometry, spacing, 0.0)
    else:
        affine = stack_affine(geometry, spacing)
    return canonical(values, affine)


def _slices_shown(pictures: Sequence[AnyArray], stack: Stack) -> list[Frame]:
    """The slice that each picture shows: the one that it looks like most, each slice once.

    Raises
    ------
    ValueError
        A picture looks like no slice, or two look like one.
    """
    frames = [place[0] for place in stack.places]
    if any(picture.shape != frames[0].shape for picture in pictures) or not pictures:
        raise ValueError("pictures in image must have the pixels of the slices")
    low, high = BRAIN_WINDOW_HU
    slices = read_slices(frames).values.clip(low, high)
    ours = _standardised(slices[:, ::_EVERY, ::_EVERY])
    theirs = _standardised(np.stack(pictures)[:, ::_EVERY, ::_EVERY].astype(np.float32))
    correlation = theirs @ ours.T
    best = correlation.argmax(axis=1)
    if correlation.max(axis=1).min() < LEAST_CORRELATION or len(set(best.tolist())) < len(best):
        raise ValueError("pictures in image must each look like one slice of the series, so that masks find theirs")
    return [frames[int(place)] for place in best]


def _standardised(images: AnyArray) -> AnyArray:
    """Every image as a row with mean 0 and length 1."""
    rows = images.reshape(len(images), -1).astype(np.float64)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


def _folders(place: Path) -> Iterable[Path]:
    """Folders inside a folder, sorted; none where it is absent."""
    return sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else ()


def _npz(path: Path) -> AnyArray:
    """The only array of a file, ``mask`` where there are several."""
    with np.load(path) as arrays:
        return np.asarray(arrays["mask"] if "mask" in arrays else arrays[arrays.files[0]])


def _png(path: Path) -> AnyArray:
    """(rows, columns) grey values."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))
