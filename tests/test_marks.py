"""Marks are true: found from what a module imports, and from what the interpreter sees a test start."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import STARTED
from tests.marks import is_simulation, started

TESTS = Path(__file__).parent


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("cohorts/phantom/test_cohort.py", True),  # imports a simulator
        ("tasks/test_brain.py", True),  # through a helper
        ("flows/sources/test_conformance.py", True),  # through two
        ("flows/run/test_publishing.py", False),
        ("reports/estimators/test_agreement.py", False),
        ("cohorts/folder/test_study.py", False),
    ],
)
def test_a_simulation_is_found_however_far_it_is(module, expected):
    assert is_simulation(TESTS / module) is expected


def test_the_mark_is_set(request):
    modules = {item.path for item in request.session.items if item.get_closest_marker("simulation")}
    assert modules == {item.path for item in request.session.items if is_simulation(item.path)}


def test_no_test_is_named_after_compressed_bytes(request):
    """The time is in their header, so that two workers would collect different tests."""
    assert [item.nodeid for item in request.session.items if "[\\x1f\\x8b" in item.nodeid] == []


@pytest.mark.parametrize(
    ("event", "arguments", "expected"),
    [
        ("subprocess.Popen", (sys.executable, [sys.executable, "-m", "flows", "run"], None, None), True),
        ("subprocess.Popen", ("aspects", [b"/usr/bin/aspects", "demo"], None, None), True),
        ("subprocess.Popen", ("dcm2niix", ["dcm2niix", "-h"], None, None), False),
        ("socket.bind", (None, ("127.0.0.1", 0)), True),
        ("open", ("python", "r", 0), False),
    ],
)
def test_an_event_that_starts_something_is_told_apart(event, arguments, expected):
    assert bool(started(event, arguments)) is expected


@pytest.mark.processes
def test_what_a_test_starts_is_seen(request):
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
    assert request.node.stash[STARTED] == [f"{sys.executable} -c pass", "listening on ('127.0.0.1', 0)"]
