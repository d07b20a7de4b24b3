"""A patient's page as a PDF, for a PACS. No browser: WeasyPrint lays out the page itself, styles and pictures included.

It needs the system library Pango. Where that is absent, nothing else fails: ``PdfMissingError`` says what to install.
"""

from __future__ import annotations

from typing import Any

#: What a sheet of paper needs besides: no links, which lead nowhere, and no picture cut in two.
PRINT_CSS = """
@page { size: A4; margin: 14mm 12mm 16mm }
@page { @bottom-center { content: counter(page) " / " counter(pages); font: 8pt sans-serif } }
nav { display: none }
figure, .tile, .warnings, tr { break-inside: avoid }
"""


class PdfMissingError(RuntimeError):
    """PDFs cannot be made here; the message says what is missing."""


def page_pdf(html: str) -> bytes:
    """Lay out a self-contained page; the same page gives the same bytes.

    Raises
    ------
    PdfMissingError
        WeasyPrint or its system libraries are absent.
    """
    try:
        import weasyprint
    except (ImportError, OSError) as error:  # without Pango, OSError
        raise PdfMissingError(
            "the patient's page becomes a PDF by WeasyPrint, which needs the system library Pango. Install it "
            "(Debian: libpango-1.0-0, libpangoft2-1.0-0, libharfbuzz-subset0), or leave the PDF out with --without-pdf."
        ) from error
    style = weasyprint.CSS(string=PRINT_CSS)
    page = weasyprint.HTML(string=html, url_fetcher=_only_what_it_holds, media_type="print")
    pdf: bytes = page.write_pdf(stylesheets=[style])
    return pdf


def _only_what_it_holds(url: str, *_: Any, **__: Any) -> Any:
    """Pictures inside the page; nothing is loaded from a file or the network."""
    import weasyprint

    if not url.startswith("data:"):
        raise ValueError("a page must load nothing")
    return weasyprint.default_url_fetcher(url)
