"""What the pages of a run are made from: one patient's rows, what all pages share, their names and their templates."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from reports.document.tables import DASH, number
from reports.figures.perfusion_picture import PerfusionPicture
from reports.figures.quality_figures import CohortQuality
from reports.figures.rendering_picture import RenderingPicture
from reports.figures.scan_picture import ScanPicture
from reports.statistics.inputs import RunInfo
from tasks.views.convention import RADIOLOGICAL, Convention

TableRow = Mapping[str, Any]

PAGES_FOLDER = "patients"
INDEX_PAGE = "index.html"
QUALITY_PAGE = "quality.html"
MODALITY_TITLES = {
    "ncct": "NCCT", "cta": "CTA", "ctp": "CT perfusion", "dwi": "DWI", "adc": "ADC", "b0": "b0", "ct": "CT",
}  # fmt: skip
_SAFE_NAME = re.compile(r"sub-[A-Za-z0-9]{1,64}")
_DIGEST_CHARACTERS = 12


@dataclass(frozen=True, eq=False)
class CohortView:
    """What all pages of a cohort share.

    Attributes
    ----------
    study : name of the study
    run : RunInfo
    quality : CohortQuality
    columns : clinical column -> its title with unit, in the order of the page
    is_synthetic : whether the data were made by a model
    pictures : on which side of pictures the patient's right lies
    """

    study: str
    run: RunInfo
    quality: CohortQuality
    columns: Mapping[str, str] = field(default_factory=dict)
    is_synthetic: bool = False
    pictures: Convention = RADIOLOGICAL

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """What every page says of the study and the run."""
        return (("Study", self.study), ("Run", self.run.run_id), ("aspects-cohort", self.run.version))


@dataclass(frozen=True, eq=False)
class Drawing:
    """What one measurement drew of one scan, with the outlines of one label map.

    Attributes
    ----------
    measurement, modality : which measurement, of which scan
    sources : those that score by this measurement on this map; empty where none does
    picture : as ``reports.figures.scan_picture`` made it; None where sources have no picture on their own map
    perfusion : as ``reports.figures.perfusion_picture`` made it, or None
    rendering : as ``reports.figures.rendering_picture`` made it, or None
    """

    measurement: str
    modality: str
    sources: tuple[str, ...] = ()
    picture: ScanPicture | None = None
    perfusion: PerfusionPicture | None = None
    rendering: RenderingPicture | None = None


@dataclass(frozen=True, eq=False)
class PatientView:
    """One participant's rows of the contract tables (``cohorts.tables.schemas``) as dicts, and the pictures of the
    scans.

    Attributes
    ----------
    participant : row of ``participants`` with the clinical columns
    exclusions, scans, scores, regions, lesions, provenance, timings : rows of the tables of these names
        Scans may have the quality figures' columns, regions any of ``patient_scans.REGION_VALUES``.
    drawings : pictures of the scans, in the order of the measurements
    sides : who names an affected side -> ``left`` or ``right`` (``reports.pages.sides``)
    """

    participant: TableRow
    exclusions: Sequence[TableRow] = ()
    scans: Sequence[TableRow] = ()
    scores: Sequence[TableRow] = ()
    regions: Sequence[TableRow] = ()
    lesions: Sequence[TableRow] = ()
    provenance: Sequence[TableRow] = ()
    timings: Sequence[TableRow] = ()
    drawings: Sequence[Drawing] = ()
    sides: Mapping[str, str] = field(default_factory=dict)


def page_name(participant_id: str) -> str:
    """File name of a participant's page, safe whatever the identifier holds.

    >>> page_name("sub-0007"), page_name("../x")
    ('sub-0007.html', 'sub-d6b96a97d147.html')
    """
    if _SAFE_NAME.fullmatch(participant_id):
        return f"{participant_id}.html"
    return f"sub-{hashlib.sha256(participant_id.encode()).hexdigest()[:_DIGEST_CHARACTERS]}.html"


def modality_title(modality: object) -> str:
    """A modality as printed."""
    name = str(modality)
    return MODALITY_TITLES.get(name, name[:1].upper() + name[1:])


def given(value: Any) -> Any:
    """A table's value, None for every kind of null."""
    return None if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)) else value


def text_of(value: Any, nothing: str = DASH) -> str:
    """Text, or a dash."""
    return nothing if given(value) is None else str(value)


def decimal(value: Any, digits: int) -> str:
    """A number, or a dash."""
    return number(None if given(value) is None else float(value), digits)
