"""A hospital's export with an identity in every place of DICOM that can hold one, each its own: a leak is named."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cohorts.dicom.headers import silent_pydicom
from tests.cohorts.dicom.made import write_ct

#: Attributes by their VR. Of what a scan is recognised by, only texts that leave it the scan that it is.
TEXTS = {
    "AE": ("RetrieveAETitle", "ScheduledStationAETitle"),
    "LO": (
        "PatientID", "IssuerOfPatientID", "OtherPatientIDs", "InstitutionName", "StudyDescription",
        "SeriesDescription", "ProtocolName", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions",
        "PatientAddress", "MedicalRecordLocator", "MilitaryRank", "BranchOfService", "CountryOfResidence",
        "RegionOfResidence", "PatientReligiousPreference", "RequestingService", "AdmissionID", "CurrentPatientLocation",
        "InstitutionalDepartmentName", "ClinicalTrialSubjectID", "ClinicalTrialSponsorName", "DeidentificationMethod",
        "AdmittingDiagnosesDescription", "Allergies", "DetectorID",
    ),
    "LT": ("AdditionalPatientHistory", "PatientComments", "StudyComments", "AcquisitionComments"),
    "PN": (
        "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName",
        "PerformingPhysicianName", "OperatorsName", "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord",
        "RequestingPhysician", "ResponsiblePerson",
    ),
    "SH": (
        "AccessionNumber", "StationName", "StudyID", "ConvolutionKernel", "EthnicGroup", "Occupation",
        "PatientTelephoneNumbers", "PerformedProcedureStepID", "FilterType",
    ),
    "ST": ("InstitutionAddress", "DerivationDescription", "MetadataText"),
    "CS": ("BodyPartExamined", "PatientPosition", "Laterality"),
    "UC": ("LongDeviceDescription", "UniqueDeviceIdentifier"),
    "UT": ("TextValue", "ImageComments"),
    "UR": ("RetrieveURL", "RetrieveURI"),
}  # fmt: skip
NUMBERS = {
    "DS": ("PatientWeight", "PatientSize", "KVP", "ExposureTime", "TableHeight"),
    "IS": ("SeriesNumber", "XRayTubeCurrent", "Exposure"),
    "FD": ("TableSpeed", "CTDIvol", "SpiralPitchFactor"),
    "UL": ("SimpleFrameList",),
}
DATES = ("PatientBirthDate", "SeriesDate", "InstanceCreationDate", "LastMenstrualDate", "AdmittingDate")
UIDS = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "FrameOfReferenceUID",
    "DeviceUID",
    "CreatorVersionUID",
)
PRIVATE = ("SH", "LO", "LT", "UT", "PN", "OB", "UN", "CS", "ST", "AE", "DS")


class Planted:
    """Canaries by the place where they are: texts, numbers, dates and UIDs that occur nowhere else."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def text(self, place: str) -> str:
        """A word."""
        return self.places.setdefault(place, f"QX{len(self.places):03d}ZV")

    def number(self, place: str) -> str:
        """Seven digits."""
        return self.places.setdefault(place, f"77{len(self.places):03d}81")

    def date(self, place: str) -> str:
        """A day of its own."""
        number = len(self.places)
        return self.places.setdefault(place, f"19{31 + number % 60}{1 + number % 9:02d}{10 + number % 18}")

    def uid(self, place: str) -> str:
        """A UID."""
        return self.places.setdefault(place, f"1.2.826.0.1.77{len(self.places):03d}81")

    @property
    def needles(self) -> dict[str, tuple[bytes, ...]]:
        """What to look for of each place: as it was written, and a date with hyphens."""
        found = {}
        for place, canary in self.places.items():
            spellings = [canary]
            if place.endswith("Date"):
                spellings.append(f"{canary[:4]}-{canary[4:6]}-{canary[6:]}")
            found[place] = tuple(text.upper().encode() for text in spellings)
        return found


def write_export(folder: Path) -> tuple[Path, Planted]:
    """Write an export; returns its folder and what was planted where."""
    planted = Planted()
    place = folder / planted.text("folder of the export") / planted.text("folder of the patient")
    write_ct(place, (0, 5, 10, 15))
    for number, path in enumerate(sorted(place.iterdir())):
        dataset = pydicom.dcmread(path)
        with silent_pydicom():
            _plant(dataset, planted)
            if number:
                dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID}.{number}"
            dataset.save_as(path)
        _plant_around(path, planted)
        path.rename(place / f"{planted.text('file name')} {number}")
    for name, change in _refused(planted):
        first = pydicom.dcmread(place / f"{planted.text('file name')} 0")
        with silent_pydicom():
            for keyword, value in change.items():
                setattr(first, keyword, value)
            first.save_as(place / name)
    (place / "notes.txt").write_text(planted.text("text file"))
    (place / "letter.pdf").write_bytes(b"%PDF-1.4 " + planted.text("document beside").encode())
    return place.parent, planted


