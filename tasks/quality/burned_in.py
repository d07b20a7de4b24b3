"""Text drawn into the voxels of a slice, outside the body: strokes of one value, small, of one height, in a row.

A scanner's voxels are noisy: outside the body no two neighbours, and far fewer the strokes of several letters, have one
bright value. Text that a console or a workstation drew has. What is not found: text over the body, where its strokes
touch anatomy; text after lossy compression, which makes its values differ, or with letters that are smooth and small;
text that is darker than what is around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tasks.arrays import AnyArray

#: Fewer letters in a row may be a mark of the side or a scale, which name nobody.
FEWEST_LETTERS = 4
#: Heights of letters, pixels: smaller ones cannot be read, larger ones are parts of the table or the head rest.
SHORTEST, TALLEST = 5, 48
WIDEST_SHARE = 1.6  # of a letter's height
#: Share of its box that a letter's strokes fill, thin or bold.
LEAST_FILLED, MOST_FILLED = 0.12, 0.95
#: Share of a letter's pixels that have its brightest value; the others are its smooth edge.
LEAST_CONSTANT = 0.1
#: Two letters of a row: gap in heights, share of the height in common, and ratio of heights (capital and small).
WIDEST_GAP, LEAST_OVERLAP, MOST_UNEVEN = 1.5, 0.5, 2.2
#: Brighter than the air by this share of the body's brightness is a stroke or the body.
BRIGHT_SHARE = 0.25
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class _Letter:
    """Box and value of one candidate, pixels."""

    top: int
    bottom: int
    left: int
    right: int
    value: float

    @property
    def height(self) -> int:
        return self.bottom - self.top


def drawn_letters(image: AnyArray) -> int:
    """How many letters stand in the longest row of text outside the body, along rows or columns.

    Parameters
    ----------
    image : (rows, columns) array, the stored values of one slice

    Returns
    -------
    0 where there are fewer than ``FEWEST_LETTERS``.
    """
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    air, bright = float(np.median(border)), float(np.percentile(image, 99))
    top = max(bright, (air + float(image.max())) / 2) if bright <= air else bright
    if top <= air:
        return 0
    parts, n_parts = ndimage.label(image > air + BRIGHT_SHARE * (top - air), _NEIGHBOURS)
    if n_parts < FEWEST_LETTERS:
        return 0
    boxes = ndimage.find_objects(parts)
    found = [_letter(image, parts, number, box) for number, box in enumerate(boxes, start=1)]
    letters = [letter for letter in found if letter]
    turned = [_Letter(one.left, one.right, one.top, one.bottom, one.value) for one in letters]
    longest = max(_longest_row(letters), _longest_row(turned))
    return longest if longest >= FEWEST_LETTERS else 0


def _letter(image: AnyArray, parts: AnyArray, number: int, box: tuple[slice, ...]) -> _Letter | None:
    """A part of the image as a letter; None where it is none."""
    rows, columns = box
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if not (SHORTEST <= max(height, width) <= TALLEST):
        return None
    inside = parts[box] == number
    if not LEAST_FILLED <= inside.mean() <= MOST_FILLED and min(height, width) > 3:  # a stroke alone fills its box
        return None
    values = image[box][inside]
    brightest = values.max()
    if (values == brightest).mean() < LEAST_CONSTANT:
        return None
    return _Letter(rows.start, rows.stop, columns.start, columns.stop, float(brightest))


def _longest_row(letters: list[_Letter]) -> int:
    """Letters of the longest row of one value."""
    longest = 0
    for value in {letter.value for letter in letters}:
        own = [one for one in letters if one.value == value and one.height >= SHORTEST]
        own = sorted(
            (one for one in own if one.right - one.left <= WIDEST_SHARE * one.height), key=lambda one: one.left
        )
        lengths: list[int] = []
        for place, letter in enumerate(own):
            before = [lengths[other] for other in range(place) if _follows(own[other], letter)]
            lengths.append(1 + max(before, default=0))
        longest = max([longest, *lengths])
    return longest


def _follows(first: _Letter, second: _Letter) -> bool:
    """Whether the second letter stands behind the first on one line."""
    low, high = sorted((first.height, second.height))
    overlap = min(first.bottom, second.bottom) - max(first.top, second.top)
    gap = second.left - first.right
    return overlap >= LEAST_OVERLAP * low and high <= MOST_UNEVEN * low and 0 <= gap <= WIDEST_GAP * high
