"""Templates of the pages: compiled once for all commands, and again where that cannot be."""

from __future__ import annotations

from jinja2 import DictLoader, Environment

from reports.document import page_template
from reports.document.page_template import Compiled


def _made(monkeypatch, folder, text="{{ n }} of 2"):
    """A page by a template, and how many compiled ones are kept then."""
    monkeypatch.setattr(page_template.importlib.util, "cache_from_source", lambda _: str(folder / "module.pyc"))
    environment = Environment(loader=DictLoader({"page": text}), bytecode_cache=Compiled())
    page = environment.get_template("page").render(n=1)
    return page, len(list(folder.glob("template-*"))) if folder.is_dir() else 0


def test_a_compiled_template_is_kept_and_used_until_its_text_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(page_template.sys, "dont_write_bytecode", False)
    assert _made(monkeypatch, tmp_path) == ("1 of 2", 1)
    compiled = Environment.compile
    monkeypatch.setattr(Environment, "compile", lambda *_, **__: 1 / 0)
    assert _made(monkeypatch, tmp_path) == ("1 of 2", 1)
    monkeypatch.setattr(Environment, "compile", compiled)
    assert _made(monkeypatch, tmp_path, "{{ n }} of 3") == ("1 of 3", 1)
    (kept,) = tmp_path.glob("template-*")
    kept.write_bytes(b"no template")
    assert _made(monkeypatch, tmp_path) == ("1 of 2", 1)


def test_a_page_is_made_where_nothing_can_be_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(page_template.sys, "dont_write_bytecode", False)
    assert _made(monkeypatch, tmp_path / "absent") == ("1 of 2", 0)
    monkeypatch.setattr(page_template.sys, "dont_write_bytecode", True)
    assert _made(monkeypatch, tmp_path) == ("1 of 2", 0)
