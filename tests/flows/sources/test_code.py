"""The version of a source's code: what changes it, what does not, and how a change is named."""

from __future__ import annotations

import ast
import importlib.metadata
import json
from types import SimpleNamespace

import pytest

from cohorts.folder.source import LesionSource
from flows.sources import code
from flows.sources.code import CodeVersion, code_version, earlier_parts, keep_manifest, version_of
from flows.sources.registry import METHODS


@pytest.fixture
def tree(tmp_path):
    """A small project: a source that imports a task, which imports another inside a function."""
    files = {
        "flows/sources/one.py": '"""A source."""\nfrom tasks.lesion import volume\nimport numpy\n\nX = volume\n',
        "tasks/lesion.py": (
            "def volume(n):\n    '''Volume.'''\n    from tasks.deep import helper\n\n    return n * helper()  # ml\n"
        ),
        "tasks/deep/__init__.py": '"""A room."""\n',
        "tasks/deep/helper.py": "def helper():\n    return 1\n",
        "tasks/other.py": "Y = 1\n",
        "tasks/hint.py": "Z = 1\n",
    }
    files["tasks/deep/__init__.py"] += "from tasks.deep.helper import helper\n"
    files["flows/sources/one.py"] += (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tasks.hint import Z\n"
    )
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def _version(tree):
    code._read.cache_clear()
    code._modules_of.cache_clear()
    return version_of(["flows.sources.one"], tree)


def test_it_holds_what_is_imported_however_far_and_the_numeric_libraries(tree):
    assert set(_version(tree).parts) == {
        "flows/sources/one.py",
        "tasks/lesion.py",
        "tasks/deep/__init__.py",
        "tasks/deep/helper.py",
        "library numpy",
    }
    assert _version(tree).parts["library numpy"] == importlib.metadata.version("numpy")


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("tasks/lesion.py", "# ml", "# millilitres, as METHODS has it"),
        ("tasks/lesion.py", "'''Volume.'''", "'''Volume of a lesion, ml.'''"),
        ("tasks/lesion.py", "n * helper()", "n  *  helper( )"),
        ("flows/sources/one.py", '"""A source."""', '"""Another\n\nsource."""'),
        ("tasks/other.py", "Y = 1", "Y = 2"),
        ("tasks/hint.py", "Z = 1", "Z = 2"),
    ],
)
def test_a_comment_a_docstring_a_layout_and_code_that_it_does_not_use_change_nothing(tree, file, before, after):
    first = _version(tree)
    text = (tree / file).read_text()
    assert before in text
    (tree / file).write_text(text.replace(before, after))
    assert _version(tree) == first


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("tasks/lesion.py", "n * helper()", "2 * n * helper()"),
        ("tasks/deep/helper.py", "return 1", "return 2"),
        ("tasks/deep/__init__.py", "import helper", "import helper as helper"),
        ("flows/sources/one.py", "X = volume", "X = None"),
    ],
)
def test_a_change_of_the_code_is_named_by_its_module(tree, file, before, after):
    first = _version(tree)
    (tree / file).write_text((tree / file).read_text().replace(before, after))
    second = _version(tree)
    assert second.digest != first.digest
    assert second.changed_since(first.parts) == (file,)


def test_another_version_of_a_library_is_named():
    first = CodeVersion({"tasks/a.py": "1", "library numpy": "2.0"})
    assert CodeVersion({"tasks/a.py": "1", "library numpy": "2.1"}).changed_since(first.parts) == ("library numpy",)
    assert CodeVersion({"tasks/a.py": "1"}).changed_since(first.parts) == ("library numpy",)


def test_a_module_that_is_not_there_is_an_error(tree):
    with pytest.raises(FileNotFoundError, match=r"module tasks\.absent must be below .* got none"):
        version_of(["tasks.absent"], tree)


def test_a_parser_that_another_thread_disturbed_is_asked_again(tree, monkeypatch):
    parse, failures = ast.parse, iter([SystemError("AST constructor recursion depth mismatch")] * 2)

    def disturbed(source):
        if (error := next(failures, None)) is not None:
            raise error
        return parse(source)

    monkeypatch.setattr(code, "ast", SimpleNamespace(**vars(ast) | {"parse": disturbed}))
    monkeypatch.setattr(code, "time", SimpleNamespace(sleep=lambda _: None))
    assert set(_version(tree).parts) > {"tasks/lesion.py"}
    assert next(failures, None) is None


def test_what_a_digest_stood_for_is_kept_with_the_records(tree, tmp_path):
    version = _version(tree)
    keep_manifest(tmp_path / "out", version)
    assert earlier_parts(tmp_path / "out", version.digest) == version.parts
    assert earlier_parts(tmp_path / "out", "0" * 64) is None


def test_the_methods_share_what_they_share_and_no_more():
    """A change of the lesion's volume is due for every source that draws one; one of perfusion for perfusion alone."""
    with_lesion = {kind for kind, method in METHODS.items() if "tasks/lesion.py" in code_version(method).parts}
    assert with_lesion >= {kind for kind, method in METHODS.items() if issubclass(method.source, LesionSource)}
    series = "tasks/perfusion/series.py"
    assert {kind for kind, method in METHODS.items() if series in code_version(method).parts} == {"ctp_core", "cbf_map"}
    assert not [
        name
        for method in METHODS.values()
        for name in code_version(method).parts
        if name.startswith(("flows/run", "flows/commands", "flows/engine", "reports/document", "reports/statistics"))
    ]


def test_what_was_found_of_a_module_is_kept_until_its_content_changes(tree, tmp_path, monkeypatch):
    cache, module = tmp_path / "kept.json", tree / "tasks" / "lesion.py"
    monkeypatch.setattr(code, "ROOT", tree)
    monkeypatch.setattr(code, "CACHE", cache)
    monkeypatch.setattr(code.sys, "dont_write_bytecode", False)

    def found():
        code._kept.cache_clear()
        return _version(tree).parts["tasks/lesion.py"]

    first = found()
    kept = json.loads(cache.read_text())
    assert kept[str(module)]["digest"] == first
    kept[str(module)]["digest"] = "as kept"
    cache.write_text(json.dumps(kept))
    assert found() == "as kept"
    module.write_text(module.read_text() + "# a comment\n")
    assert found() == first
    for spoilt in ("", "[]", '{"a": 1}', '{"a": {}}'):
        cache.write_text(spoilt)
        assert found() == first
    code._kept.cache_clear()
