"""``aspects pdf``: the latest report as a PDF of at most twelve pages, for sending."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from cohorts.store.records import write_bytes
from flows.commands.failures import EXIT_OK, EXIT_PREFLIGHT
from flows.run.latest import latest_folder
from flows.run.request import PreflightError
from reports.document.document import BRIEF_NAME
from reports.pages.pdf import PdfMissingError, brief_pdf

PDF_NAME = "report.pdf"


def write_brief_pdf(out: Path, file: Path | None, console: Console) -> int:
    """Lay out the short report of the latest run, into ``file`` or ``OUT/report.pdf``.

    Returns
    -------
    0, or 3 where no PDF can be made here.

    Raises
    ------
    PreflightError
        There are no results, or they are of a version that wrote no short report.
    """
    folder = latest_folder(out)
    if folder is None or not (folder / BRIEF_NAME).is_file():
        raise PreflightError(f"OUT must hold results with {BRIEF_NAME}, got none in {out}. Run aspects run first.")
    try:
        content, n_pages, left_out = brief_pdf((folder / BRIEF_NAME).read_text(encoding="utf-8"))
    except PdfMissingError:
        console.print(
            "No PDF: WeasyPrint needs the system library Pango (Debian: libpango-1.0-0, libpangoft2-1.0-0, "
            f"libharfbuzz-subset0). Install it, or print {folder / BRIEF_NAME} in a browser.",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
        return EXIT_PREFLIGHT
    path = file or out / PDF_NAME
    write_bytes(path, content)
    without = f"; left out for length: {', '.join(left_out)}" if left_out else ""
    console.print(f"{path}: {n_pages} pages{without}", highlight=False, markup=False, soft_wrap=True)
    return EXIT_OK
