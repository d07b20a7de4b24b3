"""The words for ASPECTS anatomy: sides, the ten regions, and what a label map's table says about each label.

A *label map* is an integer volume; its *label table* names every label: ``index``, ``name``, ``side`` (``left``,
``right`` or ``midline``), ``region`` and ``group`` (``deep``, ``cortical`` or ``other``). Regions are named in full
because short codes collide between the papers (METHODS: "IC" is the internal capsule in one, the insula in another).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

Side = Literal["left", "right", "midline"]
Group = Literal["deep", "cortical", "other"]

LEFT: Side = "left"
RIGHT: Side = "right"
HEMISPHERES: tuple[Side, Side] = (LEFT, RIGHT)

DEEP_REGIONS = ("caudate", "lentiform", "internal_capsule", "insula")
CORTICAL_REGIONS = ("m1", "m2", "m3", "m4", "m5", "m6")
ASPECTS_REGIONS = DEEP_REGIONS + CORTICAL_REGIONS
TEMPLATE_SPACE = "MNI152NLin2009aSym"  # BIDS name of the template in whose space label maps lie
MAXIMUM_SCORE = len(ASPECTS_REGIONS)  # one point per region: Barber et al., Lancet 2000;355:1670-1674

#: Codes for figures only.
SHORT_CODES = {
    "caudate": "C",
    "lentiform": "L",
    "internal_capsule": "IC",
    "insula": "I",
    **{region: region.upper() for region in CORTICAL_REGIONS},
}


def other_side(side: Side) -> Side:
    """The hemisphere across.

    >>> other_side("left")
    'right'
    """
    return RIGHT if side == LEFT else LEFT


@dataclass(frozen=True)
class Label:
    """One row of a label table."""

    index: int
    name: str
    side: Side
    region: str
    group: Group


@dataclass(frozen=True)
class LabelTable:
    """The labels of one map, in the order of their index.

    Raises
    ------
    ValueError
        An index is repeated or not positive, a (side, region) pair is repeated, or a side or group is unknown.
    """

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        problems = []
        if not self.labels:
            problems.append("a label table must name at least one label")
        for label in self.labels:
            if label.index <= 0:
                problems.append(f"label index must be > 0, got {label.index} ({label.name})")
            if label.side not in get_args(Side):
                problems.append(f"side must be one of {', '.join(get_args(Side))}, got {label.side!r} ({label.name})")
            if label.group not in get_args(Group):
                problems.append(
                    f"group must be one of {', '.join(get_args(Group))}, got {label.group!r} ({label.name})"
                )
        for index, count in Counter(label.index for label in self.labels).items():
            if count > 1:
                problems.append(f"label index must be unique, got {index} {count} times")
        for (side, region), count in Counter((label.side, label.region) for label in self.labels).items():
            if count > 1:
                problems.append(f"(side, region) must be unique, got ({side}, {region}) {count} times")
        if problems:
            raise ValueError("; ".join(problems))
        object.__setattr__(self, "labels", tuple(sorted(self.labels, key=lambda label: label.index)))

    @property
    def is_aspects(self) -> bool:
        """Whether the table names the ten ASPECTS regions on both sides."""
        present = {(label.side, label.region) for label in self.labels}
        return all((side, region) in present for side in HEMISPHERES for region in ASPECTS_REGIONS)


def aspects_label_table() -> LabelTable:
    """The table of our own maps: labels 1-10 right, 11-20 left, in the order of ``ASPECTS_REGIONS``.

    >>> [label.name for label in aspects_label_table().labels][9:11]
    ['right_m6', 'left_caudate']
    """
    return LabelTable(
        tuple(
            Label(
                index=offset + position,
                name=f"{side}_{region}",
                side=side,
                region=region,
                group="deep" if region in DEEP_REGIONS else "cortical",
            )
            for side, offset in ((RIGHT, 0), (LEFT, 10))
            for position, region in enumerate(ASPECTS_REGIONS, start=1)
        )
    )
