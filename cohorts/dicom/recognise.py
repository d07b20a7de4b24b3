"""What a series shows, from its attributes: the kinds of scan that a stroke cohort uses, or why it is no such scan.

A *kind* is also the ``modality`` of ``scans.tsv``: ``ncct``, ``cta``, ``ctp`` (4D), the perfusion maps ``cbf``,
``cbv``, ``mtt``, ``ttp``, ``tmax``; ``dwi`` (b >= 800), ``dwi-b0``, ``adc``; ``mr`` is a magnetic resonance volume of
no kind used. ``ct`` is a CT volume whose contrast the attributes leave open: the voxels decide (``contrast``).

What the attributes say beyond the kind stands in ``unfit`` (it is no such scan for measuring, however well it looks: a
reformat, a bone kernel, a late phase) and ``doubts`` (it may be none).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pydicom

from cohorts.dicom import vocabulary
from cohorts.dicom.attributes import text_of
from cohorts.dicom.contrast import ContrastEvidence
from cohorts.dicom.headers import Frame, Header
from cohorts.dicom.kernels import kernel_in, kernel_sharpness, sharpness_told
from cohorts.dicom.mosaic import is_mosaic
from cohorts.dicom.vocabulary import contrast_told, words
from tasks.modality import MAP_MODALITIES

#: PS3.3 A.8 and PS3.6: classes that hold captured screens.
SECONDARY_CAPTURE_UIDS = "1.2.840.10008.5.1.4.1.1.7"
IMAGE_MODALITIES = ("CT", "MR")
#: b-values from which a volume is diffusion weighted enough to show acute ischaemia (issue: b >= 800), s/mm2.
MINIMUM_HIGH_B_VALUE = 800.0
#: Below this a volume counts as unweighted: vendors write 0, 5 or 50 for b0.
MAXIMUM_B0_VALUE = 50.0
#: From this many volumes at one place a CT series is dynamic: multiphase CTA has at most three, CT perfusion 15 or
#: more.
MINIMUM_DYNAMIC_FRAMES = 8
#: Component of the normal along the body from which a CT slice is axial: gantries tilt by 30 degrees, heads by 15 more.
LEAST_AXIAL_COSINE = 0.7

#: Words of Image Type, Frame Type, description or a mapping's label -> kind of perfusion map (PS3.3 C.8.15.3.3 and
#: vendors' words).
MAP_WORDS = {
    **{word: kind for kind in ("cbf", "cbv", "mtt", "ttp") for word in (kind.upper(), f"R{kind.upper()}")},
    "TMAX": "tmax", "T0": "t0", "TTD": "ttd", "TTS": "tts", "PERMEABILITY": "permeability", "PENUMBRA": "summary",
    "MIP_CTP": "summary",
}  # fmt: skip

_DOSE = re.compile(r"\b(DOSE|DOSE REPORT|DOSE INFO|PATIENT PROTOCOL|PROTOCOL|PROT|EXAM SUMMARY)\b")
_SCREEN = re.compile(r"\b(SCREEN|SCREENSHOT|SCREEN SAVE|SAVE|REPORT|SUMMARY|RESULT|RESULTS)\b")
_PROJECTION_TYPE = re.compile(r"\b(MIP|MINIP|VRT|SSD|VOLREN|3D RENDERING|PROJECTION IMAGE)\b")
_NO_AGENT = re.compile(r"(NO|NONE|NEIN|NON|WITHOUT|NATIV\w*|NEGATIVE|UNKNOWN|N/?A|0|OFF|FALSE)?")
_ADC = re.compile(r"\b(E?ADC|APPARENT DIFFUSION)\b")
_DIFFUSION = re.compile(r"\b(DWI|DIFF\w*|TRACEW?|ISODWI|EP B\d+T?|DTI|B ?= ?\d+)\b")
_B_IN_TEXT = re.compile(r"(?:\bB ?=? ?|\bEP B)(\d{1,4})(?=T?\b|#|S/)")
_CALCULATED_B = re.compile(r"\b(CALC\w*|SYN\w*|COMPUTED) ?(B|BVALUE|DWI)")


@dataclass(frozen=True)
class Recognition:
    """A kind and the attributes that show it; or, with ``refusal``, what it is instead of a usable scan.

    Attributes
    ----------
    kind, evidence : see above
    refusal : why it becomes no volume
    b_value : s/mm2
    unfit : why it never stands for its kind, however few others there are
    doubts : why it stands for it only where no other does
    contrast : what the attributes of a CT say of contrast agent, for the voxels to be weighed with
    """

    kind: str
    evidence: str
    refusal: str | None = None
    b_value: float | None = None
    unfit: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    contrast: ContrastEvidence | None = None


def refusal_of(header: Header) -> Recognition | None:
    """Whether one file is no slice of a volume, by its attributes; None where it may be one."""
    dataset = header.dataset
    modality = text_of(dataset, "Modality").upper()
    kinds = words(*header.frames[0].image_type)
    told = words(text_of(dataset, "SeriesDescription"))
    has_place = all(frame.position and frame.orientation and frame.spacing_mm for frame in header.frames)

    def refuse(kind: str, evidence: str, reason: str) -> Recognition:
        return Recognition(kind, evidence, reason)

    if text_of(dataset, "BurnedInAnnotation").upper() == "YES":
        return refuse(modality.lower() or "unknown", "BurnedInAnnotation", "burned_in_annotation")
    if modality == "SR" or (_DOSE.search(kinds) or (_DOSE.search(told) and not has_place)):
        return refuse("dose page", "Modality" if modality == "SR" else "ImageType", "dose_page")
    if text_of(dataset, "SOPClassUID").startswith(SECONDARY_CAPTURE_UIDS):
        return refuse("secondary capture", "SOPClassUID", "secondary_capture")
    if modality not in IMAGE_MODALITIES:
        return refuse("other modality", "Modality", "unsupported_modality")
    if vocabulary.LOCALIZER.search(kinds):
        return refuse("scout", "ImageType", "scout")
    if _PROJECTION_TYPE.search(kinds):
        return refuse("projection", "ImageType", "projection_image")
    if (
        int(dataset.get("SamplesPerPixel") or 1) != 1
        or text_of(dataset, "PhotometricInterpretation") == "PALETTE COLOR"
    ):
        return refuse("colour image", "SamplesPerPixel", "colour_image")
    if _SCREEN.search(kinds) or text_of(dataset, "ConversionType"):
        return refuse("secondary capture", "ImageType", "secondary_capture")
    if not min(header.frames[0].shape):
        return refuse("no image", "Rows", "no_pixels")
    if not has_place:
        kind = "scout" if vocabulary.LOCALIZER.search(told) else "image without a place"
        return refuse(kind, "ImagePositionPatient", "no_position")
    if vocabulary.LOCALIZER.search(told):
        return refuse("scout", "SeriesDescription", "scout")
    if is_mosaic(dataset) and not header.frames[0].tiles_per_side:
        return refuse("mosaic", "ImageType", "mosaic_undescribed")
    return None


def recognise(header: Header, frame: Frame, n_frames: int) -> Recognition:
    """Recognise a stack of slices by its attributes.

    Parameters
    ----------
    header, frame : of one of its slices
    n_frames : how many volumes lie at one place
    """
    kinds = words(*frame.image_type, frame.mapping.label if frame.mapping else "")
    told = words(text_of(header.dataset, "SeriesDescription"))
    place = "ImageType and real-world mapping" if frame.mapping else "ImageType"
    found = map_kind(kinds)
    if not found and n_frames < MINIMUM_DYNAMIC_FRAMES:
        found, place = map_kind(told), "SeriesDescription"
    if found:
        return Recognition(found, place, None if found in MAP_MODALITIES else "unsupported_map")
    if text_of(header.dataset, "Modality").upper() == "MR":
        return _recognise_mr(header.dataset, frame, kinds)
    return _recognise_ct(header.dataset, frame, kinds, n_frames)


def map_kind(text: str) -> str | None:
    """The perfusion map that words name.

    >>> map_kind("DERIVED PRIMARY PERFUSION RCBF")
    'cbf'
    """
    return next((MAP_WORDS[word] for word in text.split() if word in MAP_WORDS), None)


def stack_kind(header: Header, frame: Frame) -> str:
    """What separates stacks within one series: the map, ADC or b-value of a slice."""
    kinds = words(*frame.image_type, frame.mapping.label if frame.mapping else "")
    if text_of(header.dataset, "Modality").upper() == "MR":
        found = _recognise_mr(header.dataset, frame, kinds)
        return found.kind if found.b_value is None else f"{found.kind} {found.b_value:g}"
    return map_kind(kinds) or "ct"


def says_perfusion(dataset: pydicom.Dataset) -> bool:
    """Whether a series calls itself perfusion."""
    return bool(vocabulary.PERFUSION.search(words(text_of(dataset, "SeriesDescription"))))


def _recognise_ct(dataset: pydicom.Dataset, frame: Frame, kinds: str, n_frames: int) -> Recognition:
    """CT: dynamic, with contrast, without, or open; and what else its attributes say."""
    told, protocol = words(text_of(dataset, "SeriesDescription")), words(text_of(dataset, "ProtocolName"))
    unfit, doubts = _fitness(dataset, frame, kinds, told)
    found = Recognition("ct", "Modality", unfit=unfit, doubts=doubts)
    if n_frames >= MINIMUM_DYNAMIC_FRAMES:
        return replace(found, kind="ctp", evidence=f"{n_frames} volumes at one place")
    if vocabulary.MONITORING.search(kinds) or vocabulary.MONITORING.search(told):
        return replace(found, kind="bolus monitoring", evidence="ImageType", refusal="bolus_monitoring")
    if says_perfusion(dataset) and not unfit:
        return replace(found, kind="ctp", evidence="SeriesDescription", refusal="perfusion_in_parts")
    if vocabulary.PERFUSION.search(protocol) and contrast_told(told) is None:
        found = replace(found, doubts=(*doubts, "protocol_says_perfusion"))
    agent = text_of(dataset, "ContrastBolusAgent").strip().upper()
    has_agent = not _NO_AGENT.fullmatch(agent) or bool(dataset.get("ContrastBolusAgentSequence"))
    is_silent = not agent and not has_agent
    evidence = ContrastEvidence(contrast_told(told), contrast_told(protocol), None if is_silent else has_agent)
    kind, _, place = evidence.weighed(None)
    return replace(found, kind="ct" if evidence.is_silent else kind, evidence=place, contrast=evidence)


def _fitness(dataset: pydicom.Dataset, frame: Frame, kinds: str, told: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Why a CT series can never stand for its kind, and why it may not be of it."""
    kernel = text_of(dataset, "ConvolutionKernel")
    sharpness = kernel_sharpness(kernel or kernel_in(told), text_of(dataset, "Manufacturer"))
    described = sharpness_told(told)
    body = words(text_of(dataset, "BodyPartExamined"))
    has_head = bool(vocabulary.HEAD_WORDS.search(told))
    said = None if vocabulary.PERFUSION.search(told) else contrast_told(told)
    normal = np.cross(*np.reshape(frame.orientation or (0.0,) * 6, (2, 3)))
    unfit = {
        "projection_image": vocabulary.PROJECTION.search(told),
        "reformatted": vocabulary.REFORMATTED.search(f"{kinds} {told}"),
        "computed_image": vocabulary.COMPUTED.search(f"{kinds} {told}"),
        "dual_energy_image": vocabulary.DUAL_ENERGY.search(f"{kinds} {told}"),
        "sharp_kernel": sharpness == "sharp" or (described == "sharp" and sharpness == "unknown"),
        "late_phase": said == "late",
        "enhanced_not_angiography": said == "enhanced",
        "not_axial": abs(float(normal[2])) < LEAST_AXIAL_COSINE,
        "other_body_part": vocabulary.OTHER_BODY.search(told) and not has_head,
    }
    doubts = {
        "kernel_evidence_disagrees": {sharpness, described} == {"soft", "sharp"} and not unfit["sharp_kernel"],
        "one_of_two_energies": vocabulary.ONE_ENERGY.search(told),
        "other_body_part": vocabulary.OTHER_BODY.search(body) and not has_head,
    }
    return tuple(name for name, is_so in unfit.items() if is_so), tuple(name for name, is_so in doubts.items() if is_so)


