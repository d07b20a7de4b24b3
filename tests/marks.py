"""Which tests make a phantom by simulation and which start processes: found, so that no mark is forgotten."""

from __future__ import annotations

import ast
import os
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
#: Modules that simulate scans or whole cohorts.
SIMULATORS = (
    "cohorts.phantom",
    "tasks.phantoms.head",
    "tasks.phantoms.perfusion",
    "tasks.phantoms.scans",
    "tests.once_per_run.once_per_run",
)


@cache
def is_simulation(path: Path) -> bool:
    """Whether a module of tests imports a simulator, itself or through other modules of tests."""
    waiting, seen = [path], set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        names = _imported(module)
        if any(name == one or name.startswith(f"{one}.") for name in names for one in SIMULATORS):
            return path.name != "test_once_per_run.py"
        places = (REPOSITORY / f"{name.replace('.', '/')}.py" for name in names if name.startswith("tests."))
        waiting += [place for place in places if place.is_file()]
    return False


@cache
def _imported(path: Path) -> frozenset[str]:
    if not path.is_relative_to(REPOSITORY / "tests"):
        return frozenset()  # the doctests of a module are small
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def started(event: str, arguments: tuple[Any, ...]) -> str:
    """What an audit event of the interpreter starts: a Python process, or a socket that listens; "" for others."""
    if event == "socket.bind":
        return f"listening on {arguments[1]}"
    if event == "subprocess.Popen":
        command = arguments[1] if isinstance(arguments[1], list | tuple) else [arguments[1]]
        if command and Path(os.fsdecode(command[0])).name.startswith(("python", "aspects")):
            return " ".join(str(part).split("\n")[0] for part in command[:3])
    return ""
