"""A program as a vendor might sell it: it thresholds a NIfTI scan and writes a mask, standard library alone."""

from __future__ import annotations

import sys
from pathlib import Path

VERSION = "threshold 1.0"
SOURCE = r"""#!{python} -IS
import array, gzip, os, struct, sys, time

if sys.argv[1:] == ["--version"]:
    print("{version}")
    raise SystemExit
scan, out, limit = sys.argv[1], sys.argv[2], float(sys.argv[3])
content = open(scan, "rb").read()
content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
(kind,) = struct.unpack_from("<h", content, 70)
offset, slope, intercept = (int(struct.unpack_from("<f", content, 108)[0]), *struct.unpack_from("<ff", content, 112))
values = array.array({{2: "B", 4: "h", 16: "f", 64: "d"}}[kind])
values.frombytes(content[offset:])
slope = slope or 1.0
cut = (limit - intercept) / slope
header = bytearray(content[:offset])
struct.pack_into("<hh", header, 70, 2, 8)
struct.pack_into("<ff", header, 112, 1.0, 0.0)
open(out + "/lesion.nii", "wb").write(bytes(header) + bytes(value >= cut for value in values))
"""


def write_program(path: Path, version: str = VERSION, more: str = "") -> Path:
    """Write the program; ``more`` runs at its end."""
    path.write_text(SOURCE.format(python=sys.executable, version=version) + more)
    path.chmod(0o755)
    return path
