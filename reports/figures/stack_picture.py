"""A scan's slices as JSON for a reading page: PNGs of 256 grey levels, which the page windows, and their scale."""

from __future__ import annotations

import json

from PIL import Image

from reports.figures.scan_picture import png
from tasks.views.slice_stack import SliceStack


def stack_json(stack: SliceStack, unit: str) -> str:
    """Encode slices; nothing of the patient but the image is in it.

    Parameters
    ----------
    stack : SliceStack
    unit : of its values, such as ``HU``; empty where they have none
    """
    height, width = stack.slices[0].shape
    content = {
        "width": width,
        "height": height,
        "pixel_mm": round(stack.pixel_mm, 3),
        "thickness_mm": round(stack.thickness_mm, 2),
        "is_averaged": stack.is_averaged,
        "unit": unit,
        "range": [round(value, 3) for value in stack.value_range],
        "window": [round(value, 3) for value in stack.window],
        "slices": [png(Image.fromarray(one), compress_level=6) for one in stack.slices],
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False)
