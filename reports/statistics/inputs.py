"""What a report is made from: the study, its contract tables as pandas, and the facts of the run.

Tables follow ``cohorts.tables.schemas`` column by column: counts as ``Int64``, flags as ``boolean``, text as object or
string with None for null. Nothing here reads or writes a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from cohorts.folder.study import StudyConfig
from cohorts.tables.schemas import SEGMENTATION, TIMINGS


@dataclass(frozen=True, eq=False)
class ReportInput:
    """The study and the tables that its report is computed from.

    Parameters
    ----------
    config : StudyConfig
    participants : pandas.DataFrame
        ``participants`` contract with the study's clinical columns behind the fixed ones.
    scans, exclusions, regions, scores, lesions, segmentation : pandas.DataFrame
        The contract tables of the same names; ``segmentation`` is empty where no two lesions lie on one grid.
    map_names : dict
        Computed source name -> name of the label map that measured it.
    absent : dict
        Name of a source that could not be measured -> why, such as missing weights.
    timings : pandas.DataFrame
        The ``timings`` contract; empty where nothing is known of costs.
    """

    config: StudyConfig
    participants: pd.DataFrame
    scans: pd.DataFrame
    exclusions: pd.DataFrame
    regions: pd.DataFrame
    scores: pd.DataFrame
    lesions: pd.DataFrame
    segmentation: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(SEGMENTATION.names)))
    map_names: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    timings: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(TIMINGS.names)))


@dataclass(frozen=True)
class RunInfo:
    """The facts of the run that the report prints beside its numbers."""

    run_id: str
    version: str
    started_at: str
    code_digest: str
    settings_digest: str
    command: str
    packages: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
