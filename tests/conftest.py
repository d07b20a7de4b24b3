"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The shared real data beside the project; skipped where it is absent, an error where CI requires it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    if os.environ.get("ASPECTS_REQUIRE_REAL_DATA") == "1":
        pytest.fail(f"ASPECTS_REQUIRE_REAL_DATA=1 but there is no {folder}")
    pytest.skip("the shared real data is not beside the project")
