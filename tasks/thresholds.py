"""A threshold is a cut *and* its operator *and* the side that counts as positive, never a bare number.

Published studies write one guideline cut as ``> 6``, ``>= 6``, ``< 6`` and ``<= 6``, and flip the positive side between
rows of one table. Every printed threshold therefore states all three, and its source.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from tasks.arrays import AnyArray, Mask

Operator = Literal["ge", "gt", "le", "lt"]
PositiveSide = Literal["high", "low"]

_COMPARE: dict[str, Callable[..., Mask]] = {
    "ge": np.greater_equal,
    "gt": np.greater,
    "le": np.less_equal,
    "lt": np.less,
}
_SYMBOL = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_OPPOSITE = {"ge": "lt", "gt": "le", "le": "gt", "lt": "ge"}


@dataclass(frozen=True)
class Threshold:
    """A declared dichotomy of a number.

    Parameters
    ----------
    name : str
        Key of the threshold in settings and tables, such as ``guideline_ge6``.
    cut : float
        In the unit of the quantity.
    operator : {"ge", "gt", "le", "lt"}
        How a value is compared with the cut.
    positive : {"high", "low"}
        The side of the cut that counts as a positive test. ``ge 6`` with ``low`` calls values below 6 positive.
    source : str
        Who proposed the cut: a paper, a guideline, or ``youden`` for one found in the data.
    quantity : str
        What is compared, as it should be printed, with its unit last.

    Raises
    ------
    ValueError
        An option is unknown, the cut is not finite, or the name is empty.

    Examples
    --------
    >>> guideline = Threshold("guideline_ge6", 6, "ge", "low", "AHA/ASA")
    >>> guideline.text, guideline.positive_text
    ('ASPECTS >= 6', 'ASPECTS < 6')
    >>> guideline.is_positive([5, 6, 7]).tolist()
    [True, False, False]
    """

    name: str
    cut: float
    operator: Operator
    positive: PositiveSide
    source: str
    quantity: str = "ASPECTS"

    def __post_init__(self) -> None:
        problems = []
        if not self.name:
            problems.append("name must not be empty.")
        if not math.isfinite(self.cut):
            problems.append(f"cut must be finite, got {self.cut}.")
        if self.operator not in get_args(Operator):
            problems.append(f"operator must be one of {', '.join(get_args(Operator))}, got {self.operator!r}.")
        if self.positive not in get_args(PositiveSide):
            problems.append(f"positive must be one of {', '.join(get_args(PositiveSide))}, got {self.positive!r}.")
        if problems:
            raise ValueError(f"threshold {self.name!r}: " + " ".join(problems))

    @property
    def positive_operator(self) -> str:
        """The operator of the positive side: the threshold's own, or its opposite."""
        own_side = "high" if self.operator in ("ge", "gt") else "low"
        return self.operator if own_side == self.positive else _OPPOSITE[self.operator]

    @property
    def text(self) -> str:
        """The comparison as declared, such as ``ASPECTS >= 6``."""
        return f"{self.quantity} {_SYMBOL[self.operator]} {self.cut:g}"

    @property
    def positive_text(self) -> str:
        """The comparison that a positive test fulfils, such as ``ASPECTS < 6``."""
        return f"{self.quantity} {_SYMBOL[self.positive_operator]} {self.cut:g}"

    def is_positive(self, values: npt.ArrayLike) -> Mask:
        """Whether each value is on the positive side.

        Parameters
        ----------
        values : array of any shape, in the unit of the cut, without NaN

        Returns
        -------
        boolean array of the same shape

        Raises
        ------
        ValueError
            A value is NaN: a missing value is on neither side.
        """
        return _compared(self.positive_operator, values, self.cut)


def _compared(operator: str, values: npt.ArrayLike, cut: float) -> Mask:
    """Compare values with the cut, refusing NaN."""
    numbers: AnyArray = np.asarray(values, dtype=np.float64)
    n_missing = int(np.count_nonzero(np.isnan(numbers)))
    if n_missing:
        raise ValueError(f"values must not be NaN, got {n_missing} of {numbers.size}. Drop and count them.")
    return _COMPARE[operator](numbers, cut)
