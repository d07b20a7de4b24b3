"""Quality figures of a CT perfusion series beside those of its baseline image (``tasks.quality.figures``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.perfusion.series import PerfusionSeries


@dataclass(frozen=True)
class SeriesQuality:
    """Figures of frames and vessels; null where they could not be measured.

    Attributes
    ----------
    n_frames : int
        As stored.
    frame_interval_s : float
        Median.
    motion_mm : float
        Largest displacement of the skull's edges in a usable frame, from the reference frame.
    rejected_frame_share : float in [0, 1]
        Frames that fit no pose.
    aif_quality, vof_scaling : float
        As in ``tasks.perfusion.vessels.ArterialInput``.
    """

    n_frames: int
    frame_interval_s: float | None
    motion_mm: float | None
    rejected_frame_share: float | None
    aif_quality: float | None
    vof_scaling: float | None


def series_quality(found: PerfusionSeries) -> SeriesQuality:
    """All figures of one series, refused or not."""
    times, trace = found.frame_order.frame_times_s, found.trace
    arterial = None if found.arterial is None or found.arterial.reason else found.arterial
    return SeriesQuality(
        n_frames=len(found.frame_order.order),
        frame_interval_s=float(np.median(np.diff(times))) if len(times) > 1 else None,
        motion_mm=None if trace is None else float(np.max(trace.displacement_mm[trace.is_usable], initial=0.0)),
        rejected_frame_share=None if trace is None else float(1 - trace.is_usable.mean()),
        aif_quality=None if arterial is None else arterial.quality,
        vof_scaling=None if arterial is None else arterial.scaling,
    )
