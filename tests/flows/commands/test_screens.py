"""What the command prints: counts are of what their line names."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from flows.cases.case import SIDECAR_OF, Case, CaseFile
from flows.commands import screens
from flows.run.request import RunRequest


def test_a_dry_run_counts_scans_and_measurements_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two measurements read DWI and ADC; of two patients the second lacks the ADC, and nobody reads the first's CTA."""
    scans = [("sub-1", "dwi"), ("sub-1", "adc"), ("sub-1", "cta"), ("sub-2", "dwi")]
    files = {key: CaseFile(key[1], f"/{key[0]}/{key[1]}.nii.gz", "a") for key in scans}
    sidecar = CaseFile(SIDECAR_OF.format("dwi"), "/sub-2/dwi.json", "b")
    read = {"sub-1": (files["sub-1", "dwi"], files["sub-1", "adc"]), "sub-2": (files["sub-2", "dwi"], sidecar)}
    cases = {(name, step): Case(name, step, of) for step in ("threshold-dwi", "unet-dwi") for name, of in read.items()}
    cohort = SimpleNamespace(
        participants=["sub-1", "sub-2"],
        scans=[SimpleNamespace(participant_id=name, modality=modality) for name, modality in scans],
    )
    records = {("sub-1", "threshold-dwi"): None}
    plan = SimpleNamespace(
        cohort=cohort, cases=cases, n_done=len(records), pending=[None] * 3, absent={}, chosen_lines=()
    )
    monkeypatch.setattr(screens, "make_plan", lambda *_, **__: plan)
    monkeypatch.setattr(screens, "stale_causes", lambda *_: Counter(new=3))
    words = io.StringIO()
    screens.show_plan(RunRequest(Path("cohort"), Path("out"), n_cpus=2), Console(file=words, width=200))
    assert words.getvalue().startswith("Participants listed     2\n")
    assert words.getvalue().splitlines()[1:5] == [
        "Scans that are read     3 of 4",
        "Measurements of them    4",
        "Already measured        1",
        "To measure              3 (3 new)",
    ]
