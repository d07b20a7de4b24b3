"""The documentation is true: what it says of the program is the program's own, and its commands can be typed."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cohorts.tables.schemas import TABLES
from flows.__main__ import app
from flows.sources.registry import METHODS, STUDY
from reports.pages.remedies import REMEDIES

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

#: What a block that is no whole study is read with.
SMALLEST = {
    "study": {"name": "x"},
    "source": [{"name": "ratio", "kind": "density_ratio"}, {"kind": "readings"}],
}


def _pages_module():
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made():
    return _pages_module().pages()


def _blocks(path, language):
    found = re.findall(r"^```(\S*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def _typed():
    """(file, arguments) of every command that a block tells to type."""
    for path in WRITTEN:
        for block in _blocks(path, ""):
            for line in block.splitlines():
                if re.match(r"(\.venv/bin/)?aspects ", line):
                    yield path.name, tuple(shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize(("file", "arguments"), sorted(set(_typed())))
def test_what_is_told_to_type_can_be_typed(file, arguments):
    """Commands, options and the number of arguments are those of the program; nothing is run."""
    command, rest = typer.main.get_command(app), list(arguments)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    with command.make_context(arguments[0], rest) as context:
        assert set(context.params) == {one.name for one in command.params if one.name != "help"}


def test_a_command_that_is_not_there_would_be_found():
    assert len(set(_typed())) > 30
    command = typer.main.get_command(app).commands["run"]
    with pytest.raises(Exception, match="No such option: --labels"):
        command.make_context("run", ["cohort", "out", "--labels", "1"])


@pytest.mark.parametrize("path", WRITTEN[1:], ids=lambda path: path.stem)
def test_what_is_told_to_write_in_the_study_file_can_be_read(path):
    for block in _blocks(path, "toml"):
        STUDY.model_validate(SMALLEST | tomllib.loads(block))


def test_every_link_of_a_tutorial_leads_to_a_page(made):
    for path in WRITTEN[1:]:
        text = path.read_text(encoding="utf-8")
        linked = re.findall(r"\]\(made/([\w/]+)\.md\)", text) + re.findall(r"^made/(\S+)$", text, re.MULTILINE)
        assert [name for name in linked if name not in made] == []


@pytest.mark.parametrize("kind", METHODS)
def test_the_page_of_a_source_has_every_setting_and_the_card_of_its_weights(made, kind):
    page, source = made[f"sources/{kind}"], METHODS[kind].source
    assert source.about[1:] in page
    keys = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(keys) == sorted(set(source.model_fields) - {"kind"})
    assert "typing" not in page
    assert "<class" not in page
    names = source.model_validate({"name": "any", "kind": kind, **source.needed}).weights
    assert re.findall(r"^## Weights (\S+)$", page, re.MULTILINE) == list(names)


def test_defaults_limits_and_figures_are_told(made):
    page = made["sources/dwi_unet"]
    assert "| `threshold` | `0.2` | number, > 0, < 1 | Least probability of a voxel of the lesion |" in page
    assert "| lesion | lesions | 715 train, 120 validation, 187 test | BSD 2-Clause License" in page
    card = json.loads((ROOT / "models" / "weights" / "dwi-unet.json").read_bytes())
    (n,) = [one["n"] for one in card["metrics"] if (one["split"], one["stratum"]) == ("test", "no infarct")]
    assert re.search(rf"^\| no infarct \| false ml \| {n} \| 0 \|", page, re.MULTILINE)
    assert "| `decimal` |  | `point`, `comma` | point or comma, before the decimals |" in made["sources/results"]


def test_weights_that_do_not_ship_say_how_to_get_them():
    assert list(_pages_module().card_parts("nobody-trained-these")) == [
        "## Weights nobody-trained-these\n\nNone ship: train them by `aspects train`."
    ]


def test_every_column_reason_and_command_has_its_place(made):
    for name, table in TABLES.items():
        section = made["tables"].split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert re.findall(r"^\| (\w+) \|", section, re.MULTILINE)[1:] == list(table.names)
    assert sorted(re.findall(r"`(\w+)`", made["reasons"].split("| reason |")[1].split("\n\n")[0])) == sorted(REMEDIES)
    commands = _pages_module().commands()
    assert {"run", "reading make", "export-dicom"} <= set(commands)
    for name in commands:
        done = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "100"}, prog_name="aspects")
        assert f"## aspects {name}\n\n```text\n{done.output.strip()}\n```" in made["commands"]


@pytest.mark.processes
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_parser")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    pages = {str(path.relative_to(tmp_path)): path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")}
    assert {"index.html", "coordinator.html", "search.html", "made/tables.html", "made/sources/dwi_unet.html"} <= set(
        pages
    )
    loads = r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"(?:https?:)?//"
    assert [name for name, text in pages.items() if re.search(loads, text)] == []
    styles = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.css")}
    assert {"alabaster.css", "site.css"} <= set(styles)
    outside = r"(?:@import\s+|url\()[\"']?(?:https?:)?//"
    assert [name for name, text in styles.items() if re.search(outside, text)] == []
