"""A lesion that was drawn on a scan by somebody else, counted in every label map on the grid of that scan."""

from __future__ import annotations

from cohorts.folder.source import OnScanSource
from cohorts.images.mask import LesionMask
from cohorts.store.findings import Findings
from flows.cases.case import CaseFile, OpenCase, Outcome, excluded
from flows.cases.drawn_on_scan import lesion_on, outside_of_brain
from flows.cases.found_lesion import found_lesion
from flows.cases.native_scan import begun, drawn, prepared, refused


def measured_mask(
    case: OpenCase, mask: LesionMask, name: str, file: CaseFile, source: OnScanSource, known: Findings
) -> Outcome:
    """Count a mask on its scan.

    Parameters
    ----------
    case : OpenCase
    mask : as read
    name : of its file, for messages
    file : the scan
    source : says how the scan is read and registered
    known : what was found before; its parts join those of the scan

    Raises
    ------
    ImageProblemError
        The scan cannot be used, or the mask has other voxels.
    """
    lesion = lesion_on(case.image(file, source.image_kind, source.forms), mask, name, file.name)
    scan = prepared(case, file, source.image_kind, source.forms, source.registration)
    findings, files = begun(case, scan, type(known), file.modality)
    findings = findings.adding(**{part: getattr(known, part) for part in known.model_fields_set})
    if not scan.registration.is_usable:
        return refused(case, scan, findings, files)
    if detail := outside_of_brain(lesion, scan, file.name):
        files |= drawn(case, scan, lesion)
        return excluded(case.case, "lesion_outside_scan", detail, findings, files)
    return found_lesion(case, scan, lesion, findings, files)
