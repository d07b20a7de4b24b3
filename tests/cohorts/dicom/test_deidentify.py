"""Pseudonyms, dates and the allow-list."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from cohorts.dicom.deidentify import Pseudonymiser, allowed_attributes, identity_of
from cohorts.dicom.terms import kernel_of, model_of, position_of


def _dataset(**attributes):
    dataset = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def test_pseudonyms_depend_on_key_and_patient_alone():
    first, second = Pseudonymiser(b"1" * 32), Pseudonymiser(b"2" * 32)
    assert first.participant_id("a") == Pseudonymiser(b"1" * 32).participant_id("a")
    names = {key.participant_id(patient) for key in (first, second) for patient in ("a", "b")}
    assert len(names) == 4
    assert all(name.startswith("sub-") and len(name) == 16 and name[4:].isalnum() for name in names)
    assert first.series_id("a") not in first.participant_id("a")
    assert "1111" not in repr(first)


def test_dates_shift_by_a_constant_per_patient_so_that_intervals_survive():
    key = Pseudonymiser(b"k" * 32)
    onset, scan = datetime(2024, 3, 2, 9, 30), datetime(2024, 3, 3, 1, 15, 20)
    moved = [datetime.fromisoformat(key.shifted(moment, "a")) for moment in (onset, scan)]
    assert moved[1] - moved[0] == scan - onset
    assert timedelta(days=1) <= onset - moved[0] <= timedelta(days=3652)
    assert len({key.shift(f"patient {number}") for number in range(50)}) > 45
    assert key.shifted(None, "a") is None


def test_who_is_one_patient():
    assert identity_of(_dataset(PatientID=" 17 ")) == identity_of(_dataset(PatientID="17", PatientName="X"))
    assert identity_of(_dataset(PatientID="17", IssuerOfPatientID="N")) != identity_of(_dataset(PatientID="17"))
    assert identity_of(_dataset(PatientName="a^b")) == identity_of(_dataset(PatientName="A^B"))
    assert identity_of(_dataset(PatientName="A", PatientBirthDate="19500101")) != identity_of(_dataset(PatientName="A"))
    assert identity_of(_dataset(PatientName="Anonymous", StudyInstanceUID="1.2")) == identity_of(
        _dataset(StudyInstanceUID="1.2")
    )
    assert identity_of(_dataset(StudyInstanceUID="1.2")) != identity_of(_dataset(StudyInstanceUID="1.3"))


def test_only_allowed_attributes_pass_and_none_that_holds_the_patient():
    dataset = _dataset(
        PatientName="QUIXOTE^ALONSO",
        PatientID="MRN7781234",
        Manufacturer="SIEMENS Healthineers of Dr Panza",
        ManufacturerModelName="SOMATOM Alonso",
        ConvolutionKernel="H31s",
        Modality="CT",
        KVP="120",
        EchoTime="88",
        InstitutionName="La Mancha General",
        SeriesDescription="head of Quixote",
        PatientAge="050Y",
    )
    assert allowed_attributes(dataset) == {
        "KVP": 120.0,
        "EchoTime": 0.088,
        "Modality": "CT",
        "ConvolutionKernel": "H31s",
        "Manufacturer": "SIEMENS",
        "ManufacturersModelName": "SOMATOM",
    }


def test_free_text_and_numbers_of_patients_pass_nowhere():
    told = {
        "Modality": ("CT Quixote", "US"),
        "ManufacturerModelName": ("Dulcinea", "4711007", "Rocinante 64", "John Doe CT"),
        "ConvolutionKernel": ("Dulcinea", "H31s Dulcinea", "4711007", "LI", "H31s A B C", "B12345", "Doe"),
        "PatientPosition": ("HFS Dulcinea", "DOE", "hfs", "4711007"),
        "KVP": ("4711007", "-1", "1e400"),
        "SliceThickness": ("4711007",),
        "EchoTime": ("19470316",),
        "MagneticFieldStrength": ("4711",),
    }
    for keyword, values in told.items():
        for value in values:
            found = allowed_attributes(_dataset(**{keyword: value}))
            assert found in ({"Manufacturer": "other"}, {"Manufacturer": "other", "ManufacturersModelName": "CT"})


def test_kernels_models_and_positions_of_all_vendors_pass():
    for text in (
        "H31s",
        "J30s\\3",
        "Hr40f",
        "Br36d",
        "Qr40",
        "I30f",
        "STANDARD",
        "BONEPLUS",
        "SOFT",
        "FC08",
        "FC21-H",
        "UB",
    ):
        assert kernel_of(text) == text.replace("\\", " ")
    for text in (
        "SOMATOM Force", "Sensation 64", "Emotion 16 (2010)", "LightSpeed VCT", "Discovery CT750 HD", "Revolution CT",
        "Optima CT660", "Brilliance 64", "iCT 256", "Ingenuity CT", "Aquilion ONE", "MAGNETOM Skyra", "TrioTim",
        "Signa HDxt", "DISCOVERY MR750w", "Achieva dStream", "Ingenia 3.0T", "uCT 760", "NeuViz 16",
    ):  # fmt: skip
        assert model_of(text) == text
    assert position_of("HFS") == "HFS"
