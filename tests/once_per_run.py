"""Costly truths of tests, made once per run: a phantom is kept as plain arrays in the run's folder, for every worker.

Outside a run of tests, as in ``tests/benchmarks``, it is made once per process. What comes back cannot be written to,
so that no test changes what another one sees.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

#: Where they are kept; ``tests/conftest.py`` names it at the start of a run.
FOLDER: Path | None = None
CONTENT = "content.json"


def once_per_run(make: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what a function makes; its arguments are plain numbers, texts and frozen dataclasses of them."""

    @cache
    @wraps(make)
    def made(*arguments: Any, **named: Any) -> Any:
        if FOLDER is None:
            return make(*arguments, **named)
        key = hashlib.sha256(repr((arguments, sorted(named.items()))).encode()).hexdigest()[:12]
        folder = FOLDER / f"{make.__module__}.{make.__qualname__}-{key}"
        with FileLock(f"{folder}.lock"):
            if not (folder / CONTENT).exists():
                folder.mkdir(exist_ok=True)
                written = json.dumps(_written(make(*arguments, **named), folder))
                (folder / CONTENT).write_text(written, encoding="utf-8")  # the last, so that a half is made again
        return _read(json.loads((folder / CONTENT).read_text(encoding="utf-8")), folder)

    return made


def _written(value: Any, folder: Path) -> Any:
    """A value as JSON, its arrays in files of their own."""
    if isinstance(value, np.ndarray):
        name = f"{len(list(folder.glob('*.npy')))}.npy"
        np.save(folder / name, value, allow_pickle=False)
        return {"array": name}
    if is_dataclass(value):
        parts = {part.name: _written(getattr(value, part.name), folder) for part in fields(value) if part.init}
        return {"made": f"{type(value).__module__}:{type(value).__qualname__}", "of": parts}
    if isinstance(value, tuple | list):
        body = [_written(item, folder) for item in value]
        if hasattr(value, "_fields"):
            return {"made": f"{type(value).__module__}:{type(value).__qualname__}", "in order": body}
        return {type(value).__name__: body}
    if isinstance(value, Mapping):
        return {"dict": [[_written(key, folder), _written(item, folder)] for key, item in value.items()]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"plain": value.item() if isinstance(value, np.generic) else value}
    raise TypeError(f"a value kept for a run must be of arrays, dataclasses and plain values, got {type(value)}")


def _read(body: Any, folder: Path) -> Any:
    """The value again; arrays are views of their files."""
    if "plain" in body:
        return body["plain"]
    if "array" in body:
        return np.asarray(np.load(folder / body["array"], mmap_mode="r", allow_pickle=False))
    if "dict" in body:
        return {_read(key, folder): _read(item, folder) for key, item in body["dict"]}
    if "made" in body:
        module, name = body["made"].split(":")
        kind = getattr(importlib.import_module(module), name)
        if "of" in body:
            return kind(**{part: _read(item, folder) for part, item in body["of"].items()})
        return kind(*(_read(item, folder) for item in body["in order"]))
    ((kind, items),) = body.items()
    return {"tuple": tuple, "list": list}[kind](_read(item, folder) for item in items)
