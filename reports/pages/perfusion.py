"""The perfusion panel of a patient's page: CT and maps of each slice, the curves, and what was found in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.document.tables import number, words
from reports.figures.map_colours import MapScale, palette
from reports.figures.perfusion_charts import curve_charts
from reports.figures.perfusion_picture import MapPlane, PerfusionPicture, PlacePlane
from reports.figures.scan_picture import Plane, is_mirrored
from reports.pages.scans import slice_name
from tasks.views.convention import RADIOLOGICAL, Convention, edge_letters, in_words

_STOPS = 9  # of the palette along a colour bar: between them it is as good as linear
_PLACE_SCALE = 2  # of the small pictures of vessels, so that letters and marks have the size of those on the slices
_PLACE_NAMES = {"aif": "AIF", "vof": "VOF"}


def perfusion_panel(picture: PerfusionPicture, name: str, convention: Convention = RADIOLOGICAL) -> dict[str, Any]:
    """What the template draws of one series.

    Parameters
    ----------
    picture : as ``reports.figures.perfusion_picture`` made it
    name : beginning of the identifiers in the page, of the characters a-z, 0-9 and the hyphen
    convention : which side of the patient is on the left
    """
    findings, curves = picture["findings"], picture["curves"]
    charts = []
    if curves is not None:
        charts = curve_charts(curves, findings["affected_side"], findings["vof_scaling"], name=name)
    low, high = picture["base"]["window"]
    keys = [(one, one) for one in ("core", "hypoperfused") if any(plane[f"{one}_mm2"] for plane in picture["maps"])]  # type: ignore[literal-required]
    keys += [("plain", "region")] if any(plane["regions"] for plane in picture["base"]["planes"]) else []
    keys += [("rim", "brain mask")] if picture["scales"] else []
    return {
        "scale": f"linear-gradient(90deg, {', '.join(_stops())})",
        "refusal": words(findings["reason"]),
        "detail": findings["detail"],
        "tiles": _tiles(findings),
        "rows": _rows(picture),
        "keys": [{"look": look, "text": text} for look, text in keys],
        "letters": edge_letters(convention),
        "is_mirrored": is_mirrored(picture["base"], convention),
        "facts": _facts(picture),
        "charts": charts,
        "vessels": [_places(plane) for plane in picture["vessels"]],
        "note": f"{in_words(convention)} CT window {number(low, 0)} to {number(high, 0)} HU. "
        + ("Where a map shows the ground, it has no value." if picture["scales"] else ""),
    }


def _stops() -> list[str]:
    """Colours along a bar."""
    colours = palette()
    chosen = [colours[round(step * (len(colours) - 1) / (_STOPS - 1))] for step in range(_STOPS)]
    return ["#{:02x}{:02x}{:02x}".format(*colour) for colour in chosen]


def _rows(picture: PerfusionPicture) -> list[dict[str, Any]]:
    """One row per slice; without maps the slices stand in one row."""
    pairs = list(zip(picture["base"]["planes"], picture["maps"], strict=True))
    if not picture["scales"]:
        return [{"title": "Slices", "cells": [_ct_cell(plane, of, slice_name(plane)) for plane, of in pairs]}]
    return [
        {
            "title": slice_name(plane),
            "cells": [_ct_cell(plane, of, "CT"), *(_map_cell(plane, of, scale) for scale in picture["scales"])],
        }
        for plane, of in pairs
    ]


def _ct_cell(plane: Plane, of: MapPlane, title: str) -> dict[str, Any]:
    """The baseline image with outlines."""
    areas = [
        f"{name} {number(area / 100, 1)}\u00a0cm²"
        for name, area in (("core", of["core_mm2"]), ("hypoperfused", of["hypoperfused_mm2"]))
        if area
    ]
    said = ", ".join(areas)
    return {
        "kind": "ct", "plane": plane, "hypoperfused": of["hypoperfused"], "title": title, "under": said,
        "label": f"CT, {slice_name(plane)}: {said or 'nothing outlined'}.",
    }  # fmt: skip


def _map_cell(plane: Plane, of: MapPlane, scale: MapScale) -> dict[str, Any]:
    """One map with its colour bar."""
    low, high = (f"{scale[end]:g}" for end in ("low", "high"))
    return {
        "kind": "map", "plane": plane, "png": of["maps"][scale["name"]], "size": of["size"],
        "title": f"{scale['title']}, {scale['unit']}", "low": low, "high": f"≥ {high}",
        "label": f"{scale['title']}, {slice_name(plane)}: {low} dark to {high} {scale['unit']} and more light.",
    }  # fmt: skip


def _tiles(findings: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The main numbers: value, name, and by which rule."""
    share, tmax = findings["relative_cbf"], findings["hypoperfusion_tmax_s"]
    core_rule = "" if share is None else f"CBF < {number(100 * share, 0)} % of normal"
    if core_rule and findings["core_tmax_s"] is not None:
        core_rule += f", Tmax > {findings['core_tmax_s']:g} s"
    late_rule = "" if tmax is None else f"Tmax > {tmax:g} s"
    tiles = [
        (_unit(findings["core_volume_ml"], 1, " ml"), "Core", core_rule),
        (_unit(findings["hypoperfused_volume_ml"], 1, " ml"), "Hypoperfused", late_rule),
        (_unit(findings["mismatch_ratio"], 1, ""), "Mismatch ratio", "hypoperfused over core"),
        (findings["affected_side"] or "", "Affected side", ""),
    ]  # fmt: skip
    return [tile for tile in tiles if tile[0]]


def _facts(picture: PerfusionPicture) -> list[tuple[str, str]]:
    """What the numbers rest on."""
    findings, curves = picture["findings"], picture["curves"]
    facts = [
        ("Quality of the AIF", _unit(findings["aif_quality"], 2, " of 1")),
        ("AIF raised to the VOF's area", _unit(findings["vof_scaling"], 2, " times")),
    ]
    if curves is not None:
        usable = curves["is_usable"]
        facts.append(("Frames used", f"{sum(usable)} of {len(usable)}"))
        moved = [
            mm for mm, is_used in zip(curves["displacement_mm"], usable, strict=False) if is_used and mm is not None
        ]
        facts.append(("Largest displacement of a used frame", _unit(max(moved, default=None), 1, " mm")))
    facts.append(("Notes", ", ".join(words(note) for note in findings["notes"])))
    return [fact for fact in facts if fact[1]]


def _unit(value: float | None, digits: int, unit: str) -> str:
    """A number with its unit; empty for none."""
    return "" if value is None else number(value, digits) + unit


def _places(plane: PlacePlane) -> dict[str, Any]:
    """A slice with the voxels of the curves."""
    said = " and ".join(
        f"{len(found)} of {plane['n_voxels'][name]} voxels of the {_PLACE_NAMES[name]}"
        for name, found in plane["places"].items()
    )
    return {
        "grey": plane["grey"],
        "width": plane["width"] * _PLACE_SCALE,
        "height": plane["height"] * _PLACE_SCALE,
        "marks": [
            (name, x * _PLACE_SCALE, y * _PLACE_SCALE) for name, found in plane["places"].items() for x, y in found
        ],
        "caption": f"Slice {plane['slice']} of {plane['n_slices']}: {said}",
    }
