"""Scans of several participants with the same voxels: one file copied under two names, as it is or compressed again.

A gzip file ends with the checksum and the size of what it holds, so that almost every file is told apart without being
read; those that agree are compared byte by byte. Images without any voxel above or below 0 say "no lesion", and are
alike by right.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np

from cohorts.folder.problems import Problem, printable
from cohorts.folder.scans import FILE, Scan
from cohorts.images.nifti import ImageProblemError, decompressed, peek_header
from cohorts.store.share import read_file

GZIP_TRAILER = 8  # bytes: CRC-32 and size of the content, RFC 1952
OTHERS_SHOWN = 3


def same_content(scans: Iterable[Scan], folder: Path) -> list[Problem]:
    """Return one warning per image that several participants have.

    Parameters
    ----------
    scans : those that can be used
    folder : the cohort folder
    """
    alike: dict[bytes, list[Scan]] = defaultdict(list)
    for scan in scans:
        if mark := _mark(folder / scan.path):
            alike[mark].append(scan)
    problems = []
    for group in alike.values():
        if len({scan.participant_id for scan in group}) > 1:
            contents: dict[str, list[Scan]] = defaultdict(list)
            for scan in group:
                if digest := _digest(folder / scan.path):
                    contents[digest].append(scan)
            problems += [_warning(same) for same in contents.values() if len({s.participant_id for s in same}) > 1]
    return problems


def _warning(same: list[Scan]) -> Problem:
    """The warning about one image."""
    first, *others = same
    named = ", ".join(printable(scan.participant_id) for scan in others[:OTHERS_SHOWN])
    more = f" and {len(others) - OTHERS_SHOWN} more" if len(others) > OTHERS_SHOWN else ""
    rule = f"must be of one participant; {named}{more} has the same voxels under another name"
    remedy = "Look which of them it shows, and give the others their own file."
    return Problem(FILE, None, "path", first.path, rule, remedy, "same_content", first.participant_id, is_warning=True)


def _mark(path: Path) -> bytes:
    """What equal contents share: checksum and size; nothing where the file cannot be read."""
    try:
        if path.name.lower().endswith(".gz"):
            with path.open("rb") as stream:
                stream.seek(-GZIP_TRAILER, 2)
                return stream.read()
        content = read_file(path)
    except OSError:
        return b""
    return zlib.crc32(content).to_bytes(4, "little") + (len(content) & 0xFFFFFFFF).to_bytes(4, "little")


def _digest(path: Path) -> str:
    """Digest of an image's bytes; nothing where it cannot be read or holds zeros only."""
    try:
        packed = read_file(path)
        content = bytes(decompressed(packed, peek_header(packed, path.name), path.name))
        values = np.asanyarray(nib.Nifti1Image.from_bytes(content).dataobj)
    except (OSError, ImageProblemError, nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError):
        return ""  # said elsewhere
    except ValueError:  # cut off, or a header without sense
        return ""
    return hashlib.sha256(content).hexdigest() if np.any(values) else ""
