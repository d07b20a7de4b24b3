"""One scan on a patient's page: its slices with what was found, and its quality figures beside the cohort's.

Outlines are coloured here, not where they were cut: which regions are affected is what the given rows say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.document.tables import DASH, number, words
from reports.figures.quality_figures import Strip, limit_text
from reports.figures.scan_picture import Plane, RegionPath, ScanPicture, is_mirrored
from reports.pages.view import TableRow, given
from tasks.anatomy import SHORT_CODES
from tasks.views.convention import RADIOLOGICAL, Convention, edge_letters, in_words

REGION_VALUES = ("fraction", "relative_difference", "probability")  # the first that is given is printed
_LEAST_NAMED_MM2 = 60.0  # a short code does not fit into a smaller piece
_TEMPLATE_NOTE = (
    "The file holds no image of the patient: the lesion is drawn where it crosses two slices of the template, one of "
    "each ASPECTS level. A part above, between or below them is not seen here."
)
_LOOKS = {True: "affected", False: "plain", None: "open"}
_LOOK_WORDS = {"affected": "affected", "plain": "not affected", "open": "no answer"}


@dataclass(frozen=True)
class SliceRow:
    """One row of pictures, one per slice: ``kind`` is regions, difference or registration."""

    kind: str
    title: str
    planes: tuple[Mapping[str, Any], ...]
    keys: tuple[Mapping[str, str], ...]
    low: str = ""
    high: str = ""


def picture_rows(
    picture: ScanPicture,
    regions: Sequence[TableRow],
    sources: Sequence[str],
    convention: Convention = RADIOLOGICAL,
    *,
    is_first: bool = True,
) -> dict[str, Any]:
    """What the template draws of one scan.

    Parameters
    ----------
    picture : as ``reports.figures.scan_picture`` made it
    regions : rows of the ``regions`` contract of this participant
    sources : those that scored this scan on the picture's label map; one row of pictures each, outlines alone where
        there is none
    convention : which side of the patient is on the left
    is_first : of the pictures of one measurement: the others leave out what does not depend on the label map
    """
    is_native = picture.get("space") != "template"
    found = {(row["source"], row["side"], row["region"]): row for row in regions}
    rows = [_region_row(picture, found, source) for source in sources] or [_region_row(picture, {}, None)]
    has_template = any(plane["template_brain"] for plane in picture["planes"])
    if is_first and any(plane["difference"] for plane in picture["planes"]):
        rows.append(_difference_row(picture, rows[0]))
    if is_first and is_native and (has_template or any(plane["brain"] for plane in picture["planes"])):
        keys = [_key("brain", "brain mask of the scan")]
        keys += [_key("template", "brain of the template, as registered")] if has_template else []
        nothing = tuple({"regions": (), "words": ""} for _ in picture["planes"])
        rows.append(SliceRow("registration", "Registration check", nothing, tuple(keys)))
    low, high = picture["window"]
    unit = f" {picture['unit']}" if picture["unit"] else ""
    drawn = f"Native slices, window {number(low, 0)} to {number(high, 0)}{unit}." if is_native else _TEMPLATE_NOTE
    return {
        "planes": [{**plane, "caption": _caption(plane, is_native=is_native)} for plane in picture["planes"]],
        "rows": rows,
        "note": f"{in_words(convention)} {drawn}" if is_first else "",
        "space": "native" if is_native else "template",
        "letters": edge_letters(convention),
        "is_mirrored": is_mirrored(picture, convention),
    }


def quality_rows(scan: TableRow, strips: Mapping[str, Strip]) -> list[dict[str, str]]:
    """The figures that this scan has, each beside those of all scans of its modality."""
    rows = []
    for column, strip in strips.items():
        value = given(scan.get(column))
        if value is None:
            continue
        lower, median, upper = (number(quartile, strip.figure.digits) for quartile in strip.quartiles)
        limits = limit_text(strip.gate, strip.figure.digits)
        rows.append(
            {
                "title": strip.figure.title,
                "meaning": strip.figure.meaning,
                "value": with_unit(float(value), strip.figure.digits, strip.figure.unit),
                "svg": strip.svg(float(value)),
                "cohort": f"{median} ({lower} to {upper}), {strip.measured.size}",
                "limits": limits,
                "check": ("within" if strip.is_within(float(value)) else "outside") if limits else "",
            }
        )
    return rows


def with_unit(value: float | None, digits: int, unit: str) -> str:
    """A number with its unit; a dash for none.

    >>> with_unit(20.04, 1, "°"), with_unit(5.0, 2, "mm"), with_unit(None, 1, "ml")
    ('20.0°', '5.00 mm', '–')
    """
    if value is None:
        return DASH
    return number(value, digits) + (unit if unit == "°" else f" {unit}" if unit else "")


def region_value(row: TableRow) -> tuple[str, str]:
    """The number that a region was judged by, and what it is called."""
    for name in REGION_VALUES:
        if (value := given(row.get(name))) is not None:
            return number(float(value), 2), words(name)
    return DASH, ""


def _region_row(picture: ScanPicture, found: Mapping[Any, TableRow], source: str | None) -> SliceRow:
    """Region outlines as one source judged them."""
    planes: list[Mapping[str, Any]] = []
    for plane in picture["planes"]:
        drawn = [_drawn(region, found, source) for region in plane["regions"]]
        named = [f"{one['side']} {words(one['region'])}" for one in drawn if one["look"] == "affected"]
        said = f"Affected: {', '.join(named) or 'none'}." if source is not None else "Region outlines."
        planes.append({"regions": sorted(drawn, key=lambda one: one["look"] == "affected"), "words": said})
    looks = {one["look"] for plane in planes for one in plane["regions"]}
    title = "Regions" if source is None else f"Regions, {source}"
    keys = [_key(look, text if source else "region") for look, text in _LOOK_WORDS.items() if look in looks]
    if any(plane["lesion"] for plane in picture["planes"]):
        keys.append(_key("lesion", "lesion"))
    return SliceRow("regions", title, tuple(planes), tuple(keys))


def _drawn(region: RegionPath, found: Mapping[Any, TableRow], source: str | None) -> dict[str, Any]:
    """One region's outline with its look and its words."""
    row = found.get((source, region["side"], region["region"]))
    affected = None if row is None else given(row.get("affected"))
    look = "plain" if source is None else _LOOKS[None if affected is None else bool(affected)]
    title = f"{region['side']} {words(region['region'])}"
    if source is not None:
        value, name = region_value(row or {})
        title += f": {_LOOK_WORDS[look]}" + (f", {name} {value}" if name else "")
    is_named = look == "affected" and region["area_mm2"] >= _LEAST_NAMED_MM2
    code = SHORT_CODES.get(region["region"], words(region["region"])) if is_named else ""
    return {**region, "look": look, "title": title, "code": code}


