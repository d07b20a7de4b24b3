"""Reconstruction kernels: which are soft enough to show an early infarct, by each vendor's own names.

A *sharp* kernel is made for bone or lung: its noise hides differences of a few HU. What is neither known as sharp nor
as soft is *unknown*, and stands between them.
"""

from __future__ import annotations

import re
from typing import Literal

from cohorts.dicom.vocabulary import words

Sharpness = Literal["soft", "unknown", "sharp"]

#: Siemens: a letter for the body part, digits for the sharpness, 10 smoothest to 90 sharpest (Hr38f, H60s, J40, Bl64).
_SIEMENS = re.compile(r"(?:[BHJTUIQ][A-Z]?)(\d{2})[A-Z]?")
SIEMENS_SOFT_BELOW, SIEMENS_SHARP_FROM = 50, 55  # H50, B50 and B53 lie between brain and bone
#: Canon and Toshiba: FC and a number; ranges for bone, lung and bone (conformance statements of the Aquilion series).
_CANON = re.compile(r"FC(\d{2})")
CANON_SHARP = (range(30, 40), range(50, 60), range(80, 90))
#: Philips: brain and body, from smooth to sharp; the Y family, D, E, F and L are for bone and lung.
_PHILIPS_SOFT = re.compile(r"(A|B|C|[EU][ABC]|S[ABC]|BRAIN ?[A-Z]*)")
_PHILIPS_SHARP = re.compile(r"(D|E|F|L|Y[A-EHX]|UD|ED)")
#: Words of GE (STANDARD, BONEPLUS, EDGE, LUNG, ULTRA), of United Imaging (H_SOFT_B, B_VSHARP_C) and of people.
_SOFT_WORDS = re.compile(
    r"\b(SOFT\w*|STANDARD\w*|STND|STD|BRAIN\w*|SMOOTH\w*|WEICHTEIL\w*|PARENCHYM\w*|HIRN\w*|CEREBR\w*)\b"
)
_SHARP_WORDS = re.compile(
    r"\b(BONE\w*|LUNG\w*|EDGE\w*|ULTRA|V?SHARP\w*|KNOCHEN\w*|OSS?EUX|OSEO|OSS?EO|OSSO|HUESO\w*|BOT|KOST\w*|KNOGLE\w*"
    r"|SKELET\w*|LUU\w*|IAC|POUMON\w*|PULM\w*|INNER ?EAR|TEMPORAL BONES?|FELSENBEIN\w*|ROCHER\w*|HRCT|KEMIK)\b|骨|뼈"
)
#: Names for what is done to bone, not for how it is shown.
_BONE_TAKEN_AWAY = re.compile(r"\bBONE ?(REMOV|SUBTR|LESS)\w*|\b(NO|WITHOUT|OHNE|SANS) (BONE|KNOCHEN)\w*")


def kernel_sharpness(kernel: str, manufacturer: str = "") -> Sharpness:
    """Class of a Convolution Kernel as the header writes it, several values joined by blanks.

    >>> [kernel_sharpness(name) for name in ("H31s", "Hr60f 3", "FC30", "BONEPLUS", "UB", "H50s")]
    ['soft', 'sharp', 'sharp', 'sharp', 'soft', 'unknown']
    """
    text = words(kernel)
    if found := sharpness_told(text):
        return found
    first = text.split(" ")[0]
    if number := _CANON.fullmatch(first):
        return "sharp" if any(int(number[1]) in sharp for sharp in CANON_SHARP) else "soft"
    if number := _SIEMENS.fullmatch(first):
        sharpness = int(number[1])
        if sharpness >= SIEMENS_SHARP_FROM:
            return "sharp"
        return "soft" if sharpness < SIEMENS_SOFT_BELOW else "unknown"
    if manufacturer and "PHILIPS" not in manufacturer.upper():
        return "unknown"
    if _PHILIPS_SHARP.fullmatch(first):
        return "sharp"
    return "soft" if _PHILIPS_SOFT.fullmatch(first) else "unknown"


def sharpness_told(text: str) -> Sharpness | None:
    """What words say of the kernel; None where they say nothing, or two things."""
    is_sharp = bool(_SHARP_WORDS.search(_BONE_TAKEN_AWAY.sub(" ", text)))
    is_soft = bool(_SOFT_WORDS.search(text))
    if is_sharp == is_soft:
        return None
    return "sharp" if is_sharp else "soft"


def kernel_in(text: str) -> str:
    """A vendor's kernel name within a description, as Siemens writes them there; empty where there is none.

    >>> kernel_in(words("Head native 2.0 H60s"))
    'H60S'
    """
    return next((word for word in text.split() if _SIEMENS.fullmatch(word) or _CANON.fullmatch(word)), "")
