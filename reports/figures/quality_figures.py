"""Quality figures of scans as pictures: where one scan lies in its cohort, and the limits that refuse it.

A *strip* is the distribution of one figure over the scans of one modality. Its scale leaves out what lies more than
six interquartile ranges beyond the quartiles; such values stand at its edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import pandas as pd

from reports.figures.drawing import FILL, INK, MUTED, RULE, SOURCE_COLOURS
from tasks.arrays import FloatArray
from tasks.quality.catalogue import QUALITY_FIGURES, QualityFigure
from tasks.quality.catalogue import Limits as Gate

WARN = SOURCE_COLOURS[1]
STRIP_WIDTH, STRIP_HEIGHT = 220.0, 26.0
_PAD = 7.0  # px at both ends, so that a point at the edge is whole
_FEW = 40  # values are drawn one by one up to this many, as a distribution above
_BINS = 44
_OFF_SCALE_IQR = 6.0  # of a normal distribution nothing lies there; one wrong unit must not flatten all others


@dataclass(frozen=True, eq=False)
class Strip:
    """The distribution of one figure over the scans of a modality.

    Attributes
    ----------
    figure : QualityFigure
    gate : smallest and largest value allowed, None where there is no limit
    measured : sorted, without nulls, at least one
    low, high : ends of the scale, ``low < high``
    """

    figure: QualityFigure
    gate: Gate
    measured: FloatArray
    low: float
    high: float

    @cached_property
    def quartiles(self) -> tuple[float, float, float]:
        """Lower quartile, median, upper quartile."""
        lower, median, upper = np.quantile(self.measured, [0.25, 0.5, 0.75])
        return float(lower), float(median), float(upper)

    def is_within(self, value: float) -> bool:
        """Whether a value keeps the limits."""
        low, high = self.gate
        return (low is None or value >= low) and (high is None or value <= high)

    def x(self, value: float, width: float) -> float:
        """Place of a value on a scale of some width, px; what lies beyond stands at the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(_PAD + (width - 2 * _PAD) * share, 1)

    def limits(self) -> tuple[float, ...]:
        """The limits that lie on the scale."""
        return tuple(limit for limit in self.gate if limit is not None and self.low <= limit <= self.high)

    @cached_property
    def _background(self) -> str:
        return _background(self)

    def svg(self, value: float) -> str:
        """The distribution with one scan's point: a dot, or a cross where it breaks a limit."""
        x, y = self.x(value, STRIP_WIDTH), STRIP_HEIGHT / 2
        if self.is_within(value):
            point = f'<circle cx="{x:g}" cy="{y:g}" r="4.5" fill="{FILL}" stroke="#fff"/>'
        else:
            d = f"M{x - 4.5:g},{y - 4.5:g}l9,9m0,-9l-9,9"
            point = f'<path d="{d}" stroke="#fff" stroke-width="5"/><path d="{d}" stroke="{WARN}" stroke-width="2.6"/>'
        size = f'viewBox="0 0 {STRIP_WIDTH:g} {STRIP_HEIGHT:g}" width="{STRIP_WIDTH:g}" height="{STRIP_HEIGHT:g}"'
        return f'<svg class="strip" aria-hidden="true" {size}>{self._background}{point}</svg>'


@dataclass(frozen=True, eq=False)
class CohortQuality:
    """The strips of a cohort by modality and column; a figure that no scan of a modality has is absent."""

    strips: Mapping[str, Mapping[str, Strip]]

    def of(self, modality: str) -> Mapping[str, Strip]:
        """Column -> strip of one modality; empty where none of its scans was measured."""
        return self.strips.get(modality, {})


