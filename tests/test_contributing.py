"""CONTRIBUTING.md is true: rooms, files, commands, marks and parts of a source are those that there are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from flows.cases import found_lesion, native_scan
from flows.sources import dwi_threshold
from flows.sources.interface import Method

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FLOORS = ("flows", "reports", "models", "cohorts", "tasks")


def _rooms_drawn():
    picture = TEXT.split("```text\n")[1].split("```")[0]
    lines = (re.split(r"\s{2,}", line.strip("|+- ")) for line in picture.splitlines())
    return {floor: rest[1:] for floor, *rest in lines if rest}


def test_the_picture_has_every_room_and_floor_in_the_order_of_the_contract():
    drawn = _rooms_drawn()
    there = {floor: sorted(place.parent.name for place in (ROOT / floor).glob("*/__init__.py")) for floor in FLOORS}
    assert drawn == there
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    assert list(drawn) == [floor for layer in layers for floor in layer.split(" | ")]


def test_every_file_and_folder_that_it_names_is_there():
    named = set(re.findall(r"`((?:flows|reports|models|cohorts|tasks|tests)/[\w/.]*)`", TEXT))
    named |= set(re.findall(r"pytest (tests/[\w/.]+)", TEXT))
    assert len(named) > 10
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_the_commands_are_in_the_makefile():
    made = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {word for text in re.findall(r"`make ([\w ]+)`", TEXT) for word in text.split()}
    assert asked == {"check", "quick", "test", "extended"}
    assert asked <= made


def test_the_marks_are_those_of_the_project():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    table = TEXT.split("| mark |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == {one.split(":")[0] for one in settings["markers"]}


def test_the_parts_of_the_example_are_there():
    section = TEXT.split("## Add a source")[1].split("\n## ")[0]
    helpers = {"prepared", "begun", "refused", "found_lesion", "native_counts", "drawn"}
    source = dwi_threshold.DwiThresholdSource
    declared = {"gives", "about", "scans", "stem", "gated_as", "phrase", "measure", "weights"}
    costs = {"cpu_limit_s", "memory_mib", "wants_gpu", "also_files"}
    assert [name for name in helpers | declared | costs if f"`{name}" not in section] == []
    assert [name for name in helpers if not any(hasattr(one, name) for one in (native_scan, found_lesion))] == []
    assert [name for name in declared if not hasattr(source, name)] == []
    assert costs <= set(Method.__dataclass_fields__)
    code = [re.sub(r"\s+", " ", text) for text in re.findall(r"`((?:class|diffusion|kind|METHOD)[^`]*)`", section)]
    body = re.sub(r"\s+", " ", Path(dwi_threshold.__file__).read_text(encoding="utf-8"))
    assert len(code) >= 4
    assert [text for text in code if text not in body] == []
