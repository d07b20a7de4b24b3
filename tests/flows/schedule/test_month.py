"""A month of nights with arrivals, changes and outages: every change is told, with its cause, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.extended
def test_every_change_of_a_month_is_told_and_nothing_else(tmp_path):
    command = [sys.executable, "-m", "tests.benchmarks.month_of_nights", "--work", str(tmp_path / "month")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("0 faults in 30 nights\n")
