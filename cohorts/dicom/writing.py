"""Writing a volume into the cohort folder: a NIfTI file and its JSON sidecar, both free of identity and of the clock.

The same series and key give the same bytes and names, so that importing twice changes nothing.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cohorts.dicom.deidentify import Pseudonymiser, allowed_attributes
from cohorts.dicom.geometry import Action
from cohorts.dicom.stacks import Stack
from cohorts.dicom.volume import Volume
from cohorts.folder.scans import sidecar_path
from cohorts.folder.true_dates import MODIFIED
from cohorts.images.nifti import nifti_bytes
from cohorts.store.records import write_bytes
from tasks.arrays import AnyArray
from tasks.modality import CT_MODALITIES
from tasks.space.affines import voxel_sizes_mm

#: Folder of each kind, by the data types of BIDS; CT has none there yet.
FOLDERS = {
    **dict.fromkeys(("ncct", "cta", "ct"), "ct"),
    **dict.fromkeys(("ctp", "cbf", "cbv", "mtt", "ttp", "tmax"), "perf"),
    **dict.fromkeys(("dwi", "dwi-b0", "adc"), "dwi"),
    "mr": "anat",
}
MM_AND_SECONDS = 2 | 8  # nifti1.h
INT16 = np.iinfo(np.int16)


def volume_path(stack: Stack, volume: Volume, pseudonymiser: Pseudonymiser) -> str:
    """Path of a volume inside the cohort folder."""
    participant = pseudonymiser.participant_id(stack.identity)
    name = f"{participant}_acq-{pseudonymiser.series_id(stack.key)}_{volume.kind.replace('-', '')}.nii.gz"
    return f"{participant}/{FOLDERS[volume.kind]}/{name}"


def write_volume(
    stack: Stack, volume: Volume, pseudonymiser: Pseudonymiser, cohort: Path, actions: Mapping[str, Action]
) -> str:
    """Write a volume and its sidecar.

    Returns
    -------
    The path of the NIfTI file inside the cohort folder.
    """
    relative = volume_path(stack, volume, pseudonymiser)
    path = cohort / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, volume_bytes(volume))
    text = json.dumps(sidecar(stack, volume, pseudonymiser, actions), indent=2, allow_nan=False) + "\n"
    write_bytes(cohort / sidecar_path(relative), text.encode())
    return relative


def stored_values(volume: Volume) -> AnyArray:
    """Values as they are written: CT in whole HU as int16, others as float32."""
    if volume.kind in CT_MODALITIES:
        return np.rint(volume.values).clip(INT16.min, INT16.max).astype(np.int16, order="F")
    return volume.values


def volume_bytes(volume: Volume) -> bytes:
    """Compressed NIfTI-1."""
    times_s = volume.frame_times_s
    return nifti_bytes(
        stored_values(volume),
        volume.affine,
        fields={"xyzt_units": MM_AND_SECONDS},
        frame_interval_s=float(np.median(np.diff(times_s))) if times_s else None,
        compression=("isal", 2),  # isal's default, which is its best compromise of 0 to 3
    )


def sidecar(
    stack: Stack, volume: Volume, pseudonymiser: Pseudonymiser, actions: Mapping[str, Action]
) -> dict[str, object]:
    """What may be known of a series: allowed attributes under their BIDS names, and everything measured here."""
    spacing = voxel_sizes_mm(volume.affine)
    record: dict[str, object] = {
        **allowed_attributes(stack.header.dataset),
        "AcquisitionDateTime": pseudonymiser.shifted(stack.started, stack.identity),
        "Units": volume.unit,
        "VoxelSize": [round(float(size), 6) for size in spacing],
        "ConversionSoftware": volume.converter,
        "ConversionSoftwareVersion": importlib.metadata.version(
            "dcm2niix" if volume.converter == "dcm2niix" else "aspects-cohort"
        ),
        "DetectedAs": volume.kind,
        "DetectedBy": volume.evidence or stack.recognition.evidence,
        "NumberOfSlices": stack.n_slices,
        "NumberOfFiles": stack.n_files,
        "Faults": [
            {"Reason": fault.reason, "Action": actions[fault.reason], "Numbers": numbers_text(fault.numbers)}
            for fault in volume.faults
        ],
        "Notes": [*volume.notes, *volume.doubts, *stack.recognition.unfit],
        "Measured": numbers_text(volume.numbers),
        "PatientIdentityRemoved": True,
        **dict([MODIFIED]),
    }
    if volume.frame_times_s:
        record["VolumeTiming"] = [round(time, 3) for time in volume.frame_times_s]
    if stack.recognition.b_value is not None:
        record["DiffusionBValue"] = stack.recognition.b_value
    return {name: value for name, value in record.items() if value is not None}


def numbers_text(numbers: Mapping[str, float]) -> dict[str, float]:
    """Measured numbers with the digits that mean something."""
    return {name: float(f"{value:.6g}") for name, value in numbers.items()}
