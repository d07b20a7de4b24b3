"""Settings of Sphinx; the pages that follow from the program are made when the site is built."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

project = "aspects-cohort"
author = "the authors of aspects-cohort"
release = importlib.metadata.version("aspects-cohort")
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True
highlight_language = "text"
html_theme = "alabaster"
html_title = f"aspects-cohort {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {
    "description": "ASPECTS sources side by side. Research use only; never a diagnosis.",
    "fixed_sidebar": True,
    "page_width": "1180px",
    "sidebar_width": "230px",
    "font_family": "system-ui, sans-serif",
    "head_font_family": "system-ui, sans-serif",
    "show_powered_by": False,
}
html_sidebars = {"**": ["about.html", "searchbox.html", "navigation.html"]}
html_show_sourcelink = False
html_copy_source = False


def setup(app: object) -> None:
    """Make the pages before they are read."""
    from pages import write_pages

    app.connect("builder-inited", lambda _app: write_pages(Path(__file__).parent))  # type: ignore[attr-defined]
