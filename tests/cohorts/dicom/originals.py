"""A synthetic series imported with a link table: what results are placed on."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel as nib
import numpy as np
from rich.console import Console

from cohorts.dicom.link_table import read_links
from cohorts.dicom.original import find_original
from flows.commands.import_dicom import import_dicom
from flows.commands.import_request import import_request
from tests.cohorts.dicom.made import uid

FRAME_OF_REFERENCE = uid("frame of reference")


def imported(folder, *on_fault):
    """Import ``folder/in``; (links in the order of their paths, the cohort folder)."""
    request = import_request(folder / "in", folder / "cohort", None, on_fault, folder / "links.tsv")
    import_dicom(request, Console(file=io.StringIO()))
    links = read_links(folder / "links.tsv", folder / "cohort")
    return [links[key] for key in sorted(links)], folder / "cohort"


def original_of(folder, *on_fault):
    """(original, values, affine) of the one series in ``folder/in``."""
    (link,), cohort = imported(folder, *on_fault)
    image = nib.load(cohort / link.path)
    return (
        find_original(link, Path(link.folder), cohort / link.path),
        np.asarray(image.dataobj),
        np.asarray(image.affine),
    )
