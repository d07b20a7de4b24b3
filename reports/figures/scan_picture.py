"""A scan's key slices as JSON: grey and mirrored-difference PNGs, and outlines as SVG paths that a page colours later.

Which regions are affected depends on the rule in force when a page is made, so no outline is burnt into a picture.
Positions are pixels of the grey picture, from its upper left corner; sides are those of the patient.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable
from typing import Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image

from tasks.anatomy import LabelTable
from tasks.views.convention import RADIOLOGICAL, Convention
from tasks.views.display_plane import Outlines
from tasks.views.key_slices import DIFFERENCE_PIXEL_MM, KeySlice, KeySlices

PICTURE_SUFFIX = "_keyslices.json"
GREY_LEVELS = 64  # noise of CT fills more without adding anything to see, and the file would be half as large again
#: Okabe and Ito (2008), blue and vermillion, through a light grey: lower and higher than the other side.
DIFFERENCE_COLOURS = ((0, 114, 178), (242, 242, 242), (213, 94, 0))
DIFFERENCE_STEPS = 33  # an odd number, so that no difference has a colour of its own


_MAP_CHARACTERS = 8  # of a label map's digest in a file's name


class RegionPath(TypedDict):
    """A region's outline on one slice, its area, and where its name may stand."""

    label: int
    side: str
    region: str
    path: str
    area_mm2: float
    x: float
    y: float


class Plane(TypedDict):
    """One slice: pictures as base64 PNG without prefix, outlines as SVG path data, empty where there is none.

    The difference picture is coarser: it is drawn from the same corner at ``difference_size``, pixels of the grey one.
    """

    level: str
    slice: int
    n_slices: int
    height_mm: float
    width: int
    height: int
    pixel_mm: float
    grey: str
    difference: str
    difference_size: list[float]
    regions: list[RegionPath]
    brain: str
    template_brain: str
    lesion: str


class ScanPicture(TypedDict):
    """The slices of one scan, from the lowest to the highest.

    ``convention`` is ``radiological``; older pictures have a sentence there and show the patient's left on the left.
    ``space`` is ``native``, or ``template`` where the slices are the template's. ``label_map`` is the sha256 of the
    map whose regions are outlined, empty where it is not known.
    """

    convention: str
    space: Literal["native", "template"]
    label_map: str
    unit: str
    window: list[float]
    difference_limit: float
    planes: list[Plane]


def scan_picture(slices: KeySlices, table: LabelTable, unit: str, label_map: str = "") -> ScanPicture:
    """Encode key slices; the same slices give the same bytes.

    Parameters
    ----------
    slices : KeySlices
    table : LabelTable
        Of the labels that the slices' regions are numbered by.
    unit : of the scan's values, such as ``HU``; empty where they have none
    label_map : sha256 of the labels' map
    """
    names = {label.index: (label.side, label.region) for label in table.labels}
    return ScanPicture(
        convention=RADIOLOGICAL,
        space="native",
        label_map=label_map,
        unit=unit,
        window=[round(value, 3) for value in slices.window],
        difference_limit=round(slices.difference_limit, 3),
        planes=[_plane(one, names, slices.difference_limit) for one in slices.slices],
    )


def picture_files(prefix: str, pictures: Iterable[ScanPicture]) -> dict[str, bytes]:
    """Pictures of one scan, one per label map, as files of a step; the first map's has the plain name.

    Parameters
    ----------
    prefix : of the step's files
    pictures : each of another label map
    """
    named = {}
    for place, picture in enumerate(pictures):
        map_name = f"_map-{picture['label_map'][:_MAP_CHARACTERS]}" if place else ""
        content = json.dumps(picture, separators=(",", ":"), allow_nan=False)
        named[f"{prefix}{map_name}{PICTURE_SUFFIX}"] = content.encode()
    return named


def is_mirrored(picture: ScanPicture, shown_as: Convention) -> bool:
    """Whether a page of a convention must mirror a picture, whole, from left to right."""
    return (picture["convention"] == RADIOLOGICAL) != (shown_as == RADIOLOGICAL)


