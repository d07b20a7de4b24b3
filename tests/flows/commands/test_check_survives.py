"""``aspects check`` with a case that raises, or ends its process: its row, and all others checked."""

from __future__ import annotations

import io
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest
from rich.console import Console

from flows.cases.case import Case, CaseFile, Outcome
from flows.commands import check
from flows.engine.limits import ONE_THREAD, compute_with_one_thread
from flows.engine.progress import CaseProgress
from tests.flows.conftest import STUDY, write_tiny_cohort

CASES = [Case(f"sub-{number}", "mask", (CaseFile("lesion", f"masks/{number}.nii", "0" * 64),)) for number in range(20)]


def _examine(case, settings, _):
    """What the science would do: one case raises, one ends its process."""
    if case.participant_id == "sub-3":
        raise IndexError("index 4 is out of bounds. Really.")
    if case.participant_id == "sub-17" and settings == "deadly":
        os._exit(9)
    return (
        Outcome("excluded", "empty_mask", "a must b. C.")
        if case.participant_id == "sub-5"
        else Outcome("ok", None, None)
    )


def test_a_case_that_raises_is_a_row_and_the_others_are_examined(monkeypatch):
    monkeypatch.setattr(check, "examine", _examine)
    found = check._examined([(case, None) for case in CASES])
    assert [reason for reason, _ in found] == [
        {3: "unexpected_error", 5: "empty_mask"}.get(number) for number in range(20)
    ]
    assert found[3][1] == (
        "3.nii must be examined to its end, got IndexError: index 4 is out of bounds; Really. This is a fault of the "
        "program: please report it with the file's header."
    )


@pytest.mark.processes
def test_a_case_that_ends_its_process_takes_no_other_with_it(monkeypatch):
    monkeypatch.setattr(check, "examine", _examine)
    shown = io.StringIO()
    progress = CaseProgress(len(CASES), Console(file=shown))
    chunks = [[(case, "deadly") for case in CASES[start : start + 4]] for start in range(0, 20, 4)]
    found = check._all_examined(chunks, 2, progress)
    assert [reason for reason, _ in found] == [
        {3: "unexpected_error", 5: "empty_mask", 17: "worker_died"}.get(number) for number in range(20)
    ]


def test_what_the_cases_of_a_participant_share_is_made_once(monkeypatch):
    made = []

    def examine(case, _, shared):
        shared.once(("head",), lambda: made.append(case.participant_id))
        return Outcome("ok", None, None)

    monkeypatch.setattr(check, "examine", examine)
    twice = [replace(case, step=step) for case in CASES[:3] for step in ("ncct-ratio", "ncct-overlap")]
    assert len(check._examined([(case, None) for case in twice])) == 6
    assert made == ["sub-0", "sub-1", "sub-2"]


def test_each_process_computes_with_one_thread(monkeypatch):
    for name in ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    with ProcessPoolExecutor(1, initializer=compute_with_one_thread) as pool:
        variables, loaded = pool.submit(_threads).result()
    assert variables == ONE_THREAD
    assert set(loaded) == {1}


def _threads():
    """What this process is told, and what it computes with."""
    import numpy  # noqa: F401 - loads its library of linear algebra
    from threadpoolctl import threadpool_info

    return {name: os.environ.get(name) for name in ONE_THREAD}, [one["num_threads"] for one in threadpool_info()]


def test_a_source_that_a_run_would_leave_out_is_a_warning_with_its_reason(tmp_path):
    tiny = write_tiny_cohort(tmp_path)
    added = '[[source]]\nname = "net"\nkind = "dwi_unet"\nnetwork = "no-such"\n\n[[clinical]]'
    (tiny.folder / "cohort.toml").write_text(STUDY.replace("[[clinical]]", added, 1))
    with (tiny.folder / "scans.tsv").open("a") as scans:
        scans.write("sub-01\tdwi\torig\tmasks/sub-01.nii.gz\n")
    shown = io.StringIO()
    check.check_cohort(tiny.folder, 1, Console(file=shown, width=300))
    text = shown.getvalue()
    assert "cohort.toml, key source net: weights no-such must be in " in text
    assert "got no no-such.safetensors and no no-such.json. Copy both files there, or name others." in text
    assert text.endswith("Participants listed: 8; sources that would be left out, each with its reason: 1.\n")
