"""DICOM segmentations (BINARY) on the original slices: lesion, core, hypoperfusion, regions.

Binary, because every viewer reads it; label maps (2024) are not known to most. Each frame says on which original slice
it lies.
"""

from __future__ import annotations

import highdicom as hd
import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.sr.codedict import codes

from cohorts.dicom.codes import BRAIN_CODE, BY_RULE, MANUFACTURER, RESEARCH_ONLY, derived_uid, own_scheme
from cohorts.dicom.results import ScanResults, Segments, settle

#: Okabe and Ito (2008), told apart by people who see colours differently.
COLOURS = ((213, 94, 0), (86, 180, 233), (240, 228, 66), (0, 158, 115), (204, 121, 167), (0, 114, 178), (230, 159, 0))
FIRST_SERIES_NUMBER = 9900  # beyond what scanners number


def segmentation(results: ScanResults, segments: Segments, number: int) -> Segmentation:
    """Segments as a DICOM object in a series of its own.

    Parameters
    ----------
    results : the scan's, for its slices and dates
    segments : at least one of them has a voxel
    number : of this object among those of the scan, from 0
    """
    original = results.original
    uid = results.uid(f"seg {segments.role} {segments.name}", segments.digest)
    planes = np.stack([one.planes for one in segments.present], axis=-1)
    made = Segmentation(
        source_images=original.instances,
        pixel_array=planes,
        segmentation_type="BINARY",
        segment_descriptions=_descriptions(results, segments),
        series_instance_uid=derived_uid(uid, "series"),
        series_number=FIRST_SERIES_NUMBER + number,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions=results.version,
        device_serial_number="none",
        pixel_measures=hd.PixelMeasuresSequence(original.spacing_mm, original.step_mm, original.step_mm),
        plane_positions=[
            hd.PlanePositionSequence("PATIENT", image_position=position) for position in original.positions
        ],
        plane_orientation=hd.PlaneOrientationSequence("PATIENT", (*original.row, *original.column)),
        content_label=segments.role.upper(),
        content_description=RESEARCH_ONLY,
        series_description=f"ASPECTS {segments.role}: {segments.name}. Research use only"[:64],
        coding_schemes=[own_scheme()],
        content_date=results.found_at.date(),
        content_time=results.found_at.time(),
    )
    settle(made, results)
    return made


def _descriptions(results: ScanResults, segments: Segments) -> list[SegmentDescription]:
    """What each segment is, and what drew it."""
    is_anatomy = segments.role == "regions"
    category = codes.SCT.AnatomicalStructure if is_anatomy else codes.SCT.MorphologicallyAbnormalStructure
    family = codes.DCM.ArtificialIntelligence if segments.uses_network else BY_RULE
    algorithm = hd.AlgorithmIdentificationSequence(segments.name, family, results.version, source=MANUFACTURER)
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=one.label,
            segmented_property_category=category,
            segmented_property_type=one.code,
            algorithm_type="MANUAL" if segments.is_drawn_by_hand else "AUTOMATIC",
            algorithm_identification=None if segments.is_drawn_by_hand else algorithm,
            tracking_uid=results.uid(f"tracked {segments.name}", one.label),
            tracking_id=f"{segments.name}: {one.label}"[:64],
            anatomic_regions=[BRAIN_CODE],
            display_color=CIELabColor.from_rgb(*COLOURS[(number - 1) % len(COLOURS)]),
        )
        for number, one in enumerate(segments.present, start=1)
    ]
