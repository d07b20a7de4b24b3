"""A structured report (TID 1500): scores, volumes and regions of one scan, by source, with method and weights.

One group of measurements per source, and one per drawn segment that points to it. Each source's says that it is for
research only, as a code that viewers show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import highdicom.sr as sr
from highdicom.seg import Segmentation
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from cohorts.dicom.codes import (
    ABSENT,
    ASSESSMENT,
    BRAIN_CODE,
    INTENDED_USE,
    MANUFACTURER,
    MILLILITRE,
    NOT_JUDGED,
    POINTS,
    PRESENT,
    RESEARCH_ONLY,
    RESEARCH_USE,
    SCORE,
    SIDES,
    VOLUME,
    derived_uid,
    own,
    own_scheme,
    region_code,
)
from cohorts.dicom.results import ScanResults, SourceResult, VolumeResult, numbered, settle
from cohorts.dicom.segmentation import FIRST_SERIES_NUMBER

#: Name of a measurement -> its segmentation and the numbers of its segments by label.
Drawn = Mapping[str, tuple[Segmentation, Mapping[str, int]]]
ContentGroup: TypeAlias = (
    sr.MeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
)


def structured_report(results: ScanResults, made: Sequence[Segmentation]) -> sr.ComprehensiveSR:
    """Everything that sources say of one scan, as one document.

    Parameters
    ----------
    results : of the scan
    made : the segmentations of ``results.segments`` that have a voxel, in their order
    """
    written = [one for one in results.segments if one.present]
    drawn = {
        one.name: (file, numbered(one.present)) for one, file in zip(written, made, strict=True) if one.role == "lesion"
    }
    uid = results.uid("sr", results.digest)
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid(MANUFACTURER, results.version),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=f"{MANUFACTURER} {results.version}",
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, device),
        ),
        procedure_reported=ASSESSMENT,
        imaging_measurements=[group for source in results.sources for group in _groups(results, source, drawn)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    document = sr.ComprehensiveSR(
        evidence=[*results.original.instances, *made],
        content=report[0],
        series_instance_uid=derived_uid(uid, "series"),
        series_number=FIRST_SERIES_NUMBER + len(made),
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=results.version,
        series_description="ASPECTS results. Research use only",
        coding_schemes=[own_scheme()],
        is_complete=True,
        content_date=results.found_at.date(),
        content_time=results.found_at.time(),
    )
    settle(document, results)
    return document


def _groups(results: ScanResults, source: SourceResult, drawn: Drawn) -> Iterator[ContentGroup]:
    """What one source says: score and regions, then each volume."""
    algorithm = sr.AlgorithmIdentification(
        name=source.name,
        version=f"{MANUFACTURER} {results.version}",
        parameters=[*source.parameters, RESEARCH_ONLY],
    )
    file, numbers = drawn.get(source.measurement, (None, {}))
    yield sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(results, source, "ASPECTS"),
        finding_type=SCORE,
        algorithm_id=algorithm,
        finding_sites=[sr.FindingSite(BRAIN_CODE)],
        measurements=[*_scores(source), *(_volume(one) for one in source.volumes if one.label not in numbers)] or None,
        qualitative_evaluations=[sr.QualitativeEvaluation(INTENDED_USE, RESEARCH_USE), *_regions(source)],
    )
    for volume in source.volumes:
        if file is not None and volume.label in numbers:
            segment = file.get_segment_description(numbers[volume.label])
            yield sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=sr.TrackingIdentifier(segment.tracking_uid, segment.tracking_id),
                referenced_segment=sr.ReferencedSegment(
                    sop_class_uid=file.SOPClassUID,
                    sop_instance_uid=file.SOPInstanceUID,
                    segment_number=numbers[volume.label],
                    source_series=sr.SourceSeriesForSegmentation(results.series_uid),
                ),
                finding_type=CodedConcept.from_code(segment.segmented_property_type),
                algorithm_id=algorithm,
                finding_sites=[sr.FindingSite(BRAIN_CODE)],
                measurements=[_volume(volume)],
                qualitative_evaluations=[sr.QualitativeEvaluation(INTENDED_USE, RESEARCH_USE)],
            )


def _tracked(results: ScanResults, source: SourceResult, what: str) -> sr.TrackingIdentifier:
    """Names what is measured, the same in every report of the scan."""
    return sr.TrackingIdentifier(results.uid("tracked", f"{source.name} {what}"), f"{source.name}: {what}")


def _scores(source: SourceResult) -> Iterator[sr.Measurement]:
    """The score that counts, with its side, and that of each hemisphere."""
    known = [(SCORE, source.score, source.scored_side)]
    known += [(own("aspects_left", "ASPECTS, left"), source.score_left, "left")]
    known += [(own("aspects_right", "ASPECTS, right"), source.score_right, "right")]
    for name, score, side in known:
        if score is not None:
            site = sr.FindingSite(BRAIN_CODE, laterality=SIDES.get(side or ""))
            yield sr.Measurement(name=name, value=score, unit=POINTS, finding_sites=[site])


def _volume(volume: VolumeResult) -> sr.Measurement:
    """A volume, ml."""
    return sr.Measurement(name=VOLUME, value=volume.volume_ml, unit=MILLILITRE)


def _regions(source: SourceResult) -> Iterator[sr.QualitativeEvaluation]:
    """Every region of both sides: change present, absent, or not judged."""
    for one in source.regions:
        value = NOT_JUDGED if one.is_affected is None else PRESENT if one.is_affected else ABSENT
        yield sr.QualitativeEvaluation(region_code(one.side, one.region), value)
