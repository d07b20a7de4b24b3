"""Fixtures and marks shared by all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import once_per_run
from tests.marks import is_simulation, started

REPOSITORY = Path(__file__).resolve().parents[1]
STARTED = pytest.StashKey[list[str]]()
RUNNING: list[pytest.Item] = []

settings.register_profile("project", deadline=None)  # a loaded machine is no fault
settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what makes a phantom by simulation, by what its module imports; modules that take long come first.

    Workers take modules in this order (``--no-loadscope-reorder``): a long one that came last would keep one of them
    at work alone.
    """
    takes_long: dict[Path, int] = {}
    for item in items:
        if is_simulation(item.path):
            item.add_marker("simulation")
        marks = {mark.name for mark in item.iter_markers()}
        rank = 0 if "processes" in marks else 1 if "slow" in marks else 2
        takes_long[item.path] = min(rank, takes_long.get(item.path, 2))
    items.sort(key=lambda item: takes_long[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Know which test is running, its fixtures included."""
    item.stash[STARTED] = []
    RUNNING.append(item)
    try:
        return (yield)
    finally:
        RUNNING.remove(item)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if RUNNING and (what := started(event, arguments)):
        RUNNING[-1].stash[STARTED].append(what)


sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def _processes_are_marked(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that starts processes or listens says so by its mark: the quick tests leave it out."""
    yield
    found = request.node.stash[STARTED]
    if found and request.node.get_closest_marker("processes") is None:
        pytest.fail(f"a test that starts {found[0]} must be marked, got no mark. Add @pytest.mark.processes.", False)


@pytest.fixture(scope="session", autouse=True)
def _kept_for_the_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is made once per run lies in the run's folder, the same for every worker."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "once"
    folder.mkdir(exist_ok=True)
    once_per_run.FOLDER = folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The shared real data beside the project; skipped where it is absent, an error where CI requires it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    if os.environ.get("ASPECTS_REQUIRE_REAL_DATA") == "1":
        pytest.fail(f"ASPECTS_REQUIRE_REAL_DATA=1 but there is no {folder}")
    pytest.skip("the shared real data is not beside the project")
