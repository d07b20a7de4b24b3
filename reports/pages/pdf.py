"""A patient's page as a PDF, for a PACS. No browser: WeasyPrint lays out the page itself, styles and pictures included.

It draws an inline SVG as an image of its own, which neither the page's styles nor its other pictures reach: both are
brought into every SVG first. It needs the system library Pango; ``PdfMissingError`` says so where it is absent.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Iterator
from typing import Any

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
#: What a sheet of paper needs besides: no links, which lead nowhere, and keys that stay in one piece.
PRINT_CSS = "nav, svg.store { display: none } .legend span { white-space: nowrap } .tiles { display: flex; gap: 4mm }"
#: A font in one word, which WeasyPrint does not know in an SVG.
_FONT = re.compile(r"font:\s*(?P<weight>\d+)\s+(?P<size>[\d.]+px)[^;]*")
PLAIN_FONT = r"font-weight:\g<weight>;font-size:\g<size>;font-family:sans-serif"
NO_HALO = "stroke:none"  # it would be drawn over its letter
MOST_PAGES = 12  # of the short report
_CHAPTERS = re.compile(r'<section>\s*<div id="([a-z_]+)">')
_URL = re.compile(r"url\(#([^)]+)\)")


class PdfMissingError(RuntimeError):
    """PDFs cannot be made here; the message says what is missing."""


def page_pdf(html: str) -> bytes:
    """Lay out a self-contained page.

    Raises
    ------
    PdfMissingError
        WeasyPrint or its system libraries are absent.
    """
    pdf: bytes = _laid_out(html).write_pdf()
    return pdf


def brief_pdf(html: str) -> tuple[bytes, int, tuple[str, ...]]:
    """Lay out the short report on at most ``MOST_PAGES`` pages: a chapter that does not fit any more is left out.

    Returns
    -------
    The PDF, its number of pages, and the anchors of the chapters left out.

    Raises
    ------
    PdfMissingError
        As ``page_pdf``.
    """
    document = _laid_out(html)
    left_out: list[str] = []
    if len(document.pages) > MOST_PAGES:
        numbered = reversed(list(enumerate(document.pages)))  # what goes over pages has its anchor on each
        starts = {name: number for number, page in numbered for name in page.anchors}
        chapters = [name for name in _CHAPTERS.findall(html) if name in starts]
        ends = [*(starts[name] for name in chapters[1:]), len(document.pages)]
        n_pages = starts[chapters[0]] if chapters else 0
        for name, end in zip(chapters, ends, strict=True):
            length = max(1, end - starts[name])
            if n_pages + length <= MOST_PAGES:
                n_pages += length
            else:
                left_out.append(name)
                html = _without(html, name)
        document = _laid_out(html)
    pages = document.pages[:MOST_PAGES]
    return document.copy(pages).write_pdf(), len(pages), tuple(left_out)


def _without(html: str, anchor: str) -> str:
    """The page without a chapter."""
    start = html.index(f'<section>\n<div id="{anchor}">')
    return html[:start] + html[html.index("</section>", start) + len("</section>") :]


def _laid_out(html: str) -> Any:
    """The pages of a self-contained page."""
    try:
        import weasyprint
        from weasyprint.urls import URLFetcher
    except (ImportError, OSError) as error:  # without Pango, OSError
        raise PdfMissingError(
            "the patient's page becomes a PDF by WeasyPrint, which needs the system library Pango. Install it "
            "(Debian: libpango-1.0-0, libpangoft2-1.0-0, libharfbuzz-subset0), or leave the PDF out with --without-pdf."
        ) from error

    logging.getLogger("weasyprint").setLevel(logging.CRITICAL)  # it names every style that paper does not have
    fetcher = URLFetcher(allowed_protocols=("data",))  # pictures inside the page; no file and no network
    page = weasyprint.HTML(string=html, url_fetcher=fetcher, media_type="print")
    _complete_svgs(page)
    return page.render(stylesheets=[weasyprint.CSS(string=PRINT_CSS)])


def _complete_svgs(page: Any) -> None:
    """Bring the page's styles, and what is shared between pictures, into every inline SVG."""
    from cssselect2 import ElementWrapper, Matcher

    root = page.etree_element
    matcher = Matcher()
    for selector, declarations in _rules("".join(one.text or "" for one in root.iter("style"))):
        matcher.add_selector(selector, declarations)
    for wrapper in page.wrapper_element.iter_subtree():
        element = wrapper.etree_element
        if element.tag.startswith(SVG) and element.tag != f"{SVG}svg":
            found = [declarations for *_, declarations in sorted(matcher.match(wrapper), key=lambda one: one[:2])]
            own = NO_HALO if element.tag == f"{SVG}text" else element.get("style", "")
            if style := ";".join([*found, own]).strip(";"):
                element.set("style", style)
    named = {one.get("id"): one for one in root.iter() if one.get("id")}
    for svg in list(root.iter(f"{SVG}svg")):
        _fill_in(svg, named)
    page.wrapper_element = ElementWrapper.from_html_root(root)


def _rules(css: str) -> Iterator[tuple[Any, str]]:
    """Selectors and declarations of a style sheet, those of other media left out."""
    import tinycss2
    from cssselect2 import SelectorError, compile_selector_list

    for rule in tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True):
        if rule.type == "qualified-rule":
            try:
                selectors = compile_selector_list(rule.prelude)
            except SelectorError:
                continue  # of a state that paper does not have
            for selector in selectors:
                yield selector, _FONT.sub(PLAIN_FONT, tinycss2.serialize(rule.content).strip())


def _fill_in(svg: Any, named: dict[str, Any]) -> None:
    """Put the pictures and patterns that an SVG names into it."""
    for parent in list(svg.iter()):
        for place, child in enumerate(list(parent)):
            target = child.get("href") or child.get(HREF) or ""
            if child.tag == f"{SVG}use" and target.lstrip("#") in named:
                picture = copy.deepcopy(named[target.lstrip("#")])
                picture.attrib.pop("id")
                parent[place] = picture
    wanted = {name for one in svg.iter() for name in _URL.findall(one.get("style", ""))}
    own = {one.get("id") for one in svg.iter()}
    for name in sorted(wanted & named.keys() - own):
        svg.insert(0, copy.deepcopy(named[name]))
