"""``aspects check`` with a case that raises, or ends its process: its row, and all others checked."""

from __future__ import annotations

import os

import pytest

from flows.cases.case import Case, CaseFile, Outcome
from flows.commands import check

CASES = [Case(f"sub-{number}", "mask", (CaseFile("lesion", f"masks/{number}.nii", "0" * 64),)) for number in range(20)]


def _examine(case, settings):
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
    monkeypatch.setattr(check, "CASES_PER_CALL", 4)
    found = check._all_examined([(case, "deadly") for case in CASES], 2)
    assert [reason for reason, _ in found] == [
        {3: "unexpected_error", 5: "empty_mask", 17: "worker_died"}.get(number) for number in range(20)
    ]
