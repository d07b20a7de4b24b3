"""The faults put into the phantom cohort on purpose, so that each way to be excluded can be seen once.

A fault spoils one cell of a table, or one file. Each says what a coordinator would find, and under which reason the
participant must leave the flowchart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from cohorts.images.nifti import nifti_bytes
from tasks.arrays import Affine, AnyArray, Mask

FLOAT_ONE = 0.9999999997  # what a resampling can leave of 1
MNI_CODE = 4  # NIfTI-1: xyz in MNI space
ALIGNED_CODE = 2  # NIfTI-1: xyz aligned to another file


@dataclass(frozen=True)
class PlantedFault:
    """One fault put into the cohort on purpose.

    Attributes
    ----------
    participant_id : str
    file : str
        Path inside the cohort folder.
    fault : str
        What was done, in words.
    expected_reason : str or None
        Reason code under which the participant is excluded; None where the oddity must be tolerated.
    """

    participant_id: str
    file: str
    fault: str
    expected_reason: str | None


@dataclass(frozen=True)
class FaultKind:
    """One way to spoil a participant; without ``file`` it spoils the participant's mask."""

    name: str
    fault: str
    expected_reason: str | None
    file: str | None = None
    is_read: bool = True

    def planted(self, participant_id: str, mask_path: str) -> PlantedFault:
        """The record of this fault on one participant."""
        return PlantedFault(participant_id, self.file or mask_path, self.fault, self.expected_reason)


FAULT_KINDS = (
    FaultKind("nihss_60", "NIHSS of 60; the scale ends at 42", "value_out_of_range", "participants.tsv"),
    FaultKind("onset_after_scan", "Onset dated two days after the scan", "dates_out_of_order", "participants.tsv"),
    FaultKind("no_scan", "Listed, but has no scan and no reading", "participant_without_scan", "scans.tsv", False),
    FaultKind("all_missing", "Every clinical value is n/a", "all_values_missing", "participants.tsv", False),
    FaultKind("truncated", "Mask file cut off halfway, as by a broken copy", "truncated_file"),
    FaultKind("empty", "Mask without any lesion voxel", "empty_mask"),
    FaultKind("values_0_2", "Mask stored with the values 0 and 2", "mask_values_not_binary"),
    FaultKind("lost_affine", "Mask that lost its affine: it claims to begin at 0, 0, 0 mm", "wrong_grid"),
    FaultKind("float_mask", f"Mask stored as float64 with {FLOAT_ONE} for 1; this is fine and must be used", None),
)
STRAY_SCAN = FaultKind(
    "stray_scan", "Has a scan, but no row in participants.tsv", "scan_without_participant", "scans.tsv", False
)


def plan_faults(participant_ids: Sequence[str], rng: np.random.Generator) -> dict[str, FaultKind]:
    """Choose who carries which fault: one each of ``FAULT_KINDS`` among all but the last id, which is the stray scan.

    Returns
    -------
    participant_id -> fault, in the order of ``participant_ids``.
    """
    *listed, stray = participant_ids
    chosen = rng.permutation(len(listed))[: len(FAULT_KINDS)]
    by_id = {listed[place]: kind for place, kind in zip(chosen, FAULT_KINDS, strict=True)}
    return {participant_id: by_id[participant_id] for participant_id in listed if participant_id in by_id} | {
        stray: STRAY_SCAN
    }


def spoil_clinical(clinical: pd.DataFrame, faults: dict[str, FaultKind]) -> pd.DataFrame:
    """Return the clinical table with the faults that lie in it.

    Participants whose fault lies elsewhere stay as they are.
    """
    spoilt = clinical.astype(object)
    ids = clinical["participant_id"].tolist()
    row_of = {kind.name: ids.index(participant_id) for participant_id, kind in faults.items() if participant_id in ids}
    spoilt.loc[row_of["nihss_60"], "nihss"] = 60
    row = row_of["onset_after_scan"]
    late = date.fromisoformat(str(clinical["scan_date"].iloc[row])) + timedelta(days=2)
    spoilt.loc[row, "onset_date"] = late.isoformat()
    spoilt.loc[row_of["all_missing"], [column for column in clinical if column != "participant_id"]] = pd.NA
    return spoilt


def mask_bytes(lesion: Mask, affine: Affine, fault: str | None = None) -> bytes:
    """A mask as the bytes of a NIfTI file, spoilt in the way that ``fault`` names; the same mask gives the same bytes.

    Parameters
    ----------
    lesion : (X, Y, Z) bool array
    affine : (4, 4) float array, voxel -> world, RAS, mm
    fault : name of one of ``FAULT_KINDS``, or None
    """
    zeros_and_ones = np.asarray(lesion, dtype=np.uint8, order="F")  # as NIfTI stores it
    values: AnyArray = zeros_and_ones
    code = MNI_CODE
    if fault == "empty":
        values = np.zeros_like(values)
    elif fault == "values_0_2":
        values = zeros_and_ones * np.uint8(2)
    elif fault == "float_mask":
        values = zeros_and_ones * np.float64(FLOAT_ONE)
    elif fault == "lost_affine":
        affine, code = np.eye(4), ALIGNED_CODE
    fields = {"descrip": b"SYNTHETIC phantom lesion, no patient"}
    content = nifti_bytes(values, affine, fields=fields, form_code=code, compression=("zlib", 6))
    return content[: len(content) // 2] if fault == "truncated" else content