def _recognise_mr(dataset: pydicom.Dataset, frame: Frame, kinds: str) -> Recognition:
    """MR: ADC, b0, diffusion weighted, or nothing that is used."""
    told = words(
        text_of(dataset, "SeriesDescription"), text_of(dataset, "ProtocolName"), text_of(dataset, "SequenceName")
    )
    for text, place in ((kinds, "ImageType"), (told, "SeriesDescription")):
        found = _ADC.search(text)
        if found:
            if found.group().startswith("E"):
                return Recognition("eadc", place, "unsupported_map")
            return Recognition("adc", place)
    is_diffusion = bool(_DIFFUSION.search(kinds) or _DIFFUSION.search(told))
    doubts = ("calculated_b_value",) if _CALCULATED_B.search(f"{kinds} {told}") else ()
    b_value, place = frame.b_value, "DiffusionBValue"
    if b_value is None and is_diffusion:
        written = _B_IN_TEXT.search(words(text_of(dataset, "SequenceName"))) or _B_IN_TEXT.search(told)
        b_value, place = (float(written.group(1)) if written else None), "SequenceName"
    if not is_diffusion and not b_value:
        return Recognition("mr", "Modality")
    if b_value is None:
        return Recognition("dwi", "SeriesDescription", "b_value_unknown")
    return replace(by_b_value(b_value, place), doubts=doubts)


def by_b_value(b_value: float, evidence: str) -> Recognition:
    """Diffusion MR by its b-value, s/mm2.

    >>> by_b_value(0, "DiffusionBValue").kind, by_b_value(500, "DiffusionBValue").refusal
    ('dwi-b0', 'b_value_too_low')
    """
    if b_value <= MAXIMUM_B0_VALUE:
        return Recognition("dwi-b0", evidence, b_value=b_value)
    is_high = b_value >= MINIMUM_HIGH_B_VALUE
    return Recognition("dwi", evidence, None if is_high else "b_value_too_low", b_value=b_value)
