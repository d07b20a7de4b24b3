"""A page becomes a PDF with its pictures, styles and letters, and loads nothing on the way."""

from __future__ import annotations

import os
import re
import zlib

import pytest

from reports.pages.pdf import PdfMissingError, brief_pdf, page_pdf

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"  # 1 x 1, red
PAGE = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>sub-1</title><style>
.slice path {{ stroke: #112233; fill: none; }}
.slice text {{ font: 700 13px system-ui; fill: #445566; }}
@media screen {{ path {{ stroke: #abcdef; }} }}
</style></head><body>
<svg width="0" height="0"><defs>
<image id="grey" width="9" height="9" href="data:image/png;base64,{PIXEL}"/></defs></svg>
<figure class="slice"><svg viewBox="0 0 9 9" width="90" height="90"><use href="#grey"/><path d="M0,0L9,9"/>
<text x="1" y="8">R</text></svg></figure>
<img src="file:///etc/passwd"><img src="http://127.0.0.1:9/x.png"></body></html>"""


def _made(html):
    """The PDF, and the texts of its streams; skipped without Pango, an error where CI requires it."""
    try:
        pdf = page_pdf(html)
    except PdfMissingError:
        if os.environ.get("ASPECTS_REQUIRE_PACS") == "1":
            raise
        pytest.skip("Pango is not installed")
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    plain = []
    for one in streams:
        try:
            plain.append(zlib.decompress(one))
        except zlib.error:
            plain.append(one)
    return pdf, b"\n".join(plain)


def test_a_picture_has_the_styles_and_the_image_of_its_page():
    pdf, drawn = _made(PAGE)
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Subtype /Image") + drawn.count(b"/Subtype /Image") == 1  # the one that <use> names
    assert b"0.066667 0.133333 0.2 RG" in drawn  # #112233 as the line's colour
    assert b"0.266667 0.333333 0.4 rg" in drawn  # #445566 of the letter
    assert b"0.670588" not in drawn  # what screens alone show


def _long(n_chapters, lines):
    """A short report whose chapters each take about a page."""
    chapters = "".join(
        f'<section>\n<div id="chapter_{name}"><h2>Chapter {name}</h2>{"<p>A line.</p>" * lines}</div>\n</section>\n'
        for name in "abcdefghijklmnop"[:n_chapters]
    )
    style = "@page { size: 100mm 60mm; margin: 5mm } section { break-before: page }"
    return f"<!doctype html><html><head><style>{style}</style></head><body><h1>First</h1>{chapters}</body></html>"


def test_the_short_report_leaves_out_what_does_not_fit_on_twelve_pages():
    _made(PAGE)  # skips where there is no Pango
    _, n_pages, left_out = brief_pdf(_long(3, 2))
    assert (n_pages, left_out) == (4, ())
    pdf, n_pages, left_out = brief_pdf(_long(14, 2))
    assert (n_pages, left_out) == (12, ("chapter_l", "chapter_m", "chapter_n"))  # the first page and eleven chapters
    assert pdf.startswith(b"%PDF")
    long_first = _long(3, 2).replace("<p>A line.</p>", "<p>A line.</p>" * 60, 1)
    _, n_pages, left_out = brief_pdf(long_first)
    assert (n_pages, left_out) == (3, ("chapter_a",))  # the first page and two short chapters
