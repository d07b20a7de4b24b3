"""One patient of a cohort, prepared on a worker as a source prepares a scan: brain, registration, gates, grid, ADC.

What is kept lies in the work folder and is named by its content: the patient as training reads it, and a file that says
what was found, written last. A patient who cannot be used is kept as a reason.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from cohorts.images.grid import FormRule
from cohorts.images.mask import ImageProblemError, read_mask
from cohorts.store.records import digest_of, write_bytes
from flows.cases.case import Case, MapReference, OpenCase
from flows.cases.drawn_on_scan import lesion_on, outside_of_brain
from flows.cases.dwi_input import dwi_input
from flows.cases.native_scan import prepared, shared_quality
from models.training.items import Item, image_digests
from models.training.pool import is_whole, patient_of, write_patient
from tasks.arrays import Float32Array, Mask
from tasks.quality.gates import Gate, judge_quality
from tasks.segmentation import STEP_MM
from tasks.space.affines import voxel_volume_mm3
from tasks.space.network_grid import to_network_grid

NOT_KEPT = ("unreadable_file", "input_changed", "unexpected_error")  # another time may be better


@dataclass(frozen=True)
class Excluded:
    """A patient who is not learned from, and why."""

    participant: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Labelling:
    """How patients of a study are prepared.

    Attributes
    ----------
    mask, scan, adc, b0 : modalities
    b_value_s_mm2 : of the scan, used where ADC is computed
    forms, mask_forms : what to do where qform and sform of scans and of masks disagree
    reference : label map whose regions are to be in view
    gates : limits of quality figures
    """

    mask: str
    scan: str
    adc: str
    b0: str
    b_value_s_mm2: float
    forms: FormRule
    mask_forms: FormRule
    reference: MapReference
    gates: tuple[Gate, ...]


@dataclass(frozen=True)
class FoundPatient:
    """A patient who was prepared, or why not.

    Attributes
    ----------
    participant : whose scan it is
    kept : file of the prepared patient, empty where there is none
    items : the scan and the lesion drawn on it
    excluded : why there is none
    """

    participant: str
    kept: str = ""
    items: tuple[Item, ...] = ()
    excluded: Excluded | None = None


class _RefusedError(ValueError):
    """A patient that cannot be used."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def keep_patient(case: Case, labelling: Labelling, folder: Path, code: str) -> FoundPatient:
    """Prepare one patient, or read what was found before.

    Parameters
    ----------
    case : its files
    labelling : Labelling
    folder : where patients are kept
    code : digest of the code that prepares
    """
    how = asdict(replace(labelling, reference=MapReference("", labelling.reference.sha256)))
    key = digest_of({"who": case.participant_id, "files": case.input_sha256, "how": how, "code": code})
    told, kept = folder / f"{key}.json", folder / f"{key}.npz"
    if (found := _told(told, kept)) is not None:
        return found
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        items = _prepare(OpenCase(case, _contents(case), (labelling.reference,)), labelling, kept)
        found = FoundPatient(case.participant_id, str(kept), items)
    except (ImageProblemError, _RefusedError) as error:
        found = _excluded(case, error.reason, str(error))
    except OSError:
        raise  # of the work folder: nothing can be kept
    except Exception as error:  # of one patient: it never stops the others
        found = _excluded(case, "unexpected_error", f"{type(error).__name__}: {error}. Please report this.")
    if found.excluded is None or found.excluded.reason not in NOT_KEPT:
        write_bytes(told, json.dumps(asdict(found)).encode())
    return found


def _excluded(case: Case, reason: str, detail: str) -> FoundPatient:
    """Somebody who cannot be used."""
    return FoundPatient(case.participant_id, excluded=Excluded(case.participant_id, reason, detail))


