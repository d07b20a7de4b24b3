"""What software of others states of a patient in a table, as it is kept until the tables of a run are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from cohorts.store.findings import Findings, Found


class StatedResult(Found):
    """One row of such a table; None is not stated.

    Attributes
    ----------
    score, score_left, score_right : ASPECTS, of the side that counts and of each hemisphere
    side : the hemisphere that it takes for affected
    low_score_probability : chance of a low score, 0 to 1
    regions : ``left_m1`` and alike -> 1 or 0 of a flag, or the probability that the region is affected
    volume_ml, hypoperfused_volume_ml : of lesion or core, and of the tissue at risk with it
    version : what the software calls itself
    run_on : date of its run, ISO
    """

    score: int | None = None
    score_left: int | None = None
    score_right: int | None = None
    side: Literal["left", "right"] | None = None
    low_score_probability: float | None = None
    regions: Mapping[str, float] = {}
    volume_ml: float | None = None
    hypoperfused_volume_ml: float | None = None
    version: str | None = None
    run_on: str | None = None


class StatedFindings(Findings):
    """What is found of a source that states its results itself."""

    stated: StatedResult | None = None
