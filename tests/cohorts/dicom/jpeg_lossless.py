"""A small encoder of lossless JPEG (ITU-T T.81, process 14, selection value 1), which pydicom cannot write."""

from __future__ import annotations

import struct

import numpy as np

#: Code lengths 5 for the differences' 17 categories: not short, but valid.
_COUNTS = bytes([0, 0, 0, 0, 17, *[0] * 11])


def lossless_jpeg(pixels):
    """A 16-bit image as a JPEG picture; every pixel is predicted by its left neighbour, the first by the one above."""
    rows, columns = pixels.shape
    values = pixels.astype(np.int64)
    predicted = np.empty_like(values)
    predicted[:, 1:] = values[:, :-1]
    predicted[1:, 0] = values[:-1, 0]
    predicted[0, 0] = 1 << 15
    bits = "".join(map(_code, ((values - predicted + (1 << 15)) % (1 << 16) - (1 << 15)).ravel().tolist()))
    bits += "1" * (-len(bits) % 8)
    content = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = struct.pack(">HBHHBBBB", 11, 16, rows, columns, 1, 1, 0x11, 0)
    tables = struct.pack(">HB", 2 + 1 + 16 + 17, 0) + _COUNTS + bytes(range(17))
    scan = struct.pack(">HBBBBBB", 8, 1, 1, 0, 1, 0, 0)
    return b"\xff\xd8\xff\xc3" + frame + b"\xff\xc4" + tables + b"\xff\xda" + scan + content + b"\xff\xd9"


def _code(difference):
    """Category of a difference in five bits, and the bits within it."""
    size = abs(difference).bit_length()
    if not size or size == 16:  # the largest has no bits of its own
        return f"{size:05b}"
    return f"{size:05b}" + format(difference if difference > 0 else difference + (1 << size) - 1, f"0{size}b")