def _told(told: Path, kept: Path) -> FoundPatient | None:
    """What was found before; None where it is not whole, and then it is made again."""
    try:
        body = json.loads(told.read_bytes())
        if body["excluded"] is not None:
            return FoundPatient(body["participant"], excluded=Excluded(**body["excluded"]))
        found = FoundPatient(body["participant"], str(kept), tuple(Item(**one) for one in body["items"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if is_whole(kept) else None


def _contents(case: Case) -> dict[str, bytes]:
    """The bytes of the files, as they were planned."""
    contents = {}
    for file in case.files:
        try:
            contents[file.modality] = Path(file.path).read_bytes()
        except OSError as error:
            detail = f"{file.name} must be readable, got: {error.strerror}. Put the file back or fix its permissions."
            raise _RefusedError("unreadable_file", detail) from error
        if hashlib.sha256(contents[file.modality]).hexdigest() != file.sha256:
            raise _RefusedError("input_changed", f"{file.name} must not change meanwhile, got other bytes. Run again.")
    return contents


def _prepare(case: OpenCase, labelling: Labelling, kept: Path) -> tuple[Item, ...]:
    """Prepare and write one patient, by the functions of the sources.

    Raises
    ------
    ImageProblemError, _RefusedError
        It cannot be used.
    """
    files = {name: case.file(name) for name in (labelling.mask, labelling.scan, labelling.adc, labelling.b0)}
    mask_file, file = files[labelling.mask], files[labelling.scan]
    if mask_file is None or file is None:
        raise ValueError("a case must have a mask and its scan, got one of them. Give both.")
    kinds = {labelling.adc: "adc", labelling.b0: "dwi-b0"}
    others = {
        name: case.image(one, kinds[name], labelling.forms)
        for name, one in files.items()
        if name in kinds and one is not None
    }
    mask = read_mask(case.contents[labelling.mask], mask_file.name, forms=labelling.mask_forms, may_be_empty=True)
    image = case.image(file, "dwi", labelling.forms)
    lesion = lesion_on(image, mask, mask_file.name, file.name)
    scan = prepared(case, file, "dwi", labelling.forms)
    if not scan.registration.is_usable:
        raise _RefusedError(scan.registration.reason, scan.registration.detail)
    if broken := judge_quality(shared_quality(case, scan), labelling.gates):
        raise _RefusedError(broken[0].reason, " ".join(one.detail for one in broken))
    if detail := outside_of_brain(lesion, scan, file.name):
        raise _RefusedError("lesion_outside_scan", detail)
    given = dwi_input(scan, others.get(labelling.adc), others.get(labelling.b0), labelling.b_value_s_mm2)
    volume_ml = float(lesion.sum()) * voxel_volume_mm3(image.affine) / 1000
    drawn = lesion_on_grid(to_network_grid(lesion.astype(np.float32), image.affine, given.grid), volume_ml)
    write_patient(patient_of(given.b_high, given.adc, given.brain, drawn), kept)
    who = case.case.participant_id
    scans, masks = image_digests(image.values, image.affine), image_digests(lesion, image.affine)
    return (
        Item("patient", who, who, file.sha256, *scans, volume_ml),
        Item("drawn", who, who, mask_file.sha256, *masks, volume_ml),
    )


def lesion_on_grid(share: Float32Array, volume_ml: float) -> Mask:
    """As many voxels of the grid as the lesion fills, the fullest, and at least one: so that no lesion shrinks.

    Voxels that are lesion by more than half would make thin lesions smaller: a sheet of 7 ml by a tenth.

    Parameters
    ----------
    share : (X, Y, Z) float array, of each voxel of the grid that is lesion; 0 without a lesion
    volume_ml : of the lesion as drawn
    """
    if not (share > 0).any():
        return np.zeros(share.shape, bool)
    n = max(1, round(volume_ml * 1000 / STEP_MM**3))
    fullest = np.argsort(-share, axis=None, kind="stable")[:n]  # of voxels that are as full, those that come first
    chosen = np.zeros(share.size, bool)
    chosen[fullest] = True
    return np.asarray(chosen.reshape(share.shape) & (share > 0))
