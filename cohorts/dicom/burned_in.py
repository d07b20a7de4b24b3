"""Text in the pixels of a series whose header does not say so: a name in the corner of a slice would go on with it."""

from __future__ import annotations

from cohorts.dicom.pixels import read_slices
from cohorts.dicom.stacks import Stack
from cohorts.images.mask import ImageProblemError
from tasks.quality.burned_in import drawn_letters

BURNED_IN = "burned_in_text"
#: Slices read at once: a series of thousands would not fit into memory as a whole.
_AT_ONCE = 64


def text_in(stack: Stack) -> dict[str, float]:
    """Look for text in the slices of a stack, at the first time of each place.

    Returns
    -------
    The number of slices with text and of letters in the longest row; empty where there is none, or where pixels cannot
    be read, which the conversion says.
    """
    frames = [place[0] for place in stack.places]
    letters = []
    try:
        for start in range(0, len(frames), _AT_ONCE):
            letters += [drawn_letters(image) for image in read_slices(frames[start : start + _AT_ONCE]).stored]
    except ImageProblemError:
        return {}
    if not any(letters):
        return {}
    return {"n_slices_with_text": sum(map(bool, letters)), "n_letters": max(letters)}


def text_refused(numbers: dict[str, float]) -> ImageProblemError:
    """The refusal of a series with text; the text itself is read by nobody here."""
    rule = (
        f"slices must hold no text outside the head, and {numbers['n_slices_with_text']} seem to: rows of up to "
        f"{numbers['n_letters']} letters of one value"
    )
    remedy = "Look at the series. Export it without overlays, or import it with --keep-text if it is no text."
    return ImageProblemError(BURNED_IN, f"{rule}. {remedy}")
