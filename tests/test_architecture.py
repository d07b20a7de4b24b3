"""The rules of the whole tree: imports go down only, one style, strict types."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from flows.sources.registry import METHODS

REPOSITORY = Path(__file__).resolve().parents[1]
LINT_IMPORTS = ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")
CHECKS = {
    "import contracts": LINT_IMPORTS,
    "ruff check": ("-m", "ruff", "check", "."),
    "ruff format": ("-m", "ruff", "format", "--check", "."),
    "mypy": ("-m", "mypy"),
}


@cache  # each check once, whatever asks for it
def _python(arguments, folder):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.processes
@pytest.mark.parametrize("name", CHECKS)
def test_the_tree_passes(name):
    done = _python(CHECKS[name], REPOSITORY)
    if done.returncode:
        pytest.fail(f"{name} found:\n{done.stdout}{done.stderr}", pytrace=False)


@pytest.mark.processes
def test_every_contract_of_the_project_is_checked():
    done = _python(LINT_IMPORTS, REPOSITORY)
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    names = [contract["name"] for contract in settings["contracts"]]
    assert len(names) >= 5
    assert [name for name in names if f"{name} KEPT" not in done.stdout] == []


def _kinds():
    """Modules of the kinds of source that the registry lists."""
    return [Path(inspect.getfile(method.source)) for method in METHODS.values()]


def test_the_contract_of_the_registry_names_every_kind():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    contract = next(one for one in settings["contracts"] if one["type"] == "protected")
    assert contract["protected_modules"] == sorted({f"flows.sources.{path.stem}" for path in _kinds()})


@pytest.mark.processes
@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("tasks/wrong.py", "import cohorts.folder.study", "imports go down only"),
        ("models/wrong.py", "import reports.document.page", "imports go down only"),
        ("cohorts/wrong.py", "import prefect", "Prefect and Dask live in flows"),
        ("flows/wrong.py", "import matplotlib", "matplotlib and templates live in reports"),
        ("reports/wrong.py", "import pyarrow", "pyarrow lives in cohorts"),
        ("flows/wrong.py", "import flows.sources.mask", "only the registry knows the kinds of source"),
        ("flows/sources/mask.py", "import flows.sources.cbf_map", "only the registry knows the kinds of source"),
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
    (tmp_path / "flows" / "sources").mkdir()
    for name in ("__init__", "registry", *(path.stem for path in _kinds())):
        (tmp_path / "flows" / "sources" / f"{name}.py").touch()
    (tmp_path / module).write_text(f"{line}\n")
    done = _python(LINT_IMPORTS, tmp_path)
    assert done.returncode == 1
    broken = [text for text in done.stdout.splitlines() if text.endswith("BROKEN")]
    assert len(broken) == 1, done.stdout + done.stderr
    assert broken[0].startswith(contract)


def _constants(module):
    """Names in capitals, and aliases of types, that a module defines."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            for name in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(name, ast.Name) and name.id[0].isupper():
                    yield name.id


def _modules():
    """Modules of the floors and rooms in which a name may be defined once."""
    for place in ("tasks", "models", "cohorts/dicom", "cohorts/images", "cohorts/phantom"):
        yield from sorted((REPOSITORY / place).rglob("*.py"))


def test_a_constant_has_one_name_and_one_value():
    """A name that two modules define has two meanings, or one that will change in one place only."""
    places = defaultdict(set)
    for module in _modules():
        for name in _constants(module):
            places[name].add(str(module.relative_to(REPOSITORY)))
    assert {"MAD_TO_SIGMA", "TEMPLATE_SPACE", "ScanContrast", "Affine"} <= set(places)  # the search finds some
    assert {name: sorted(found) for name, found in places.items() if len(found) > 1} == {}


@pytest.mark.processes
@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("flows.__main__", "numpy pandas pydantic pyarrow scipy nibabel prefect distributed dask"),
        ("flows.run.running", "torch monai matplotlib statsmodels sklearn prefect distributed"),
        (
            "flows.run.steps",
            "torch monai matplotlib scipy.stats scipy.signal sklearn distributed prefect statsmodels",
        ),
        (
            "models.training.methods, models.training.judging, models.training.pool",
            "SimpleITK prefect distributed matplotlib",
        ),
    ],
)
def test_a_process_loads_what_it_needs_and_no_more(modules, heavy):
    """Seconds of every command and of every worker hang on it; training must do without what a scan needs."""
    loaded = f"import sys, {modules}; print(*sorted(set({heavy.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", loaded], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("number", ["1.4826", "2.3548", "1.04", "-1.0, -1.0, 1.0, 1.0"])
def test_a_number_of_physics_or_statistics_is_written_once(number):
    texts = {str(module.relative_to(REPOSITORY)): module.read_text(encoding="utf-8") for module in _modules()}
    assert len([name for name, text in texts.items() if re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", text)]) == 1
