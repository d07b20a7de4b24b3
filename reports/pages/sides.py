"""The affected side by every source and by the clinic: where they differ, a file may be stored the wrong way round.

A lesion is on the side that holds more of it; where nothing but regions were judged, the side with the lower score is
the affected one. Who finds both sides alike names none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.pages.view import TableRow, given
from tasks.anatomy import HEMISPHERES, MAXIMUM_SCORE

CLINIC = "clinical table"
_WORDS = {"l": "left", "left": "left", "r": "right", "right": "right"}


def affected_sides(
    scores: Sequence[TableRow],
    lesions: Sequence[TableRow],
    clinical: object,
    measurements: Mapping[str, str],
) -> dict[str, str]:
    """Who names an affected side -> ``left`` or ``right``: the clinic first, then sources in the order of the scores.

    Parameters
    ----------
    scores, lesions : one participant's rows of these tables
    clinical : what the clinical table has as affected side; null where it has none
    measurements : source -> measurement of its lesion; sources without a lesion are absent
    """
    named = {CLINIC: _WORDS.get(str(given(clinical)).strip().lower())}
    of_lesion = {str(row["source"]): given(row.get("side")) for row in lesions}
    for row in scores:
        source = str(row["source"])
        measurement = measurements.get(source)
        named[source] = _side_of_score(row) if of_lesion.get(str(measurement)) is None else of_lesion[str(measurement)]
    return {who: side for who, side in named.items() if side in HEMISPHERES}


def differ(sides: Mapping[str, str]) -> bool:
    """Whether two of those who name a side name different ones.

    >>> differ({"clinical table": "left", "mask": "right"}), differ({"mask": "left"})
    (True, False)
    """
    return len(set(sides.values())) > 1


def by_side(sides: Mapping[str, str]) -> str:
    """Who says what, in words.

    >>> by_side({"clinical table": "left", "mask": "right", "reader:A": "left"})
    'left: clinical table, reader:A; right: mask'
    """
    named = {side: ", ".join(who for who, one in sides.items() if one == side) for side in HEMISPHERES}
    return "; ".join(f"{side}: {who}" for side, who in named.items() if who)


def difference(sides: Mapping[str, str]) -> str:
    """Who says what, where two name different sides; else empty.

    >>> difference({"clinical table": "left", "mask": "left"})
    ''
    """
    return by_side(sides) if differ(sides) else ""


def _side_of_score(row: TableRow) -> str | None:
    """The side with the lower score; one that was read alone, where it lost a point."""
    left, right = (given(row.get(f"score_{side}")) for side in HEMISPHERES)
    left, right = (MAXIMUM_SCORE if one is None else int(one) for one in (left, right))
    return None if left == right else "left" if left < right else "right"
