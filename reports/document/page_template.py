"""Templates of the pages, and the filter that puts text into a style sheet."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup


def css_string(text: str) -> Markup:
    r"""Text as the inside of a CSS string: every character but ASCII letters and digits is a code point escape.

    >>> print(css_string('a"</style>'))
    a\000022\00003c\00002fstyle\00003e
    """
    return Markup("".join(c if c.isascii() and c.isalnum() else f"\\{ord(c):06x}" for c in text))


@cache
def page_template(name: str) -> Template:
    """A template of the pages, compiled once per process."""
    environment = Environment(
        loader=PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["css_string"] = css_string
    return environment.get_template(name)
