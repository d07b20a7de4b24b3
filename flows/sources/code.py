"""The version of a source's code, which nobody raises by hand: a digest of what its numbers come from.

Taken are the module of the source and the modules that it names, what these import inside the project, however far, and
the versions of the numeric libraries that any of them imports. A module's digest is that of its code rewritten
without docstrings: a comment, a docstring or another layout changes nothing. What is imported for type checking alone
does not count. To rewrite all modules takes seconds; what came of it is kept beside Python's own compiled files.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cohorts.store.records import RECORDS_FOLDER, digest_of, write_bytes
from flows.sources.interface import Method

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("cohorts", "flows", "models", "reports", "tasks")
#: Import name -> distribution, of the libraries whose version can move a number.
NUMERIC_LIBRARIES = {
    "SimpleITK": "simpleitk",
    "cv2": "opencv-python-headless",
    "monai": "monai",
    "nibabel": "nibabel",
    "nilearn": "nilearn",
    "numpy": "numpy",
    "openvino": "openvino",
    "radiomics": "pyradiomics-cuda",
    "scipy": "scipy",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "torch": "torch",
}
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
MANIFESTS = Path(RECORDS_FOLDER) / ".code"
TRIES_AGAIN = 20  # to parse a module
CACHE = Path(importlib.util.cache_from_source(__file__)).with_suffix(".json")
_new: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True)
class CodeVersion:
    """What a method's code consists of: path of a module or name of a library -> its digest or version."""

    parts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """What records carry."""
        return digest_of(dict(self.parts))

    def changed_since(self, earlier: Mapping[str, str]) -> tuple[str, ...]:
        """The parts that are new, gone or different."""
        names = sorted({*self.parts, *earlier})
        return tuple(name for name in names if self.parts.get(name) != earlier.get(name))


@lru_cache
def code_version(method: Method) -> CodeVersion:
    """The code of a method as it is on disk now."""
    code = version_of((method.source.__module__, *method.also_code), ROOT)
    files = {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in method.also_files}
    return CodeVersion(dict(code.parts) | files)


def version_of(modules: Iterable[str], root: Path) -> CodeVersion:
    """The code of some modules and of all that they import inside the project.

    Parameters
    ----------
    modules : dotted names; one outside the project counts with what it imports inside, if it lies below ``root``
    root : folder that holds the packages

    Raises
    ------
    FileNotFoundError
        There is no such module.
    """
    parts: dict[str, str] = {}
    libraries: set[str] = set()
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = module_path(name, root)
        if path is None:
            raise FileNotFoundError(f"module {name} must be below {root}, got none. Correct the method's also_code.")
        digest, imported = _read(path)
        parts[path.relative_to(root).as_posix()] = digest
        for other in imported:
            top = other.split(".")[0]
            if top in PACKAGES:
                waiting += _modules_of(other, root)
            elif top in NUMERIC_LIBRARIES:
                libraries.add(NUMERIC_LIBRARIES[top])
    _keep()
    versions = {f"library {name}": importlib.metadata.version(name) for name in sorted(libraries)}
    return CodeVersion(dict(sorted(parts.items())) | versions)


def module_path(name: str, root: Path) -> Path | None:
    """The file of a module or package."""
    base = root.joinpath(*name.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@lru_cache(maxsize=4096)
def _modules_of(name: str, root: Path) -> tuple[str, ...]:
    """The modules that run when a name is imported: ``a.b.name`` may be a module or an attribute of ``a.b``.

    A package without code of its own, whose file holds a docstring at most, is left out.
    """
    parts = name.split(".")
    modules = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    found = [module for module in modules if module_path(module, root) is not None]
    return tuple(module for module in found if module == found[-1] or not _is_bare(module_path(module, root)))


def _is_bare(path: Path | None) -> bool:
    """Whether a module has no code."""
    return path is not None and _read(path)[0] == _NOTHING


@lru_cache(maxsize=1024)
def _read(path: Path) -> tuple[str, frozenset[str]]:
    """Digest of one module's code, and the dotted names that it imports."""
    source = path.read_bytes()
    content = hashlib.sha256(sys.version.encode() + source).hexdigest()
    known = _kept().get(str(path))
    if known is None or known["content"] != content:
        digest, imported = _rewritten(source)
        known = {"content": content, "digest": digest, "imported": sorted(imported)}
        _new[str(path)] = known
    return known["digest"], frozenset(known["imported"])


def _rewritten(source: bytes) -> tuple[str, set[str]]:
    """Digest of a module's code without docstrings, and the dotted names that it imports."""
    tree = _parsed(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _has_docstring(
            node
        ):
            node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest(), set(_imports(tree))


@lru_cache(maxsize=1)
def _kept() -> dict[str, dict[str, Any]]:
    """What earlier commands found: path of a module -> its content, digest and imports."""
    try:
        kept = json.loads(CACHE.read_bytes())
        return {path: one for path, one in kept.items() if one.keys() == {"content", "digest", "imported"}}
    except (OSError, ValueError, AttributeError):  # not there yet, or no file of ours
        return {}


def _keep() -> None:
    """Keep what was found of the project's own modules, where Python keeps compiled files."""
    found = {path: of for path, of in _new.items() if Path(path).is_relative_to(ROOT)}
    if found and not sys.dont_write_bytecode:
        _kept().update(found)
        with contextlib.suppress(OSError):  # the program's folder may be read-only
            write_bytes(CACHE, json.dumps(_kept()).encode())
    _new.clear()


def _parsed(source: bytes) -> ast.Module:
    """A module's syntax tree.

    Python 3.11 counts depth for all threads together, and fails where another one parses meanwhile, as Prefect's do
    (github.com/python/cpython/issues/106905): such a failure says nothing of the module.
    """
    for _ in range(TRIES_AGAIN):
        try:
            return ast.parse(source)
        except SystemError:
            time.sleep(0.05)
    return ast.parse(source)


_NOTHING = hashlib.sha256(b"").hexdigest()


def _has_docstring(node: _Documented) -> bool:
    """Whether the first statement is a text alone."""
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def _imports(tree: ast.AST) -> Iterable[str]:
    """Every dotted name that is imported, within functions too, but not for type checking alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from _imports(other)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from _imports(node)


def keep_manifest(out: Path, version: CodeVersion) -> None:
    """Remember what a digest stood for, so that a later run can name what changed."""
    path = out / MANIFESTS / f"{version.digest}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, json.dumps(dict(version.parts), indent=1).encode())


def earlier_parts(out: Path, digest: str) -> Mapping[str, str] | None:
    """What a digest stood for; None where it is not known any more."""
    try:
        parts: Mapping[str, str] = json.loads((out / MANIFESTS / f"{digest}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return parts
