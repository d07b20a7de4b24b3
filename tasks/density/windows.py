"""HU windows: the range of CT values that a method sees, by its level (centre) and width, as each paper prints them.

Where a paper and its own code differ both are kept, under the profiles ``as-paper`` (the default) and ``as-code``.
Deep-ASPECTS (paper 2) prints no window and therefore has none here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.arrays import AnyArray, Float32Array

WindowProfile = Literal["as-paper", "as-code"]


@dataclass(frozen=True)
class Window:
    """A range of HU that is spread over the whole grey scale.

    Parameters
    ----------
    level_hu : float
        Centre of the range.
    width_hu : float
        Its extent, > 0.

    Raises
    ------
    ValueError
        The level is not finite or the width not positive.

    Examples
    --------
    >>> Window(level_hu=40, width_hu=80).apply(np.array([-1000.0, 0.0, 20.0, 80.0, 300.0])).tolist()
    [0.0, 0.0, 0.25, 1.0, 1.0]
    """

    level_hu: float
    width_hu: float

    def __post_init__(self) -> None:
        problems = []
        if not np.isfinite(self.level_hu):
            problems.append(f"level_hu must be finite, got {self.level_hu} HU. Give the window's centre.")
        if not (np.isfinite(self.width_hu) and self.width_hu > 0):
            problems.append(f"width_hu must be > 0 HU, got {self.width_hu:g} HU. Give the window's extent.")
        if problems:
            raise ValueError(" ".join(problems))

    @property
    def low_hu(self) -> float:
        """What becomes 0."""
        return self.level_hu - self.width_hu / 2

    @property
    def high_hu(self) -> float:
        """What becomes 1."""
        return self.level_hu + self.width_hu / 2

    def apply(self, values: AnyArray) -> Float32Array:
        """Clip to the window and scale it to 0..1.

        Parameters
        ----------
        values : array of any shape, HU; NaN stays NaN

        Returns
        -------
        float32 array of the same shape, in [0, 1]; a method's own scale (0..255, -1..1) follows from it
        """
        scaled = (np.asarray(values, dtype=np.float32) - np.float32(self.low_hu)) / np.float32(self.width_hu)
        return np.asarray(np.clip(scaled, 0, 1), dtype=np.float32)

    def saturated_share(self, values: AnyArray) -> float:
        """Share of the values at or above the window's upper end: what contrast agent hides from the method (G7).

        Parameters
        ----------
        values : array of any shape, HU, not empty

        Raises
        ------
        ValueError
            There are no values.
        """
        if not values.size:
            raise ValueError("values must not be empty, got 0 voxels. Leave an empty region out.")
        return float(np.count_nonzero(np.greater_equal(values, self.high_hu)) / values.size)


WINDOWS: dict[str, dict[WindowProfile, Window]] = {
    "rad": {"as-paper": Window(level_hu=40, width_hu=80)},  # Tao 2024, section 2 (METHODS A.1, G1): 0..80 HU
    "danet": {
        "as-paper": Window(level_hu=30, width_hu=50),  # Cao 2022, section 2 (METHODS A.3, G1): 5..55 HU
        "as-code": Window(
            level_hu=30, width_hu=60
        ),  # its repository: FixedWindowNormalizer(30, 60) (METHODS A.3): 0..60
    },
}


def method_window(method: str, profile: WindowProfile = "as-paper") -> Window:
    """The window of a method.

    Parameters
    ----------
    method, profile : keys of ``WINDOWS``

    Raises
    ------
    ValueError
        The method or its profile is unknown.
    """
    if method not in WINDOWS:
        raise ValueError(f"method must be one of {', '.join(WINDOWS)}, got {method!r}. Name one of them.")
    profiles = WINDOWS[method]
    if profile not in profiles:
        raise ValueError(
            f"profile of {method} must be one of {', '.join(profiles)}, got {profile!r}. Name one of them."
        )
    return profiles[profile]
