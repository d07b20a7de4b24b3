"""The group page: every quality figure of every scan as a strip of points that open their patient.

Shape says whether a scan was used: a dot was, a cross was left out. Of many thousand scans the middle is thinned, never
the ends: every value outside the whiskers (1.5 interquartile ranges beyond the quartiles; Tukey, Exploratory Data
Analysis, 1977) or beyond a limit is drawn. Scans that were left out are thinned like the others, so that they look as
frequent as they are; all of them are named in the table of reasons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import escape
from matplotlib.ticker import MaxNLocator

from cohorts.tables.schemas import STAGES
from reports.document.chapters.flow import STAGE_TITLES
from reports.document.document import DISCLAIMER, FILE_NAME
from reports.document.page_template import page_template
from reports.document.tables import MINUS, number, words
from reports.figures.drawing import FILL, INK, MUTED, RULE
from reports.figures.quality_figures import WARN, Strip, limit_text, numbers
from reports.pages.sides import difference
from reports.pages.view import INDEX_PAGE, PAGES_FOLDER, CohortView, modality_title, page_name

MOST_INSIDE = 300  # points drawn between the whiskers of one strip; more only cover each other
_FIRST_LINKS = 20  # of a reason; the others are folded
_WIDTH, _HEIGHT, _TOP, _BOTTOM = 960.0, 86.0, 14.0, 62.0
_ROOM = 18.0  # px for half a number of the axis
_GOLDEN = 0.6180339887  # multiples of it, modulo 1, are spread evenly whatever their number
_WHISKER_IQR = 1.5


def quality_page(
    scans: pd.DataFrame,
    exclusions: pd.DataFrame,
    cohort: CohortView,
    sides: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> str:
    """Render the group page.

    Parameters
    ----------
    scans : the ``scans`` contract with the quality figures' columns
    exclusions : the ``exclusions`` contract
    cohort : CohortView
        With the strips of the same scans.
    sides : participant -> who names an affected side -> side
    """
    reasons = _reasons(exclusions)
    patients = exclusions["participant_id"].nunique()
    return page_template("quality.html.j2").render(
        title="Quality of all scans",
        kicker="Stroke cohort",
        disclaimer=DISCLAIMER,
        links=((FILE_NAME, "Report of the cohort"), (f"{PAGES_FOLDER}/{INDEX_PAGE}", "All patients")),
        facts=cohort.facts,
        cohort=cohort,
        reasons=reasons,
        sides=_sides(sides),
        reasons_caption=f"Every reason of {patients} patients, each linked to its page. A patient with several reasons "
        "stands under each.",
        modalities=[_modality(str(name), rows, cohort) for name, rows in scans.groupby("modality", sort=True)],
    )


def drawn_points(values: npt.NDArray[np.float64], must_show: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which values are drawn: all outside the whiskers, all that must be, and an even choice of the others.

    Parameters
    ----------
    values : (n,) array without NaN
    must_show : (n,) bool array

    Returns
    -------
    (n,) bool array
    """
    lower, upper = np.quantile(values, [0.25, 0.75])
    reach = _WHISKER_IQR * (upper - lower)
    shown = must_show | (values < lower - reach) | (values > upper + reach)
    inside = np.flatnonzero(~shown)
    if len(inside) > MOST_INSIDE:
        inside = inside[np.argsort(values[inside], kind="stable")]
        inside = inside[np.linspace(0, len(inside) - 1, MOST_INSIDE).round().astype(int)]
    shown[inside] = True
    return np.asarray(shown)


def _reasons(exclusions: pd.DataFrame) -> list[dict[str, Any]]:
    """Reasons in the order of the flowchart, the most frequent first, with links."""
    found = []
    for (stage, reason), rows in exclusions.groupby(["stage", "reason"], sort=True):
        names = sorted(rows["participant_id"].astype(str).unique())
        links = [(name, _link(name)) for name in names]
        row = {"stage": STAGE_TITLES[str(stage)], "reason": words(str(reason)), "n": len(names)}
        order = (STAGES.index(str(stage)), -len(names))
        found.append((order, {**row, "first": links[:_FIRST_LINKS], "further": links[_FIRST_LINKS:]}))
    return [row for _, row in sorted(found, key=lambda item: item[0])]


