"""Synthetic DICOM series, made with pydicom: unequal axes, every attribute chosen by the test."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT_UID = "1.2.840.10008.5.1.4.1.1.2"
MR_UID = "1.2.840.10008.5.1.4.1.1.4"
ROWS, COLUMNS = 24, 20
SPACING = (1.5, 2.0)  # rows, columns
AXIAL = (1, 0, 0, 0, 1, 0)
IDENTITY = {"PatientName": "QUIXOTE^ALONSO", "PatientID": "MRN7781234", "PatientBirthDate": "19470316"}


def uid(text):
    """The same text gives the same UID."""
    return generate_uid(entropy_srcs=[text])


def write_slice(folder, number, pixels, position, *, series="a", patient=None, **attributes):
    """Write one CT slice; ``attributes`` add to the usual ones or replace them, None takes one away."""
    identity = {**IDENTITY, **(patient or {})}
    modality = attributes.get("Modality", "CT")
    sop_class = attributes.pop("SOPClassUID", MR_UID if modality == "MR" else CT_UID)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    instance = uid(f"{identity['PatientID']}{series}{number}")
    dataset.file_meta.MediaStorageSOPInstanceUID = instance
    usual = {
        **identity,
        "SOPClassUID": sop_class,
        "SOPInstanceUID": instance,
        "StudyInstanceUID": uid(identity["PatientID"] + "study"),
        "SeriesInstanceUID": uid(identity["PatientID"] + series),
        "Modality": "CT",
        "Manufacturer": "SIEMENS",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "AccessionNumber": "ACC99887",
        "InstitutionName": "La Mancha General",
        "StudyDate": "20240302",
        "AcquisitionDate": "20240302",
        "AcquisitionTime": "101500",
        "InstanceNumber": number + 1,
        "SeriesNumber": 3,
        "ImagePositionPatient": [float(f"{value:.6f}") for value in position],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": list(SPACING),
        "SliceThickness": 5,
        "PatientPosition": "HFS",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
    }
    if modality == "MR":
        del usual["RescaleSlope"], usual["RescaleIntercept"]
    for name, value in (usual | attributes).items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.PixelData = np.ascontiguousarray(pixels.astype(np.uint16)).tobytes()
    folder.mkdir(parents=True, exist_ok=True)
    dataset.save_as(folder / f"QUIXOTE_{series}_{number:03d}.dcm", enforce_file_format=True)


def head_hu(place, shape=(ROWS, COLUMNS)):
    """Values of one slice, HU: air, a disk of brain, and a bright square in front on the patient's left."""
    rows, columns = np.indices(shape)
    values = np.full(shape, -1000.0)
    inside = np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) < min(shape) / 2 - 1
    values[inside] = 30 + place
    values[6:9, 13:15] = 80  # few rows: front; many columns: left
    return values


def write_ct(folder, offsets=(0, 5, 10, 15, 20), *, tilt_deg=0.0, series="a", **attributes):
    """Write a CT stack at offsets along the table (mm), tilted about the x axis."""
    angle = np.radians(tilt_deg)
    orientation = [1, 0, 0, 0, np.cos(angle), -np.sin(angle)]
    for number, offset in enumerate(offsets):
        own = {name: value[number] if isinstance(value, tuple) else value for name, value in attributes.items()}
        own = {"ImageOrientationPatient": [float(f"{value:.6f}") for value in orientation], **own}
        write_slice(folder, number, head_hu(number) + 1024, (-20, -15, 40 + offset), series=series, **own)
