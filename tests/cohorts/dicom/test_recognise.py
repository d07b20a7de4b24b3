"""What a series is, from the words and attributes that scanners and people write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from cohorts.dicom.contrast import ContrastEvidence, has_contrast, head_voxels
from cohorts.dicom.headers import Header, _frames
from cohorts.dicom.kernels import kernel_sharpness
from cohorts.dicom.recognise import recognise, refusal_of
from cohorts.dicom.vocabulary import contrast_told, words


def _header(**attributes):
    dataset = Dataset()
    usual = {
        "Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "Rows": 8, "Columns": 8,
        "ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1],
    }  # fmt: skip
    for name, value in (usual | attributes).items():
        setattr(dataset, name, value)
    return Header(Path("x"), dataset, _frames(Path("x"), dataset))


def _recognised(n_frames=1, **attributes):
    header = _header(**attributes)
    return recognise(header, header.frames[0], n_frames)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Head native 5.0 H31s", "native"), ("CCT nativ", "native"), ("Schädel nativ 4.0", "native"),
        ("TDM cérébrale sans injection", "native"), ("TC cráneo sin contraste", "native"),
        ("Tc encefalo senza mdc", "native"),
        ("CT hjerne uten kontrast", "native"), ("Blanco schedel", "native"), ("HEAD C- 5mm", "native"),
        ("Head w/o", "native"), ("NON-CON HEAD", "native"), ("头颅平扫", "native"), ("Unenhanced", "native"),
        ("CTA_Head 0.75", "arterial"), ("CTAHead", "arterial"), ("Angio TSA", "arterial"), ("Carotis", "arterial"),
        ("CTA without bone", "arterial"), ("Angio ohne Knochen", "arterial"),
        ("CTA delayed", "late"), ("CTA Phase 2", "late"), ("venöse Phase", "late"), ("CTV", "late"),
        ("3rd phase", "late"),
        ("Head post contrast", "enhanced"), ("Schädel mit KM", "enhanced"), ("Head C+", "enhanced"),
        ("Crâne +C", "enhanced"), ("CT head with contrast", "enhanced"),
        ("Head 5.0", None), ("CT HEAD WITHOUT CONTRAST AND CTA", None), ("Head and C spine", None), ("", None),
    ],
)  # fmt: skip
def test_what_descriptions_say_of_contrast_in_the_languages_of_stroke_centres(text, told):
    assert contrast_told(words(text)) == told


@pytest.mark.parametrize(
    ("kernel", "manufacturer", "sharpness"),
    [
        ("H31s", "SIEMENS", "soft"), ("J40s\\2", "SIEMENS", "soft"), ("Hr38f 3", "Siemens Healthineers", "soft"),
        ("Hc40", "", "soft"), ("H50s", "SIEMENS", "unknown"), ("H60s", "SIEMENS", "sharp"),
        ("Br64 2", "SIEMENS", "sharp"),
        ("Bl57f", "SIEMENS", "sharp"), ("U75u", "SIEMENS", "sharp"), ("STANDARD", "GE MEDICAL SYSTEMS", "soft"),
        ("SOFT", "GE", "soft"), ("BONEPLUS", "GE", "sharp"), ("EDGE", "GE", "sharp"), ("LUNG", "GE", "sharp"),
        ("DETAIL", "GE", "unknown"), ("UB", "Philips", "soft"), ("EC", "Philips", "soft"), ("YD", "Philips", "sharp"),
        ("L", "Philips", "sharp"), ("D", "Philips", "sharp"), ("FC26", "TOSHIBA", "soft"), ("FC68", "CANON", "soft"),
        ("FC30", "TOSHIBA", "sharp"), ("FC52", "CANON", "sharp"), ("FC81", "CANON", "sharp"),
        ("H_SOFT_B", "UIH", "soft"),
        ("B_VSHARP_C", "UIH", "sharp"), ("", "", "unknown"), ("12", "HITACHI", "unknown"), ("C", "GE", "unknown"),
    ],
)  # fmt: skip
def test_kernels_of_every_vendor(kernel, manufacturer, sharpness):
    assert kernel_sharpness(kernel, manufacturer) == sharpness


@pytest.mark.parametrize(
    ("attributes", "unfit"),
    [
        ({"SeriesDescription": "Head MIP thin"}, "projection_image"),
        ({"SeriesDescription": "VRT Kopf"}, "projection_image"),
        ({"SeriesDescription": "MPR axial 5.0"}, "reformatted"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]}, "reformatted"),
        ({"SeriesDescription": "Head native cor"}, "reformatted"),
        ({"SeriesDescription": "Subtraction"}, "computed_image"),
        ({"SeriesDescription": "CTP Average"}, "computed_image"),
        ({"SeriesDescription": "Bone Removal"}, "computed_image"),
        ({"SeriesDescription": "Head VNC 1.5"}, "dual_energy_image"),
        ({"SeriesDescription": "Virtual Non Contrast"}, "dual_energy_image"),
        ({"SeriesDescription": "MonoE 40 keV"}, "dual_energy_image"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VMI"]}, "dual_energy_image"),
        ({"SeriesDescription": "Iodine map"}, "dual_energy_image"),
        ({"SeriesDescription": "Head 2.0", "ConvolutionKernel": "H60s"}, "sharp_kernel"),
        ({"SeriesDescription": "Head 2.0 H60s bone"}, "sharp_kernel"),
        ({"SeriesDescription": "Knochen 1.0"}, "sharp_kernel"),
        ({"SeriesDescription": "CTA delayed 8 s"}, "late_phase"),
        ({"SeriesDescription": "Head post contrast"}, "enhanced_not_angiography"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "not_axial"),
        ({"SeriesDescription": "Thorax 5.0"}, "other_body_part"),
    ],
)
def test_what_never_stands_for_a_scan(attributes, unfit):
    found = _recognised(**attributes)
    assert unfit in found.unfit
    assert found.refusal is None  # converted all the same: a rule of the site may say otherwise


@pytest.mark.parametrize(
    "attributes",
    [
        {"SeriesDescription": "Head native 5.0", "ConvolutionKernel": "H31s"},
        {"SeriesDescription": "CCT ohne KM", "ImageType": ["DERIVED", "PRIMARY", "AXIAL"]},
        {"SeriesDescription": "Thick brain", "ConvolutionKernel": "UB", "Manufacturer": "Philips"},
        {"SeriesDescription": "HEAD AND CSPINE head 5mm"},
        {"SeriesDescription": "DE_Head mixed 0.5 F"},
        {"ImageOrientationPatient": [1, 0, 0, 0, 0.87, -0.5]},  # a gantry tilted by 30 degrees
        {},
    ],
)
def test_plain_scans_have_nothing_against_them(attributes):
    found = _recognised(**attributes)
    assert (found.unfit, found.doubts, found.refusal) == ((), (), None)


@pytest.mark.parametrize(
    "text",
    [
        "Brain Perfusion 4D CTP", "Hirnperfusion", "Perfusie schedel", "Perfusão cerebral", "Perfuze mozku", "Perfuzja",
        "перфузия", "脑灌注", "PERFUSIONE", "VPCT", "DynMulti4D", "Perfüzyon", "Volume Shuttle",
    ],
)  # fmt: skip
def test_one_volume_of_a_perfusion_scan_is_no_plain_scan(text):
    found = _recognised(SeriesDescription=text)
    assert (found.kind, found.refusal) == ("ctp", "perfusion_in_parts")
    whole = _recognised(20, SeriesDescription=text)
    assert (whole.kind, whole.refusal, whole.unfit) == ("ctp", None, ())


def test_a_map_named_in_its_description_alone_is_no_plain_scan():
    assert _recognised(SeriesDescription="CBF").kind == "cbf"
    assert _recognised(SeriesDescription="TTD map").refusal == "unsupported_map"
    assert _recognised(20, SeriesDescription="CBF CBV MTT").kind == "ctp"


def test_a_scout_named_in_its_description_alone_is_refused():
    found = refusal_of(_header(SeriesDescription="Topogram 0.6"))
    assert found is not None
    assert found.refusal == "scout"
    assert refusal_of(_header(ProtocolName="Head with topogram")) is None


def test_the_name_of_the_protocol_is_that_of_the_whole_examination():
    """A protocol "Stroke CTA" also takes the plain scan; voxels decide where only it speaks."""
    found = _recognised(SeriesDescription="Head 5.0", ProtocolName="Stroke CTA")
    assert found.contrast == ContrastEvidence(None, "arterial", None)
    assert found.contrast.weighed(False) == ("ncct", (), "voxels")
    assert _recognised(SeriesDescription="native", ProtocolName="CTA").kind == "ncct"


@pytest.mark.parametrize(
    ("evidence", "is_seen", "kind", "is_doubtful"),
    [
        (ContrastEvidence("native", agent=True), False, "ncct", False),  # the protocol fills the attribute
        (ContrastEvidence("native", agent=True), None, "ncct", True),
        (ContrastEvidence("native"), True, "ncct", True),
        (ContrastEvidence("arterial"), True, "cta", False),
        (ContrastEvidence("arterial", agent=False), True, "cta", False),
        (ContrastEvidence("arterial"), False, "cta", True),  # no bolus came
        (ContrastEvidence(agent=True), False, "ncct", True),
        (ContrastEvidence(agent=True), True, "cta", False),
        (ContrastEvidence(agent=False), True, "cta", True),
        (ContrastEvidence(), False, "ncct", False),
        (ContrastEvidence(), None, "ncct", True),
    ],
)
def test_evidence_is_weighed_and_contradictions_are_doubts(evidence, is_seen, kind, is_doubtful):
    found, doubts, _ = evidence.weighed(is_seen)
    assert (found, bool(doubts)) == (kind, is_doubtful)


def _head(noise_hu, vessel_hu=35.0):
    rng = np.random.default_rng(5)
    x, y = np.indices((97, 90)) - 45.0
    radius = np.hypot(x, y)
    values = np.where(radius < 44, 35.0, -1000.0)
    values[(radius >= 38) & (radius < 44)] = 1100
    for row, column in ((-8, -8), (-8, 8), (12, 0)):
        values[np.hypot(x - row, y - column) < 2.5] = vessel_hu
    stack = np.repeat(values[..., None], 5, axis=2)
    return (stack + rng.normal(0, noise_hu, stack.shape)).astype(np.float32)


def test_noise_of_a_sharp_kernel_is_no_contrast_agent():
    spacing = (1.8, 1.8, 5.0)
    assert has_contrast(head_voxels(_head(4), spacing).vessel_share) is False
    assert has_contrast(head_voxels(_head(4, 260), spacing).vessel_share) is True
    sharp = head_voxels(_head(60), spacing)
    assert (sharp.vessel_share, sharp.is_noisy) == (None, True)
    assert sharp.noise_hu == pytest.approx(60, rel=0.1)
    assert head_voxels(_head(4)[:20], spacing) is None
    fine = np.repeat(np.repeat(_head(4, 260), 3, axis=0), 3, axis=1)
    fine += np.random.default_rng(6).normal(0, 30, fine.shape).astype(np.float32)
    assert (
        has_contrast(head_voxels(fine, (0.6, 0.6, 5.0)).vessel_share) is True
    )  # thin slices: averaged to the working grid
