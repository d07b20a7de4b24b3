"""What is installed: its version, its lock, its types."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split())


def test_the_lock_holds_names_and_versions_only_and_satisfies_every_dependency() -> None:
    locked = {canonicalize_name(name): version for name, version in LOCK.items()}
    extras = (needs for extra in PROJECT["optional-dependencies"].values() for needs in extra)
    wanted = [Requirement(text) for text in (*PROJECT["dependencies"], *extras)]
    assert [str(need) for need in wanted if locked.get(canonicalize_name(need.name)) not in need.specifier] == []
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in LOCK.values())  # no local build such as +cpu


def test_the_lock_names_no_cuda_package() -> None:
    assert [name for name in LOCK if name.startswith(("nvidia", "cuda", "triton"))] == []


@pytest.mark.parametrize("package", ["flows", "tasks", "models", "cohorts", "reports"])
def test_every_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


def test_the_version_is_that_of_the_tag() -> None:
    command = ["git", "-C", str(ROOT), "tag", "--points-at", "HEAD", "v*"]
    tags = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    if not tags:
        pytest.skip("this is no tagged version")
    assert f"v{PROJECT['version']}" in tags
