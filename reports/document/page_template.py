"""Templates of the pages, and the filter that puts text into a style sheet.

To compile them takes a second of every command that writes pages; what comes of it is kept where Python keeps its own
compiled files.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import sys
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined, Template
from jinja2.bccache import Bucket
from markupsafe import Markup


def css_string(text: str) -> Markup:
    r"""Text as the inside of a CSS string: every character but ASCII letters and digits is a code point escape.

    >>> print(css_string('a"</style>'))
    a\000022\00003c\00002fstyle\00003e
    """
    return Markup("".join(c if c.isascii() and c.isalnum() else f"\\{ord(c):06x}" for c in text))


class Compiled(FileSystemBytecodeCache):
    """Compiled templates beside the compiled modules; where that folder cannot be written, each command compiles."""

    def __init__(self) -> None:
        # Jinja knows a template's text again, but neither its own version nor the options that are set here
        made_by = f"{importlib.metadata.version('jinja2')} {Path(__file__).read_text(encoding='utf-8')}"
        folder = Path(importlib.util.cache_from_source(__file__)).parent
        super().__init__(str(folder), f"template-{hashlib.sha256(made_by.encode()).hexdigest()[:12]}-%s")

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a compiled template."""
        if not sys.dont_write_bytecode:
            with contextlib.suppress(OSError):
                super().dump_bytecode(bucket)


@cache
def page_template(name: str) -> Template:
    """A template of the pages."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    """The settings of all templates."""
    environment = Environment(
        loader=PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=Compiled(),
    )
    environment.filters["css_string"] = css_string
    return environment