def _sides(sides: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Patients whose affected side differs, who says what, and of how many it could be compared."""
    found = [(name, _link(name), said) for name, one in sides.items() if (said := difference(one))]
    n_compared = sum(len(one) > 1 for one in sides.values())
    return {"n_compared": n_compared, "n": len(found), "first": found[:_FIRST_LINKS], "further": found[_FIRST_LINKS:]}


def _modality(name: str, rows: pd.DataFrame, cohort: CohortView) -> dict[str, Any]:
    """One modality's strips."""
    strips = cohort.quality.of(name)
    n_out = int((rows["status"] != "ok").sum())
    lead = f"{len(rows)} scan{'s' if len(rows) != 1 else ''}, {n_out} of them left out (crosses). "
    if strips:
        lead += "A point opens its patient; rest the pointer on it to see who it is. The box spans the quartiles."
    else:
        lead += "No quality figures were measured on them."
    return {
        "title": modality_title(name),
        "lead": lead,
        "strips": [_strip_plot(strip, rows) for strip in strips.values()],
    }


def _strip_plot(strip: Strip, rows: pd.DataFrame) -> dict[str, str]:
    """One figure's points, with a caption that says what is drawn."""
    values = numbers(rows, strip.figure.column)
    known = np.isfinite(values)
    values, names = values[known], rows["participant_id"].astype(str).to_numpy()[known]
    is_used = (rows["status"] == "ok").to_numpy(dtype=bool)[known]
    is_within = np.array([strip.is_within(value) for value in values])
    shown = drawn_points(values, ~is_within)
    points = [
        _point(strip, place, (str(names[index]), float(values[index])), is_used=bool(is_used[index]))
        for place, index in enumerate(np.flatnonzero(shown))
    ]
    digits = strip.figure.digits
    lower, median, upper = (number(quartile, digits) for quartile in strip.quartiles)
    caption = f"n = {len(values)}, median {median} ({lower} to {upper})"
    limits = limit_text(strip.gate, digits)
    if limits:
        caption += f"; limits {limits}: {int((~is_within).sum())} outside"
    missing = int((~known).sum())
    caption += f"; {missing} without a value" if missing else ""
    if hidden := int((~shown).sum()):
        caption += (
            f". {int(shown.sum())} points are drawn, every one outside the whiskers or beyond a limit; {hidden} in the "
            "middle are not"
        )
    off = int(((values < strip.low) | (values > strip.high)).sum())
    caption += f". {off} beyond the scale stand at its edge" if off else ""
    return {
        "title": strip.figure.heading,
        "group": strip.figure.group,
        "meaning": strip.figure.meaning,
        "svg": _svg(strip, points),
        "caption": caption + ".",
    }


def _point(strip: Strip, place: int, scan: tuple[str, float], *, is_used: bool) -> str:
    """A dot or a cross that opens its patient."""
    name, value = scan
    x = strip.x(value, _WIDTH)
    y = round(_TOP + 6 + (_BOTTOM - _TOP - 12) * ((place * _GOLDEN) % 1), 1)
    text = escape(f"{name}: {number(value, strip.figure.digits)}{'' if is_used else ', left out'}")
    if is_used:
        mark = f'<circle cx="{x:g}" cy="{y:g}" r="3.4"/>'
    else:
        mark = f'<path class="x" d="M{x - 4:g},{y - 4:g}l8,8m0,-8l-8,8"/>'
    return f'<a href="{_link(name)}"><title>{text}</title>{mark}</a>'


def _svg(strip: Strip, points: Sequence[str]) -> str:
    """The box of the quartiles, the limits, the points (crosses on top) and the axis."""
    left, middle, right = (strip.x(quartile, _WIDTH) for quartile in strip.quartiles)
    parts = [
        f'<path d="M{left:g},{_TOP:g}H{max(right, left + 1):g}V{_BOTTOM:g}H{left:g}z" fill="#e6eef4"/>',
        f'<path d="M{middle:g},{_TOP:g}V{_BOTTOM:g}" stroke="{MUTED}" stroke-width="1.5"/>',
        f'<path d="M0,{_BOTTOM:g}H{_WIDTH:g}" stroke="{RULE}"/>',
    ]
    for tick in MaxNLocator(7, integer=strip.figure.digits == 0).tick_values(strip.low, strip.high):
        x = strip.x(float(tick), _WIDTH)
        if strip.low <= tick <= strip.high and _ROOM < x < _WIDTH - _ROOM:
            text = f"{tick:g}".replace("-", MINUS)
            parts.append(f'<path d="M{x:g},{_BOTTOM:g}v4" stroke="{MUTED}"/>')
            parts.append(f'<text x="{x:g}" y="{_BOTTOM + 17:g}" text-anchor="middle">{text}</text>')
    for limit in strip.limits():
        x = strip.x(limit, _WIDTH)
        line = f"M{x:g},{_TOP - 4:g}V{_BOTTOM:g}"
        parts.append(f'<path d="{line}" stroke="{INK}" stroke-width="1.5" stroke-dasharray="5 3"/>')
        anchor = "end" if x > _WIDTH / 2 else "start"
        parts.append(f'<text x="{x + (-4 if anchor == "end" else 4):g}" y="10" text-anchor="{anchor}">limit</text>')
    dots = sorted(points, key=lambda point: 'class="x"' in point)
    style = f'fill="{FILL}" fill-opacity=".6" stroke="#fff" stroke-width=".6"'
    drawn = "".join(dots).replace('class="x"', f'fill="none" stroke="{WARN}" stroke-width="2.2"')
    size = f'viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" width="{_WIDTH:g}" height="{_HEIGHT:g}"'
    label = escape(f"{strip.figure.heading}: one point per scan")
    return (
        f'<svg {size} role="group" aria-label="{label}" font-family="system-ui, sans-serif" font-size="12" '
        f'fill="{MUTED}">{"".join(parts)}<g {style}>{drawn}</g></svg>'
    )


def _link(participant_id: str) -> str:
    """From the group page to a patient's page."""
    return f"{PAGES_FOLDER}/{page_name(participant_id)}"