def cohort_quality(
    scans: pd.DataFrame, gates: Mapping[str, Mapping[str, Gate]] = MappingProxyType({})
) -> CohortQuality:
    """Summarise the quality figures of all scans once, for all pages.

    Parameters
    ----------
    scans : one row per scan with ``modality`` and any of the figures' columns; nulls are left out
    gates : modality -> column -> smallest and largest value allowed
        Added to the figures' own limits, and before them where both limit a column.
    """
    found: dict[str, dict[str, Strip]] = {}
    for modality, rows in scans.groupby("modality", sort=True):
        own = {column: gate for column, gate in gates.get(str(modality), {}).items() if gate != (None, None)}
        of_modality = {}
        for figure in QUALITY_FIGURES:
            values = numbers(rows, figure.column)
            values = np.sort(values[np.isfinite(values)])
            if values.size:
                of_modality[figure.column] = _strip(figure, values, own.get(figure.column, figure.limits))
        found[str(modality)] = of_modality
    return CohortQuality(found)


def numbers(rows: pd.DataFrame, column: str) -> FloatArray:
    """A column as floats, NaN for null and where there is no such column."""
    if column not in rows:
        return np.full(len(rows), np.nan)
    return np.asarray(pd.to_numeric(rows[column], errors="coerce").to_numpy(dtype="float64", na_value=np.nan))


def limit_text(gate: Gate, digits: int) -> str:
    """Limits in signs.

    >>> limit_text((500, 2300), 0), limit_text((None, 0.25), 2), limit_text((None, None), 1)
    ('500 to 2300', '≤ 0.25', '')
    """
    low, high = (None if limit is None else f"{limit:.{digits}f}" for limit in gate)
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"≥ {low}" if low is not None else f"≤ {high}" if high is not None else ""


def _strip(figure: QualityFigure, values: FloatArray, gate: Gate) -> Strip:
    """The scale and the drawn distribution of sorted values."""
    lower, upper = np.quantile(values, [0.25, 0.75])
    reach = _OFF_SCALE_IQR * (upper - lower)
    kept = values[(values >= lower - reach) & (values <= upper + reach)]
    low, high = float(kept[0]), float(kept[-1])
    span = max(high - low, 0.1 * abs(high), 10 * 10.0**-figure.digits)  # differences below it are of no interest
    low, high = min(low, (low + high - span) / 2), max(high, (low + high + span) / 2)
    for limit in gate:  # a limit near to the values belongs on the scale, one far away would flatten them
        if limit is not None and low - span <= limit <= high + span:
            low, high = min(low, limit), max(high, limit)
    margin = 0.06 * (high - low)
    return Strip(figure, gate, values, low - margin, high + margin)


def _background(strip: Strip) -> str:
    """Base line, distribution or single values, and limits."""
    parts = [f'<path d="M{_PAD:g},{STRIP_HEIGHT - 1:g}H{STRIP_WIDTH - _PAD:g}" stroke="{RULE}"/>']
    if strip.measured.size <= _FEW:
        ticks = "".join(f"M{strip.x(float(value), STRIP_WIDTH):g},8v10" for value in strip.measured)
        parts.append(f'<path d="{ticks}" stroke="{MUTED}" stroke-opacity=".55" fill="none"/>')
    else:
        clipped = np.clip(strip.measured, strip.low, strip.high)
        counts = np.histogram(clipped, _BINS, (strip.low, strip.high))[0]
        tops = STRIP_HEIGHT - 1 - (STRIP_HEIGHT - 5) * counts / counts.max()
        wide = (STRIP_WIDTH - 2 * _PAD) / _BINS
        steps = "".join(f"V{top:.1f}h{wide:.2f}" for top in tops)
        parts.append(f'<path d="M{_PAD:g},{STRIP_HEIGHT - 1:g}{steps}V{STRIP_HEIGHT - 1:g}z" fill="#c9dbe8"/>')
    limits = "".join(f"M{strip.x(limit, STRIP_WIDTH):g},2V{STRIP_HEIGHT - 1:g}" for limit in strip.limits())
    if limits:
        parts.append(f'<path d="{limits}" stroke="{INK}" stroke-width="1.4" stroke-dasharray="3 2"/>')
    return "".join(parts)
