"""Scans of several participants with the same voxels: one file copied under two names, as it is or saved again.

Voxels are compared, however they are compressed, stored (type of number, order of axes) or described by the header.
Images without any voxel above or below 0 say "no lesion", and are alike by right.
"""

from __future__ import annotations

import hashlib
import math
import os
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

LARGEST_BYTES = 2**28  # of voxels; larger images, as of CT perfusion, are told apart by their checksum
GZIP_TRAILER = 8  # bytes: CRC-32 and size of the content, RFC 1952
OTHERS_SHOWN = 3
_UNREADABLE = (
    OSError, EOFError, ValueError, ImageProblemError, nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
)  # fmt: skip


def same_content(scans: Iterable[Scan], folder: Path) -> list[Problem]:
    """Return one warning per image that several participants have.

    Parameters
    ----------
    scans : those that can be used
    folder : the cohort folder
    """
    of_one_size: dict[tuple[int, ...], list[Scan]] = defaultdict(list)
    for scan in scans:
        if sides := _sides(folder / scan.path):
            of_one_size[sides].append(scan)
    alike: dict[str, list[Scan]] = defaultdict(list)
    for scan in (one for group in of_one_size.values() if _is_shared(group) for one in group):
        if digest := _digest(folder / scan.path):
            alike[digest].append(scan)
    return [_warning(same) for same in alike.values() if _is_shared(same)]


def _is_shared(scans: list[Scan]) -> bool:
    """Whether they are of several participants."""
    return len({scan.participant_id for scan in scans}) > 1


def _warning(same: list[Scan]) -> Problem:
    """The warning about one image."""
    first = same[0]
    others = [one for one in dict.fromkeys(scan.participant_id for scan in same) if one != first.participant_id]
    named = ", ".join(printable(one) for one in others[:OTHERS_SHOWN])
    more = f" and {len(others) - OTHERS_SHOWN} more" if len(others) > OTHERS_SHOWN else ""
    verb = "has" if len(others) == 1 else "have"
    rule = f"must be of one participant; {named}{more} {verb} the same voxels under another name"
    remedy = "Look which of them it shows, and give the others their own file."
    return Problem(FILE, None, "path", first.path, rule, remedy, "same_content", first.participant_id, is_warning=True)


def _sides(path: Path) -> tuple[int, ...]:
    """Sides of an image in voxels, in no order: images can be alike only where they share them. Empty if unreadable."""
    try:
        image: Any = nib.load(path)
    except _UNREADABLE:
        return ()  # said elsewhere
    return tuple(sorted(image.shape))


def _digest(path: Path) -> str:
    """Digest of an image's voxels, or a large one's checksum; nothing where it cannot be read or holds zeros only."""
    try:
        image: Any = nib.load(path)
        if math.prod(image.shape) * image.get_data_dtype().itemsize > LARGEST_BYTES:
            return _checksum(path)
        packed = read_file(path)
        content = decompressed(packed, peek_header(packed, path.name), path.name)
        upright: Any = nib.as_closest_canonical(nib.Nifti1Image.from_bytes(bytes(content)))  # type: ignore[no-untyped-call]
        values = np.asanyarray(upright.dataobj)
        if values.dtype.kind not in "biuf":  # colours and complex numbers are refused elsewhere
            return ""
    except _UNREADABLE:
        return ""
    flat = values.ravel(order="F")
    is_set = flat != 0
    if not is_set.any():
        return ""
    digest = hashlib.blake2b(repr(values.shape).encode() + np.packbits(is_set).tobytes())
    digest.update(flat[is_set].astype(np.float32).tobytes())
    return digest.hexdigest()


def _checksum(path: Path) -> str:
    """Of a file's content: as gzip keeps it, or made from the bytes."""
    with path.open("rb") as file:
        if not path.name.lower().endswith(".gz"):
            return hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(-GZIP_TRAILER, os.SEEK_END)
        return file.read().hex()
