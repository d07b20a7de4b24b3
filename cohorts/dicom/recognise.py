"""What a series shows, from its attributes: the kinds of scan that a stroke cohort uses, or why it is no such scan.

A *kind* is also the ``modality`` of ``scans.tsv``: ``ncct``, ``cta``, ``ctp`` (4D), the perfusion maps ``cbf``,
``cbv``,
``mtt``, ``ttp``, ``tmax``; ``dwi`` (b >= 800), ``dwi-b0``, ``adc``; ``mr`` is a magnetic resonance volume of no kind
used. ``ct`` is a CT volume whose contrast the attributes leave open: the voxels decide (``contrast``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pydicom

from cohorts.dicom.attributes import text_of
from cohorts.dicom.headers import Frame, Header
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

#: Words of Image Type, Frame Type or a mapping's label -> kind of perfusion map (PS3.3 C.8.15.3.3 and vendors' words).
MAP_WORDS = {
    "RCBF": "cbf", "CBF": "cbf", "RCBV": "cbv", "CBV": "cbv", "MTT": "mtt", "TTP": "ttp", "TMAX": "tmax",
    "T0": "t0", "PERMEABILITY": "permeability", "PENUMBRA": "summary", "MIP_CTP": "summary",
}  # fmt: skip

_LOCALIZER = re.compile(r"\b(LOCALI[SZ]ER|SCOUT|SURVEY|TOPOGRAM|SCANOGRAM|SURVIEW|LOC)\b")
_DOSE = re.compile(r"\b(DOSE|DOSE REPORT|DOSE INFO|PATIENT PROTOCOL|PROTOCOL|PROT|EXAM SUMMARY)\b")
_SCREEN = re.compile(r"\b(SCREEN|SCREENSHOT|SCREEN SAVE|SAVE|REPORT|SUMMARY|RESULT|RESULTS)\b")
_PROJECTION = re.compile(r"\b(MIP|MINIP|VRT|SSD|VOLREN|3D RENDERING|PROJECTION IMAGE)\b")
_MONITORING = re.compile(r"\b(MON|MONITORING|PREMONITORING|BOLUS TRACKING|SMARTPREP|TEST BOLUS|TRACKER)\b")
_CTA = re.compile(r"\b(CTA|ANGIO\w*|CAROTID\w*|WILLIS|ARTERIAL|COW)\b")
_NATIVE = re.compile(r"\b(NCCT|NECT|NON ?CONTRAST|WITHOUT|WO|W/O|NATIVE?|NATIV|PLAIN|UNENHANCED|NATIVO)\b")
_NO_AGENT = re.compile(r"(NO|NONE|WITHOUT|N/?A|0)?")
_ADC = re.compile(r"\b(E?ADC|APPARENT DIFFUSION)\b")
_DIFFUSION = re.compile(r"\b(DWI|DIFF\w*|TRACEW?|ISODWI|EP_B\d+T?|DTI|B ?= ?\d+)\b")
_B_IN_TEXT = re.compile(r"(?:\bB ?=? ?|EP_B)(\d{1,4})(?=T?\b|#)")


@dataclass(frozen=True)
class Recognition:
    """A kind and the attributes that show it; or, with ``refusal``, what it is instead of a usable scan."""

    kind: str
    evidence: str
    refusal: str | None = None
    b_value: float | None = None


def refusal_of(header: Header) -> Recognition | None:
    """Whether one file is no slice of a volume, by its attributes; None where it may be one."""
    dataset = header.dataset
    modality = text_of(dataset, "Modality").upper()
    words = _words(" ".join(header.frames[0].image_type))
    told = _words(text_of(dataset, "SeriesDescription"), text_of(dataset, "ProtocolName"))
    has_place = all(frame.position and frame.orientation and frame.spacing_mm for frame in header.frames)

    def refuse(kind: str, evidence: str, reason: str) -> Recognition:
        return Recognition(kind, evidence, reason)

    if text_of(dataset, "BurnedInAnnotation").upper() == "YES":
        return refuse(modality.lower() or "unknown", "BurnedInAnnotation", "burned_in_annotation")
    if modality == "SR" or (_DOSE.search(words) or (_DOSE.search(told) and not has_place)):
        return refuse("dose page", "Modality" if modality == "SR" else "ImageType", "dose_page")
    if text_of(dataset, "SOPClassUID").startswith(SECONDARY_CAPTURE_UIDS):
        return refuse("secondary capture", "SOPClassUID", "secondary_capture")
    if modality not in IMAGE_MODALITIES:
        return refuse("other modality", "Modality", "unsupported_modality")
    if _LOCALIZER.search(words):
        return refuse("scout", "ImageType", "scout")
    if _PROJECTION.search(words):
        return refuse("projection", "ImageType", "projection_image")
    if (
        int(dataset.get("SamplesPerPixel") or 1) != 1
        or text_of(dataset, "PhotometricInterpretation") == "PALETTE COLOR"
    ):
        return refuse("colour image", "SamplesPerPixel", "colour_image")
    if _SCREEN.search(words) or text_of(dataset, "ConversionType"):
        return refuse("secondary capture", "ImageType", "secondary_capture")
    if not min(header.frames[0].shape):
        return refuse("no image", "Rows", "no_pixels")
    if not has_place:
        kind = "scout" if _LOCALIZER.search(told) else "image without a place"
        return refuse(kind, "ImagePositionPatient", "no_position")
    return None


def recognise(header: Header, frame: Frame, n_frames: int) -> Recognition:
    """Recognise a stack of slices by its attributes.

    Parameters
    ----------
    header, frame : of one of its slices
    n_frames : how many volumes lie at one place
    """
    words = _words(" ".join(frame.image_type), frame.mapping.label if frame.mapping else "")
    found = map_kind(words)
    if found:
        evidence = "ImageType and real-world mapping" if frame.mapping else "ImageType"
        if found not in MAP_MODALITIES:
            return Recognition(found, evidence, "unsupported_map")
        return Recognition(found, evidence)
    if text_of(header.dataset, "Modality").upper() == "MR":
        return _recognise_mr(header.dataset, frame, words)
    return _recognise_ct(header.dataset, words, n_frames)


def map_kind(words: str) -> str | None:
    """The perfusion map that words of Image Type name.

    >>> map_kind("DERIVED PRIMARY PERFUSION RCBF")
    'cbf'
    """
    return next((MAP_WORDS[word] for word in words.split() if word in MAP_WORDS), None)


def stack_kind(header: Header, frame: Frame) -> str:
    """What separates stacks within one series: the map, ADC or b-value of a slice."""
    words = _words(" ".join(frame.image_type), frame.mapping.label if frame.mapping else "")
    if text_of(header.dataset, "Modality").upper() == "MR":
        found = _recognise_mr(header.dataset, frame, words)
        return found.kind if found.b_value is None else f"{found.kind} {found.b_value:g}"
    return map_kind(words) or "ct"


def _recognise_ct(dataset: pydicom.Dataset, words: str, n_frames: int) -> Recognition:
    """CT: dynamic, with contrast, without, or open."""
    told = _words(text_of(dataset, "SeriesDescription"), text_of(dataset, "ProtocolName"))
    if n_frames >= MINIMUM_DYNAMIC_FRAMES:
        return Recognition("ctp", f"{n_frames} volumes at one place")
    if _MONITORING.search(words) or _MONITORING.search(told):
        return Recognition("bolus monitoring", "ImageType", "bolus_monitoring")
    agent = text_of(dataset, "ContrastBolusAgent").strip().upper()
    has_agent = not _NO_AGENT.fullmatch(agent) or bool(dataset.get("ContrastBolusAgentSequence"))
    if has_agent:
        return Recognition("cta", "ContrastBolusAgent")
    if _CTA.search(told):
        return Recognition("cta", "SeriesDescription")
    if _NATIVE.search(told):
        return Recognition("ncct", "SeriesDescription")
    return Recognition("ct", "Modality")


def _recognise_mr(dataset: pydicom.Dataset, frame: Frame, words: str) -> Recognition:
    """MR: ADC, b0, diffusion weighted, or nothing that is used."""
    told = _words(
        text_of(dataset, "SeriesDescription"), text_of(dataset, "ProtocolName"), text_of(dataset, "SequenceName")
    )
    for text, place in ((words, "ImageType"), (told, "SeriesDescription")):
        found = _ADC.search(text)
        if found:
            if found.group().startswith("E"):
                return Recognition("eadc", place, "unsupported_map")
            return Recognition("adc", place)
    is_diffusion = bool(_DIFFUSION.search(words) or _DIFFUSION.search(told))
    b_value, place = frame.b_value, "DiffusionBValue"
    if b_value is None and is_diffusion:
        written = _B_IN_TEXT.search(text_of(dataset, "SequenceName").upper()) or _B_IN_TEXT.search(told)
        b_value, place = (float(written.group(1)) if written else None), "SequenceName"
    if b_value is not None and b_value >= MINIMUM_HIGH_B_VALUE:
        return Recognition("dwi", place, b_value=b_value)
    if not is_diffusion and not b_value:
        return Recognition("mr", "Modality")
    if b_value is None:
        return Recognition("dwi", "SeriesDescription", "b_value_unknown")
    if b_value <= MAXIMUM_B0_VALUE:
        return Recognition("dwi-b0", place, b_value=b_value)
    return Recognition("dwi", place, "b_value_too_low", b_value=b_value)


def _words(*texts: str) -> str:
    """Upper-case words, one space between them; what joins words in descriptions is a space."""
    return re.sub(r"[\s_\\^,;:()\[\]-]+", " ", " ".join(texts).upper()).strip()