def _difference_row(picture: ScanPicture, judged: SliceRow) -> SliceRow:
    """The mirrored difference, with the affected regions of the first row marked."""
    planes: list[Mapping[str, Any]] = []
    for plane in judged.planes:
        marked = [{**one, "look": "marked", "code": ""} for one in plane["regions"] if one["look"] == "affected"]
        planes.append({"regions": marked, "words": "Value less the value at the mirrored point."})
    limit = number(picture["difference_limit"], 0)
    unit = f" {picture['unit']}" if picture["unit"] else ""
    keys = (_key("marked", "affected region"),) if any(plane["regions"] for plane in planes) else ()
    return SliceRow(
        "difference",
        "Difference to the mirrored side",
        tuple(planes),
        keys,
        f"−{limit}{unit} or less: lower than the other side",
        f"+{limit}{unit} or more: higher",
    )


def slice_name(plane: Plane) -> str:
    """Which slice of a scan it is."""
    return f"{plane['level'].capitalize()}, slice {plane['slice']} of {plane['n_slices']}, {_height(plane)}"


def _caption(plane: Plane, *, is_native: bool) -> str:
    """Which slice it is, of the scan or of the template."""
    if is_native:
        return slice_name(plane)
    nothing = "" if plane["lesion"] else ": no lesion here"
    return f"{plane['level'].capitalize()}, {_height(plane)} of the template{nothing}"


def _height(plane: Plane) -> str:
    """Where a slice lies."""
    return f"z\u00a0{number(plane['height_mm'], 0)}\u00a0mm"


def _key(look: str, text: str) -> dict[str, str]:
    """An entry of the legend."""
    return {"look": look, "text": text}
