"""``results``: what software that others sell or publish states of every patient, in a table as it writes it.

Most validations are of such software. The table lies in the cohort folder and is read there; nothing is measured. A
failure that the software reports, and a patient who is not in its table, are rows with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from cohorts.folder.problems import printable
from cohorts.folder.stated_source import TableSource
from flows.sources.interface import Method


class ResultsSource(TableSource):
    """A table of somebody else's results, in its own columns."""

    about: ClassVar[str] = "scores, regions, probabilities or volumes in a table that other software wrote"
    needed: ClassVar[Mapping[str, Any]] = {
        "file": "vendor/results.csv",
        "id": "Patient",
        "columns": {
            "ASPECTS": "score",
            "Side": "side",
            "Regions": "regions",
            "Core (ml)": "volume_ml",
            "Version": "version",
            "Status": "failure",
        },
    }

    kind: Literal["results"]

    @model_validator(mode="after")
    def _states_something(self) -> ResultsSource:
        if not self.gives:
            raise ValueError("columns must lead to a score, regions, a probability or a volume. Map one of them.")
        return self

    @property
    def phrase(self) -> str:
        """Where it is written."""
        return f"as stated in {printable(self.file)}"


METHOD = Method(ResultsSource)
