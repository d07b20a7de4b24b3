"""Whether all slices of a series arrived: what the headers announce, and what other series of the acquisition show.

Slices lost at the ends leave no gap between the others, so the geometry of a series alone cannot tell. None of this
proves a loss: they are notes, and of two scans begun together the one without them is preferred.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from cohorts.dicom.attributes import text_of, whole_number
from cohorts.dicom.headers import Frame
from cohorts.dicom.stacks import Stack

#: Another series of the same acquisition that reaches so much further along the normal was cut less.
LONGER_SHARE = 1.25
LONGER_MM = 10.0
FEWER, SKIPPED, SHORTER = "slices_fewer_than_announced", "instance_numbers_skip", "shorter_than_same_acquisition"
INCOMPLETE = (FEWER, SKIPPED, SHORTER)


@dataclass(frozen=True)
class Gaps:
    """What speaks for lost slices: notes and their numbers."""

    notes: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


def find_gaps(stacks: Iterable[Stack]) -> dict[str, Gaps]:
    """What speaks for lost slices in the stacks of one patient, by the key of a stack.

    Parameters
    ----------
    stacks : all of the patient's, refused ones included: a scout in a series has an instance number too
    """
    series: dict[tuple[str, str], list[Stack]] = defaultdict(list)
    stacks = list(stacks)
    for stack in stacks:
        header = stack.header.dataset
        series[(text_of(header, "StudyInstanceUID"), text_of(header, "SeriesInstanceUID"))].append(stack)
    found: dict[str, Gaps] = {}
    for members in series.values():
        counted = _counted(members)
        for stack in members:
            longest = max((_extent_mm(other) for other in stacks if _is_same_acquisition(stack, other)), default=0.0)
            own = _extent_mm(stack)
            gaps = counted
            if own > 0 and longest > max(own * LONGER_SHARE, own + LONGER_MM):
                gaps = Gaps((*gaps.notes, SHORTER), {**gaps.numbers, "extent_mm": own, "longest_extent_mm": longest})
            if gaps.notes:
                found[stack.key] = gaps
    return found


def _counted(members: list[Stack]) -> Gaps:
    """The files of a series against its announced number and its instance numbers."""
    by_path = {frame.path: frame for stack in members for place in stack.places for frame in place}
    notes, numbers = list[str](), dict[str, float]()
    told = [
        whole_number(stack.header.dataset.get(keyword)) or 0
        for stack in members
        for keyword in ("ImagesInAcquisition", "NumberOfSeriesRelatedInstances")
    ]
    n_images = sum(1 for stack in members for place in stack.places for _ in place)
    if n_images < max(told):
        notes.append(FEWER)
        numbers |= {"n_images": n_images, "n_announced": max(told)}
    n_skipped = _n_skipped([frame.instance for frame in by_path.values()])
    if n_skipped:
        notes.append(SKIPPED)
        numbers["n_instance_numbers_skipped"] = n_skipped
    return Gaps(tuple(notes), numbers)


def _n_skipped(instances: list[int]) -> int:
    """Instance numbers that a series lacks: between those it has, and before them where as many as it has would fit.

    Numbers in even steps, as of a series that shares a count with another one, lack none.

    >>> [_n_skipped([*numbers]) for numbers in (range(1, 9), range(1, 16, 2), range(4, 12), range(31, 40), (1, 2, 5))]
    [0, 0, 3, 0, 2]
    """
    given = np.unique(instances)
    if len(given) < 3:
        return 0
    steps = np.diff(given)
    usual = int(np.bincount(steps).argmax())
    between = int(np.sum(np.maximum(np.round(steps / usual) - 1, 0)))
    before = int(given[0]) - 1
    return between + (before if usual == 1 and 0 < before <= len(given) else 0)


def _extent_mm(stack: Stack) -> float:
    """How far a stack reaches along its normal; 0 where it has no places."""
    ends = (stack.places[0][0], stack.places[-1][0])
    if stack.recognition.refusal or any(frame.position is None or frame.orientation is None for frame in ends):
        return 0.0
    normal = _normal(ends[0])
    first, last = (float(np.dot(frame.position or (), normal)) for frame in ends)
    return abs(last - first)


def _normal(frame: Frame) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    orientation = frame.orientation or ()
    return np.asarray(np.cross(orientation[:3], orientation[3:]), dtype=np.float64)


def _is_same_acquisition(stack: Stack, other: Stack) -> bool:
    """Whether two CT stacks of a study are reconstructions of one scan: begun in the same second, in one direction."""
    if other is stack or stack.started is None or other.recognition.refusal or stack.recognition.refusal:
        return False
    headers = stack.header.dataset, other.header.dataset
    first, second = stack.places[0][0], other.places[0][0]
    return (
        all(text_of(header, "Modality") == "CT" for header in headers)
        and text_of(headers[0], "StudyInstanceUID") == text_of(headers[1], "StudyInstanceUID")
        and first.acquisition == second.acquisition
        and other.started == stack.started
        and bool(np.dot(_normal(first), _normal(second)) > 0.999)
    )
