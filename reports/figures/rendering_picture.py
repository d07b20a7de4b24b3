"""A lesion's rendering as JSON: three PNGs of one size and one scale, with the volume and the side that pages name."""

from __future__ import annotations

import json
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image

from reports.figures.scan_picture import png
from tasks.lesion import LesionMeasures
from tasks.views.convention import RADIOLOGICAL, Convention
from tasks.views.rendering import Rendering, View

RENDERING_SUFFIX = "_rendering.json"
LEVELS = 48  # of each colour: fewer show as rings, more fill the file without adding anything to see
BRAIN_COLOUR = (176.0, 182.0, 190.0)
LESION_COLOUR = (255.0, 70.0, 56.0)


class RenderedView(TypedDict):
    """One view as base64 PNG without prefix; ``seen_from`` is ``left``, ``right``, ``front`` or ``above``."""

    seen_from: str
    png: str


class RenderingPicture(TypedDict):
    """Views of one lesion on square fields of ``size`` pixels; ``side`` is that of its greater part."""

    convention: str
    volume_ml: float
    side: str
    size: int
    pixel_mm: float
    views: list[RenderedView]


def rendering_picture(rendering: Rendering, measures: LesionMeasures) -> RenderingPicture:
    """Colour and encode a rendering; the same rendering gives the same bytes.

    Parameters
    ----------
    rendering : Rendering
    measures : of the lesion on its own grid; the views' pixels are too coarse to measure by
    """
    return RenderingPicture(
        convention=RADIOLOGICAL,
        volume_ml=round(measures.volume_ml, 3),
        side=measures.side,
        size=rendering.views[0].brain.shape[0],
        pixel_mm=rendering.pixel_mm,
        views=[RenderedView(seen_from=one.seen_from, png=_png(coloured(one))) for one in rendering.views],
    )


def rendering_files(prefix: str, picture: RenderingPicture) -> dict[str, bytes]:
    """A rendering as a file of a step.

    Parameters
    ----------
    prefix : of the step's files
    picture : RenderingPicture
    """
    return {f"{prefix}{RENDERING_SUFFIX}": json.dumps(picture, separators=(",", ":"), allow_nan=False).encode()}


def is_turned(picture: RenderingPicture, seen_from: str, shown_as: Convention) -> bool:
    """Whether a page of a convention must mirror a view from left to right; one from a side has no sides to turn."""
    return seen_from in ("front", "above") and (picture["convention"] == RADIOLOGICAL) != (shown_as == RADIOLOGICAL)


def coloured(view: View) -> npt.NDArray[np.uint8]:
    """A view in colours on black, (h, w, 3): the lesion in red through a grey brain."""
    brain = (view.brain * view.brain_shade)[..., None] * np.array(BRAIN_COLOUR, np.float32)
    lesion = view.lesion_shade[..., None] * np.array(LESION_COLOUR, np.float32)
    seen = view.veil[..., None] * brain + (1 - view.veil[..., None]) * lesion
    mixed = view.lesion[..., None] * seen + (1 - view.lesion[..., None]) * brain
    return np.asarray(np.rint(np.rint(mixed * (LEVELS / 255)) * (255 / LEVELS)), dtype=np.uint8)


def _png(colours: npt.NDArray[np.uint8]) -> str:
    """A PNG, base64."""
    return png(Image.fromarray(colours), compress_level=6)  # level 9 takes five times as long for 3 % fewer bytes
