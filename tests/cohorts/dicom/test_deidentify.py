"""Pseudonyms, dates and the allow-list."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from cohorts.dicom.deidentify import Pseudonymiser, allowed_attributes, identity_of


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
    }
