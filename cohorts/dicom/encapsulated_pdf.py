"""A PDF in a DICOM object, in the study of a scan: how a patient's page comes into a PACS."""

from __future__ import annotations

from highdicom.base import SOPClass
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from cohorts.dicom.codes import MANUFACTURER, derived_uid
from cohorts.dicom.results import ScanResults, settle
from cohorts.dicom.segmentation import FIRST_SERIES_NUMBER

SERIES_NUMBER = FIRST_SERIES_NUMBER + 99


def encapsulated_pdf(results: ScanResults, pdf: bytes, title: str, digest: str) -> SOPClass:
    """Wrap a PDF.

    Parameters
    ----------
    results : of the scan whose patient and study it belongs to
    pdf : the document
    title : as viewers list it
    digest : of what the document shows; the same digest is the same object
    """
    first = results.original.slices[0]
    uid = results.uid("pdf", digest)
    document = SOPClass(
        study_instance_uid=first.StudyInstanceUID,
        series_instance_uid=derived_uid(uid, "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid,
        sop_class_uid=EncapsulatedPDFStorage,
        instance_number=1,
        modality="DOC",
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=results.version,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id=first.PatientID,
        patient_name=first.PatientName,
        patient_birth_date=first.PatientBirthDate,
        patient_sex=first.PatientSex,
        accession_number=first.AccessionNumber,
        study_id=first.StudyID,
        study_date=first.StudyDate,
        study_time=first.StudyTime,
        referring_physician_name=first.ReferringPhysicianName,
        series_description="ASPECTS, patient's page. Research use only",
        specific_character_set=first.SpecificCharacterSet,
        content_date=results.found_at.date(),
        content_time=results.found_at.time(),
    )
    document.copy_patient_and_study_information(first)
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = ""
    document.BurnedInAnnotation = "YES"  # it shows the study's pseudonym: whoever anonymises this PACS must know
    document.DocumentTitle = title
    document.ConceptNameCodeSequence = []
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.SourceInstanceSequence = [_reference(one) for one in results.original.instances]
    document.EncapsulatedDocumentLength = len(pdf)
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    settle(document, results)
    return document


def _reference(one: Dataset) -> Dataset:
    """A slice, as others name it."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    return item
