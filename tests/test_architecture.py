"""The rules of the whole tree: imports go down only, one style, strict types."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LINT_IMPORTS = ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")
CHECKS = {
    "import contracts": LINT_IMPORTS,
    "ruff check": ("-m", "ruff", "check", "."),
    "ruff format": ("-m", "ruff", "format", "--check", "."),
    "mypy": ("-m", "mypy"),
}


def _python(arguments, folder):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("name", CHECKS)
def test_the_tree_passes(name):
    done = _python(CHECKS[name], REPOSITORY)
    if done.returncode:
        pytest.fail(f"{name} found:\n{done.stdout}{done.stderr}", pytrace=False)


def test_every_contract_of_the_project_is_checked():
    done = _python(LINT_IMPORTS, REPOSITORY)
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    names = [contract["name"] for contract in settings["contracts"]]
    assert len(names) >= 4
    assert [name for name in names if f"{name} KEPT" not in done.stdout] == []


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("tasks/wrong.py", "import cohorts.folder.study", "imports go down only"),
        ("models/wrong.py", "import reports.document.page", "imports go down only"),
        ("cohorts/wrong.py", "import prefect", "Prefect and Dask live in flows"),
        ("flows/wrong.py", "import matplotlib", "matplotlib and templates live in reports"),
        ("reports/wrong.py", "import pyarrow", "pyarrow lives in cohorts"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(tmp_path, module, line, contract):
    """A copy of the settings over empty packages with one wrong line: the contracts can fail."""
    (tmp_path / "pyproject.toml").write_bytes((REPOSITORY / "pyproject.toml").read_bytes())
    for package, content in (("flows", ""), ("reports", "page"), ("models", ""), ("cohorts", "study"), ("tasks", "")):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        if content:
            (tmp_path / package / f"{content}.py").touch()
    (tmp_path / module).write_text(f"{line}\n")
    done = _python(LINT_IMPORTS, tmp_path)
    assert done.returncode == 1
    broken = [text for text in done.stdout.splitlines() if text.endswith("BROKEN")]
    assert len(broken) == 1, done.stdout + done.stderr
    assert broken[0].startswith(contract)
