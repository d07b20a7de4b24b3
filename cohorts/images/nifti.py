"""NIfTI files as bytes: read, decompressed and verified, with a bound on the memory taken; and written.

Nothing of a file is believed before it is checked: what its header asks for is compared with what the file can hold.
The same image is written as the same bytes.
"""

from __future__ import annotations

import gzip
import io
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal, cast

import nibabel as nib
from isal import igzip
from isal.igzip_lib import IsalError

from tasks.arrays import Affine, AnyArray

GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952, 2.3.1
GZIP_ERRORS: Any = (IsalError, EOFError, OSError)  # isal's stub declares its error class as an instance
NIFTI_HEADERS: tuple[tuple[Any, int], ...] = ((nib.Nifti1Header, 348), (nib.Nifti2Header, 540))

#: The largest image that is opened, bytes: CT perfusion of 320 slices of 512 x 512 at 19 times takes 3.2 GB.
MOST_BYTES = 4 << 30
#: What may follow the last voxel. A compressed file that goes on for longer is broken, or made to fill the memory.
MOST_TRAILING_BYTES = 64 << 20
LARGEST_RATIO = 1032  # of DEFLATE: at best 258 bytes come from two bits
CHUNK_BYTES = 1 << 20

#: How an image is compressed: the library and its level.
Compression = tuple[Literal["zlib", "isal"], int]
COMPRESSION: Compression = ("zlib", 3)  # more takes much longer and saves little
SCANNER_CODE = 1  # nifti1.h, of sform and qform: xyz of the scanner

_SILENT = logging.Logger("nibabel", logging.CRITICAL + 1)  # a bad header becomes an error, not a line on the terminal


