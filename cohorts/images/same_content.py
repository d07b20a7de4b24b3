"""Scans of several participants with the same voxels: one file copied under two names, as it is or saved again.

Voxels are compared, however they are compressed, stored (type of number, order of axes) or described by the header.
Images without any voxel above or below 0 say "no lesion", and are alike by right.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from cohorts.folder.problems import Problem, printable
from cohorts.folder.scans import FILE, Scan
from cohorts.images.nifti import ImageProblemError, decompressed, peek_header
from cohorts.store.share import read_file

LARGEST_VOXELS = 2**28  # bytes of a file whose voxels are compared; of a larger one, as of CT perfusion, its bytes are
OTHERS_SHOWN = 3


def same_content(scans: Iterable[Scan], folder: Path) -> list[Problem]:
    """Return one warning per image that several participants have.

    Parameters
    ----------
    scans : those that can be used
    folder : the cohort folder
    """
    alike: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        if digest := _digest(folder / scan.path):
            alike[digest].append(scan)
    return [_warning(same) for same in alike.values() if len({scan.participant_id for scan in same}) > 1]


def _warning(same: list[Scan]) -> Problem:
    """The warning about one image."""
    first, *others = same
    named = ", ".join(printable(scan.participant_id) for scan in others[:OTHERS_SHOWN])
    more = f" and {len(others) - OTHERS_SHOWN} more" if len(others) > OTHERS_SHOWN else ""
    rule = f"must be of one participant; {named}{more} has the same voxels under another name"
    remedy = "Look which of them it shows, and give the others their own file."
    return Problem(FILE, None, "path", first.path, rule, remedy, "same_content", first.participant_id, is_warning=True)


def _digest(path: Path) -> str:
    """Digest of an image's voxels, or of a large file's bytes; nothing where it cannot be read or holds zeros only."""
    try:
        packed = read_file(path)
        header = peek_header(packed, path.name)
        content = decompressed(packed, header, path.name)
        if len(content) > LARGEST_VOXELS:
            return hashlib.sha256(content).hexdigest()
        image: Any = nib.Nifti1Image.from_bytes(bytes(content))
        upright: Any = nib.as_closest_canonical(image)  # type: ignore[no-untyped-call]
        values = np.asanyarray(upright.dataobj)
    except (OSError, ImageProblemError, nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError):
        return ""  # said elsewhere
    except (ValueError, EOFError):  # cut off, or a header without sense
        return ""
    flat = values.ravel(order="F")
    is_set = flat != 0
    if not is_set.any():
        return ""
    digest = hashlib.blake2b(repr(values.shape).encode() + np.packbits(is_set).tobytes())
    digest.update(flat[is_set].astype(np.float32).tobytes())
    return digest.hexdigest()