def _plant(dataset: Dataset, planted: Planted) -> None:
    """Fill every kind of attribute."""
    for vr, keywords in TEXTS.items():
        for keyword in keywords:
            if pydicom.datadict.tag_for_keyword(keyword):
                _set(dataset, keyword, planted.text(f"{vr} {keyword}"))
    for vr, keywords in NUMBERS.items():
        for keyword in keywords:
            value = planted.number(f"{vr} {keyword}")
            _set(dataset, keyword, float(value) if vr in ("FD", "FL") else int(value) if vr == "UL" else value)
    for keyword in DATES:
        _set(dataset, keyword, planted.date(f"DA {keyword} Date"))
    for keyword in UIDS:
        _set(dataset, keyword, planted.uid(f"UI {keyword}"))
    dataset.PatientName = (
        f"{planted.text('PN PatientName')}={planted.text('ideographic name')}={planted.text('phonetic name')}"
    )
    dataset.PatientBirthTime = "031507"
    dataset.AcquisitionDateTime = None
    del dataset.AcquisitionDateTime
    for depth in (1, 3):
        inner = Dataset()
        inner.PatientName = planted.text(f"nested {depth} deep")
        for _ in range(depth - 1):
            outer = Dataset()
            outer.RequestAttributesSequence = Sequence([inner])
            inner = outer
        setattr(dataset, ("RequestAttributesSequence", "OriginalAttributesSequence")[depth == 3], Sequence([inner]))
    code = Dataset()
    code.CodeMeaning = planted.text("code meaning")
    dataset.ProcedureCodeSequence = Sequence([code])
    block = dataset.private_block(0x0019, "QUIXOTE", create=True)
    for offset, vr in enumerate(PRIVATE):
        text = planted.text(f"private {vr}") if vr != "DS" else planted.number("private DS")
        block.add_new(0x20 + offset, vr, text.encode() if vr in ("OB", "UN") else text)
    nested = Dataset()
    nested.PatientID = planted.text("private sequence")
    block.add_new(0x60, "SQ", Sequence([nested]))
    dataset.private_block(0x0029, planted.text("private creator"), create=True).add_new(0x10, "LO", "x")
    _plant_pictures(dataset, planted)


def _plant_pictures(dataset: Dataset, planted: Planted) -> None:
    """Overlays, curves, icons, documents, and what stands behind the pixels."""
    bits = planted.text("overlay data").encode().ljust(60, b"\0")
    for element, vr, value in (
        (0x0010, "US", 20), (0x0011, "US", 24), (0x0022, "LO", planted.text("overlay description")),
        (0x0040, "CS", "G"),
        (0x0050, "SS", [1, 1]), (0x0100, "US", 1), (0x0102, "US", 0), (0x1500, "LO", planted.text("overlay label")),
        (0x3000, "OW", bits),
    ):  # fmt: skip
        dataset.add_new((0x6000, element), vr, value)
    dataset.add_new((0x5000, 0x0022), "LO", planted.text("curve description"))
    dataset.add_new((0x5000, 0x3000), "OB", planted.text("curve data").encode().ljust(8, b"\0"))
    icon = Dataset()
    icon.Rows = icon.Columns = icon.BitsAllocated = icon.BitsStored = 8
    icon.PixelData = planted.text("icon").encode().ljust(64, b"\0")
    dataset.IconImageSequence = Sequence([icon])
    dataset.EncapsulatedDocument = planted.text("embedded document").encode().ljust(8, b"\0")
    dataset.add_new((0x0014, 0x2016), "OD", struct.pack("<d", float(planted.number("OD"))))
    dataset.add_new((0xFFFC, 0xFFFC), "OB", planted.text("trailing padding").encode().ljust(8, b"\0"))
    dataset.file_meta.SourceApplicationEntityTitle = planted.text("file meta title")
    dataset.file_meta.ImplementationVersionName = planted.text("file meta version")
    dataset.file_meta.PrivateInformationCreatorUID = planted.uid("file meta creator")
    dataset.file_meta.PrivateInformation = planted.text("file meta private").encode().ljust(8, b"\0")


def _plant_around(path: Path, planted: Planted) -> None:
    """Into the preamble, and behind the end of the file."""
    content = path.read_bytes()
    path.write_bytes(planted.text("preamble").encode().ljust(128, b"\0") + content[128:])


def _refused(planted: Planted) -> Iterator[tuple[str, dict[str, object]]]:
    """Files that end in each way other than a scan, their header in reach of every message."""
    for number, change in enumerate(
        (
            {"BurnedInAnnotation": "YES"},
            {"Modality": planted.text("CS Modality")},
            {"Modality": "SR"},
            {"Modality": "CT", "ImageType": ["DERIVED", planted.text("CS ImageType"), "MIP"]},
            {"SOPClassUID": planted.uid("UI SOPClassUID")},
            {
                "RescaleSlope": None,
                "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
                "RescaleType": planted.text("LO RescaleType"),
            },
            {"Rows": 0},
        )
    ):
        yield (
            f"refused {number}",
            change | {"SeriesInstanceUID": f"1.2.3.{number}", "SOPInstanceUID": f"1.2.3.{number}.1"},
        )


def _set(dataset: Dataset, keyword: str, value: object) -> None:
    with silent_pydicom():
        setattr(dataset, keyword, value)