class ImageProblemError(ValueError):
    """An image that cannot be used: ``reason`` is a code, the message says what was found, the rule and the remedy."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[ImageProblemError], tuple[str, str]]:
        return type(self), (self.reason, str(self))


def peek_header(content: bytes, name: str) -> Any:
    """Parse the header of a file's bytes, of which no more than the first are decompressed.

    Raises
    ------
    ImageProblemError
        ``truncated_file`` or ``unreadable_file``.
    """
    if not content:
        raise ImageProblemError("truncated_file", f"{name} must hold an image, got 0 bytes. Export or copy it again.")
    if not name.lower().endswith(".gz"):
        return parse_header(content, name)
    with _inflating(content, name) as stream:
        start = stream.read(NIFTI_HEADERS[-1][1])
    return parse_header(start, name)


def decompressed(content: bytes, header: Any, name: str) -> bytes | bytearray:
    """Give a file's bytes to the last voxel, decompressed where ``name`` says so, every checksum verified.

    What the header asks for is compared with what the file can hold before memory is taken.

    Raises
    ------
    ImageProblemError
        ``truncated_file``, ``unreadable_file`` or ``image_too_large``.
    """
    size = int(header.get_data_offset()) + math.prod(header.get_data_shape()) * header.get_data_dtype().itemsize
    is_packed = name.lower().endswith(".gz")
    if size > MOST_BYTES and size <= len(content) * (LARGEST_RATIO if is_packed else 1):
        raise ImageProblemError(
            "image_too_large",
            f"{name} must hold at most {MOST_BYTES} bytes, got a header that asks for {size}. "
            "Check its dimensions, or crop it to the head.",
        )
    if not is_packed:
        return content
    with _inflating(content, name) as stream:
        raw = bytearray()
        while part := stream.read(
            max(0, min(CHUNK_BYTES, size - len(raw)))
        ):  # a large read would take its memory first
            raw += part
        n_trailing = 0
        while n_more := len(stream.read(CHUNK_BYTES)):
            n_trailing += n_more
            if n_trailing > MOST_TRAILING_BYTES:
                raise ImageProblemError(
                    "image_too_large",
                    f"{name} must end with its last voxel at {size} bytes, got more than {MOST_TRAILING_BYTES} bytes "
                    "after it. Check its dimensions, or convert it again.",
                )
    return raw


@contextmanager
def _inflating(content: bytes, name: str) -> Iterator[Any]:
    """A decompressed stream over every gzip member; its errors become reasons."""
    try:
        with cast(Any, igzip.IGzipFile)(fileobj=io.BytesIO(content)) as stream:
            yield stream
    except GZIP_ERRORS as error:
        is_cut_short = isinstance(error, EOFError) and GZIP_MAGIC.startswith(content[:2])
        raise ImageProblemError(
            "truncated_file" if is_cut_short else "unreadable_file",
            f"{name} must be a whole gzip file, got {len(content)} bytes: {error}. {_gzip_remedy(content)}",
        ) from error


def _gzip_remedy(content: bytes) -> str:
    """What to do about a file that is no gzip stream."""
    is_nifti = any(
        size in (int.from_bytes(content[:4], order) for order in ("little", "big")) for _, size in NIFTI_HEADERS
    )
    return "It is not compressed: name it .nii." if is_nifti else "Export or copy it again."


def parse_header(raw: bytes, name: str) -> Any:
    """Parse the NIfTI-1 or NIfTI-2 header of decompressed bytes; ``name`` is for messages.

    Raises
    ------
    ImageProblemError
        ``truncated_file`` or ``unreadable_file``.
    """
    for header_class, size in NIFTI_HEADERS:
        if size not in (int.from_bytes(raw[:4], "little"), int.from_bytes(raw[:4], "big")):
            continue
        if len(raw) < size:
            raise ImageProblemError(
                "truncated_file",
                f"{name} must hold a header of {size} bytes, got {len(raw)}. It is cut short: export or copy it again.",
            )
        try:
            header = header_class(raw[:size], check=False)
            is_zero = header["pixdim"][1:4] == 0
            header.check_fix(logger=_SILENT)
            if not header["sform_code"]:
                header["pixdim"][1:4][is_zero] = (
                    0  # nibabel fixes a missing voxel size to 1 mm, which makes up a volume
                )
            header.get_slope_inter()
            offset = int(header.get_data_offset())
        except (nib.spatialimages.HeaderDataError, ValueError, OverflowError) as error:
            raise ImageProblemError(
                "unreadable_file", f"{name} must have a valid NIfTI header, got {error}. Convert it again."
            ) from error
        if offset < size:
            raise ImageProblemError(
                "unreadable_file",
                f"{name} must hold its voxels behind its header, got them at byte {offset}, as in the header of a "
                ".hdr and .img pair. Convert both to one .nii.gz.",
            )
        return header
    remedy = "It is compressed: name it .nii.gz." if raw.startswith(GZIP_MAGIC) else "Convert it."
    raise ImageProblemError(
        "unreadable_file", f"{name} must be a NIfTI image, got {raw[:4]!r} where the header size belongs. {remedy}"
    )


def nifti_bytes(
    values: AnyArray,
    affine: Affine,
    *,
    fields: Mapping[str, object] = MappingProxyType({}),
    frame_interval_s: float | None = None,
    form_code: int = SCANNER_CODE,
    compression: Compression = COMPRESSION,
) -> bytes:
    """An image as compressed NIfTI-1, in the array's own type; qform and sform agree.

    Parameters
    ----------
    values : (X, Y, Z) array, or with further axes
    affine : (4, 4) float array, voxel -> world, RAS, mm
    fields : further fields of the header and their values
    frame_interval_s : time between volumes
    form_code : code of qform and sform: the space in which the image lies
    compression : library and level
    """
    image = cast(Any, nib).Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, form_code)
    image.set_qform(affine, form_code)
    for name, value in fields.items():
        image.header[name] = value
    if frame_interval_s is not None:
        image.header["pixdim"][4] = frame_interval_s
    library, level = compression
    content = image.to_bytes()
    if library == "isal":
        return bytes(igzip.compress(content, level, mtime=0))
    return gzip.compress(content, compresslevel=level, mtime=0)
