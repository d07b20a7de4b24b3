"""A lesion in three dimensions on a patient's page: three views with their sides, volume and side."""

from __future__ import annotations

from typing import Any

from reports.document.tables import number
from reports.figures.rendering_picture import RenderingPicture, is_turned
from tasks.views.convention import RADIOLOGICAL, Convention, edge_letters
from tasks.views.display_plane import FINEST_MM

_TITLES = {
    "left": "From the patient's left",
    "right": "From the patient's right",
    "front": "From the front",
    "above": "From above, anterior is up",
}
_LETTERS = {"left": ("A", "P"), "right": ("P", "A")}  # who looks at the left cheek has the nose on the left
#: Of the greater part.
_SIDES = {"left": "left side", "right": "right side", "both": "equally on both sides"}


def rendering_panel(picture: RenderingPicture, convention: Convention = RADIOLOGICAL) -> dict[str, Any]:
    """What the template draws of a lesion's rendering.

    Parameters
    ----------
    picture : as ``reports.figures.rendering_picture`` made it
    convention : which side of the patient is on the left
    """
    found = f"Lesion of {number(picture['volume_ml'], 1)} ml, {_SIDES[picture['side']]}"
    first = edge_letters(convention)[0]
    side = "right" if first == "R" else "left"
    return {
        "width": round(picture["size"] * picture["pixel_mm"] / FINEST_MM),  # letters as large as on the slices
        "views": [
            {
                "png": one["png"],
                "alt": f"{found}, in three dimensions. {_TITLES[one['seen_from']]}.",
                "caption": _TITLES[one["seen_from"]],
                "letters": _LETTERS.get(one["seen_from"]) or edge_letters(convention),
                "is_mirrored": is_turned(picture, one["seen_from"], convention),
            }
            for one in picture["views"]
        ],
        "note": (
            f"{found}: red, seen through the brain's surface, the paler the deeper it lies. From the front and from "
            f"above the patient's {side} is on the left, as on the slices. All three views have one scale."
        ),
    }