def _plane(one: KeySlice, names: dict[int, tuple[Any, str]], limit: float) -> Plane:
    """Encode one slice."""
    height, width = one.grey.shape
    return Plane(
        level=one.level,
        slice=one.number,
        n_slices=one.n_slices,
        height_mm=round(one.height_mm, 1),
        width=width,
        height=height,
        pixel_mm=round(one.pixel_mm, 3),
        grey=grey_png(one.grey),
        difference="" if one.difference is None else _difference_png(one.difference, limit),
        difference_size=[] if one.difference is None else shown_size(one.difference, DIFFERENCE_PIXEL_MM, one.pixel_mm),
        regions=[
            RegionPath(
                label=index,
                side=names[index][0],
                region=names[index][1],
                path=svg_path(lines),
                area_mm2=round(outline_area(lines) * one.pixel_mm**2, 1),
                x=round(one.places[index][0], 1),
                y=round(one.places[index][1], 1),
            )
            for index, lines in one.regions.items()
        ],
        brain=svg_path(one.brain),
        template_brain=svg_path(one.template_brain),
        lesion=svg_path(one.lesion),
    )


def shown_size(picture: npt.NDArray[Any], own_mm: float, pixel_mm: float) -> list[float]:
    """Width and height of a coarser picture, whose pixels have ``own_mm``, in pixels of the grey one."""
    height, width = picture.shape
    return [round(size * own_mm / pixel_mm, 2) for size in (width, height)]


def outline_area(lines: Outlines) -> float:
    """Area inside closed polylines, square pixels; holes, which run the other way, are taken off."""
    return abs(sum(float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) for x, y in (line.T for line in lines))) / 2


def svg_path(lines: Outlines) -> str:
    """Closed polylines as SVG path data in tenths of a pixel.

    >>> svg_path((np.array([[1.0, 2.0], [3.04, 2.0], [3.0, 0.5], [1.0, 2.0]]),))
    'M1,2l2,0 0,-1.5z'
    """
    parts = []
    for line in lines:
        tenths = np.rint(10 * line[:-1]).astype(int)
        steps = " ".join(f"{_tenth(x)},{_tenth(y)}" for x, y in np.diff(tenths, axis=0).tolist())
        parts.append(f"M{_tenth(tenths[0, 0])},{_tenth(tenths[0, 1])}l{steps}z")
    return "".join(parts)


def _tenth(value: int) -> str:
    """Tenths as a decimal number."""
    return f"{value / 10:g}"


def grey_png(grey: npt.NDArray[np.uint8]) -> str:
    """An 8 bit PNG of fewer levels."""
    step = 256 // GREY_LEVELS
    coarse = (grey // step) * np.uint8(255 // (GREY_LEVELS - 1))
    return png(Image.fromarray(coarse))


def _difference_png(difference: npt.NDArray[np.float32], limit: float) -> str:
    """A palette PNG from blue to vermillion, transparent where there is no brain on both sides."""
    half = DIFFERENCE_STEPS // 2
    is_known = np.isfinite(difference)
    share = np.clip(np.where(is_known, difference, 0) / limit, -1, 1)
    index = np.where(is_known, np.rint(half * (share + 1)), DIFFERENCE_STEPS).astype(np.uint8)
    at = np.linspace(-1, 1, DIFFERENCE_STEPS)
    channels = [np.interp(at, [-1, 0, 1], column) for column in zip(*DIFFERENCE_COLOURS, strict=True)]
    picture = Image.fromarray(index)
    picture.putpalette(np.rint(np.stack(channels, axis=1)).astype(np.uint8).tobytes() + b"\xff\xff\xff")
    return png(picture, transparency=DIFFERENCE_STEPS)


def png(picture: Image.Image, **options: Any) -> str:
    """Base64 of a PNG."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", **{"optimize": False, "compress_level": 9, **options})
    return base64.b64encode(stream.getvalue()).decode("ascii")
