"""On which side of a picture the patient's right lies; sides in words and tables are always the patient's own.

*Radiological*: the patient's right is on the left of the picture, as on a workstation. *Neurological*: left is left.
Anterior is up in both.
"""

from __future__ import annotations

from typing import Literal

Convention = Literal["radiological", "neurological"]

RADIOLOGICAL: Convention = "radiological"


def edge_letters(convention: Convention) -> tuple[str, str]:
    """The patient's sides at the left and at the right edge of a picture.

    >>> edge_letters("radiological"), edge_letters("neurological")
    (('R', 'L'), ('L', 'R'))
    """
    return ("R", "L") if convention == RADIOLOGICAL else ("L", "R")


def in_words(convention: Convention) -> str:
    """The convention as a sentence under a picture."""
    side = "right" if convention == RADIOLOGICAL else "left"
    return f"{convention.capitalize()} convention: the patient's {side} is on the left of the picture, anterior is up."
