"""``aspects init --from-...``: a published data set becomes a cohort folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console

from cohorts.dicom.slice_sets import adopt_aisd, adopt_cpaisd
from cohorts.folder.adopting import REPORT
from cohorts.folder.bids import adopt_bids, adopt_isles22, adopt_isles24
from flows.run.request import PreflightError

ADOPTING: Mapping[str, Callable[[Path, Path], dict[str, int]]] = {
    "bids": adopt_bids,
    "isles22": adopt_isles22,
    "isles24": adopt_isles24,
    "aisd": adopt_aisd,
    "cpaisd": adopt_cpaisd,
}


def adopt(name: str, source: Path, folder: Path, console: Console) -> None:
    """Write a data set as a cohort folder, and say what was found.

    Raises
    ------
    PreflightError
        It has nothing that a source could score.
    """
    if not source.is_dir():
        raise PreflightError(f"--from-{name} must be a folder, got {source}. Unpack the data set there.")
    try:
        counts = ADOPTING[name](source, folder)
    except ValueError as error:
        raise PreflightError(str(error)) from None
    told = ", ".join(f"{count} {modality}" for modality, count in counts.items())
    console.print(f"Listed: {told}; {REPORT} names every image", highlight=False, markup=False, soft_wrap=True)
