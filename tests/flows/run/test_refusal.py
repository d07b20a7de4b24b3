"""A refused report: three lines and exit 70, the tables kept once, whatever the number of refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.__main__ import guarded
from flows.commands.failures import EXIT_SOFTWARE
from flows.run import publishing
from flows.run.publishing import RefusedReportError, RunFacts, publish_results

PROBLEMS = ["agreement/icc_a1/reader:B/reader:A/measured must be within -3..1, got -4.", "roc/auc must be within 0..1."]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A run whose report is refused; gives back how to run it."""
    monkeypatch.setattr(publishing, "write_tables", lambda plan, folder, _: (folder / "scores.tsv").write_text("x"))
    monkeypatch.setattr(publishing, "_write_report", lambda *_: PROBLEMS)
    monkeypatch.setattr(publishing, "_summary", lambda *_: {})
    monkeypatch.setattr(publishing, "refuse_where_nothing_was_measured", lambda *_: None)
    monkeypatch.setattr(publishing, "run_digest", lambda *_: "d")
    return lambda number: publish_results(None, tmp_path, RunFacts(f"run-{number}", "now", "aspects run"))


def test_a_refusal_is_three_lines_with_the_number_the_reason_and_the_folder(refused: Any, tmp_path: Path) -> None:
    with pytest.raises(RefusedReportError) as caught:
        refused(1)
    number, why, where = str(caught.value).splitlines()
    assert number == f"No report: {PROBLEMS[0]} (2 such numbers)"
    assert why.startswith("Why: each number is checked against the tables")
    assert str(tmp_path / "results/refused") in where
    assert (tmp_path / "results/refused/tables/scores.tsv").is_file()
    assert (tmp_path / "results/refused/refused.txt").read_text().splitlines() == PROBLEMS


def test_refused_runs_do_not_pile_up(refused: Any, tmp_path: Path) -> None:
    for number in range(3):
        with pytest.raises(RefusedReportError):
            refused(number)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["refused"]


def test_the_command_ends_without_a_traceback(refused: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: refused(1)) == EXIT_SOFTWARE
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert len(shown.strip().splitlines()) == 3
