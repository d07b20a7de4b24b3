"""Synthetic Enhanced multi-frame images and Siemens mosaics, made with pydicom."""

from __future__ import annotations

import struct

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.cohorts.dicom.made import AXIAL, SPACING, write_slice

ENHANCED = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1"}


def _item(**attributes):
    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, value)
    return item


def write_enhanced(folder, frames, modality, image_type):
    """One file of many frames; a frame is (pixels, height mm, what its frame content and diffusion say)."""
    write_slice(
        folder, 0, frames[0][0], (0, 0, 0), Modality=modality, SOPClassUID=ENHANCED[modality], ImageType=image_type
    )
    (path,) = folder.iterdir()
    dataset = pydicom.dcmread(path)
    for name in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "AcquisitionTime",
    ):
        delattr(dataset, name)
    for name in ("RescaleSlope", "RescaleIntercept"):
        dataset.pop(name, None)
    rescale = {
        "RescaleSlope": 1,
        "RescaleIntercept": -1024 if modality == "CT" else 0,
        "RescaleType": "HU" if modality == "CT" else "US",
    }
    dataset.SharedFunctionalGroupsSequence = Sequence([
        _item(
            PixelMeasuresSequence=Sequence([_item(PixelSpacing=list(SPACING), SliceThickness=5)]),
            PlaneOrientationSequence=Sequence([_item(ImageOrientationPatient=list(AXIAL))]),
            PixelValueTransformationSequence=Sequence([_item(**rescale)]),
        )
    ])  # fmt: skip
    groups = []
    for _, height, content, diffusion in frames:
        group = _item(
            FrameContentSequence=Sequence([_item(**content)]),
            PlanePositionSequence=Sequence([_item(ImagePositionPatient=[-20, -15, height])]),
        )
        if diffusion:
            group.MRDiffusionSequence = Sequence([_item(**diffusion)])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = np.stack([pixels for pixels, *_ in frames]).astype(np.uint16).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def csa_header(**values):
    """A CSA2 header (format as nibabel documents it) of texts: name=list of texts."""
    out = b"SV10\4\3\2\1" + struct.pack("<2I", len(values), 77)
    for name, items in values.items():
        out += struct.pack("<64si4s3i", name.encode(), len(items), b"DS\0\0", 0, max(len(items), 6), 77)
        for number in range(max(len(items), 6)):
            text = items[number].encode() + b"\0" if number < len(items) else b""
            out += struct.pack("<4i", 0, len(text), 77, 0) + text + b"\0" * (-len(text) % 4)
    return out


def write_mosaic(folder, number, slices, *, step_mm=6.0, is_reversed=False, csa=True, **attributes):
    """Slices as tiles of one image; ``is_reversed`` lets them follow each other from head to foot."""
    n, rows, columns = slices.shape
    side = int(np.ceil(np.sqrt(n)))
    image = np.zeros((side * rows, side * columns))
    for place, one in enumerate(slices):
        top, left = place // side * rows, place % side * columns
        image[top : top + rows, left : left + columns] = one
    first = np.array([-20.0, -15.0, 30.0 + is_reversed * (n - 1) * step_mm])
    corner = first - np.array([SPACING[1] * (side - 1) * columns / 2, SPACING[0] * (side - 1) * rows / 2, 0])
    usual = {
        "Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND", "MOSAIC"],
        "SeriesDescription": "ep2d_diff", "SpacingBetweenSlices": step_mm, "SliceThickness": step_mm,
    }  # fmt: skip
    write_slice(folder, number, image, corner, **(usual | attributes))
    path = folder / f"QUIXOTE_a_{number:03d}.dcm"
    dataset = pydicom.dcmread(path)
    dataset.add_new((0x0029, 0x0010), "LO", "SIEMENS CSA HEADER")
    if csa:
        normal = ["0.0", "0.0", "-1.0" if is_reversed else "1.0"]
        header = csa_header(NumberOfImagesInMosaic=[str(n)], SliceNormalVector=normal, B_value=["1000"])
        dataset.add_new((0x0029, 0x1010), "OB", header + b"\0" * (len(header) % 2))
    dataset.save_as(path)
