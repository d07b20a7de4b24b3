"""From files to stacks: the slices of one series that share orientation, grid and kind, arranged by place and time.

Slices belong together by geometry, not by instance number: a scout inside a series, or the b-values and the ADC of one
diffusion series, become stacks of their own. A *place* is one position along the normal; several frames at one place
are a dynamic series (CT perfusion), directions of diffusion, phases of a contrast scan, or copies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from cohorts.dicom.attributes import moment_of, text_of
from cohorts.dicom.deidentify import identity_of
from cohorts.dicom.dynamic_parts import joined_in_time
from cohorts.dicom.geometry import SAME_POSITION_MM
from cohorts.dicom.headers import Frame, Header
from cohorts.dicom.recognise import Recognition, recognise, refusal_of, stack_kind

#: Direction cosines of one stack differ by less: half a degree; what varies above COSINE_TOLERANCE is then a fault.
SAME_ORIENTATION = 0.01
SAME_SPACING_SHARE = 1e-3
#: The latest moment, for slices without a time: they come last.
_NEVER = datetime.max


@dataclass(frozen=True, eq=False)
class Stack:
    """One candidate volume.

    Attributes
    ----------
    identity : str
        The patient, see ``deidentify.identity_of``; never printed.
    key : str
        What tells this stack from every other; never printed.
    header : Header
        Of its first slice.
    places : tuple of tuples of Frame
        Along the normal; the frames at one place in the order of time. One tuple per file where there is no geometry.
    recognition : Recognition
    n_files, n_copies : int
        Files that it was read from; further files with the same instance, dropped.
    """

    identity: str
    key: str
    header: Header
    places: tuple[tuple[Frame, ...], ...]
    recognition: Recognition
    n_files: int
    n_copies: int = 0

    @property
    def n_slices(self) -> int:
        """All slices, at every place and time."""
        return sum(map(len, self.places))

    @property
    def started(self) -> datetime | None:
        """When its acquisition began, else its series or study."""
        moments = [frame.moment for place in self.places for frame in place if frame.moment]
        return min(moments) if moments else moment_of(self.header.dataset, ("Series", "Study"))


def group_stacks(headers: Iterable[Header]) -> list[Stack]:
    """Sort files into stacks, refused ones included, in an order that depends on their content alone."""
    kept, n_copies = _without_copies(headers)
    families: dict[tuple[str, ...], list[tuple[Header, Frame]]] = defaultdict(list)
    refused: dict[tuple[str, ...], list[Header]] = defaultdict(list)
    for header in kept:
        series = (identity_of(header.dataset), text_of(header.dataset, "SeriesInstanceUID"))
        refusal = refusal_of(header)
        if refusal:
            refused[(*series, refusal.refusal or "")].append(header)
            continue
        for frame in header.frames:
            families[(*series, stack_kind(header, frame))].append((header, frame))
    stacks = [_refused_stack(key, found, n_copies) for key, found in refused.items()]
    for key, members in families.items():
        for number, cluster in enumerate(_clusters(members)):
            stacks += _stacks_of((*key, str(number)), cluster, n_copies)
    return joined_in_time(sorted(stacks, key=lambda stack: (stack.identity, stack.started or _NEVER, stack.key)))


def _without_copies(headers: Iterable[Header]) -> tuple[list[Header], dict[str, int]]:
    """One file per instance, the first by path; and the number of further ones by series."""
    seen: set[str] = set()
    kept = []
    n_copies: dict[str, int] = defaultdict(int)
    for header in headers:
        instance = text_of(header.dataset, "SOPInstanceUID")
        if instance and instance in seen:
            n_copies[text_of(header.dataset, "SeriesInstanceUID")] += 1
            continue
        seen.add(instance)
        kept.append(header)
    return kept, n_copies


def _refused_stack(key: tuple[str, ...], headers: list[Header], n_copies: dict[str, int]) -> Stack:
    """The record of files that are no volume."""
    recognition = refusal_of(headers[0])
    if recognition is None:  # pragma: no cover - the caller grouped by refusal
        raise ValueError("headers must be refused ones")
    places = tuple(header.frames for header in headers)
    return Stack(key[0], "\0".join(key[1:]), headers[0], places, recognition, len(headers), n_copies.get(key[1], 0))


def _clusters(members: list[tuple[Header, Frame]]) -> list[list[tuple[Header, Frame]]]:
    """Slices of one orientation, matrix and pixel size."""
    clusters: list[list[tuple[Header, Frame]]] = []
    for member in members:
        for cluster in clusters:
            if _is_alike(cluster[0][1], member[1]):
                cluster.append(member)
                break
        else:
            clusters.append([member])
    return clusters


def _is_alike(first: Frame, second: Frame) -> bool:
    """Whether two slices can lie in one volume."""
    if first.shape != second.shape:
        return False
    turned = np.abs(np.subtract(first.orientation or (), second.orientation or ())).max()
    sizes = np.abs(np.divide(first.spacing_mm or (), second.spacing_mm or ()) - 1).max()
    return bool(turned < SAME_ORIENTATION and sizes < SAME_SPACING_SHARE)


def _stacks_of(key: tuple[str, ...], members: list[tuple[Header, Frame]], n_copies: dict[str, int]) -> list[Stack]:
    """One stack, or one per phase where a CT series holds a few volumes at the same places."""
    headers = {header.path: header for header, _ in members}
    places = _arrange([frame for _, frame in members])
    first = headers[places[0][0].path]
    counts = {len(place) for place in places}
    recognition = recognise(first, places[0][0], min(counts))
    stack = Stack(key[0], "\0".join(key[1:]), first, places, recognition, len(headers), n_copies.get(key[1], 0))
    if len(places) == 1 and len(places[0]) > 1:
        return [replace(stack, recognition=replace(recognition, refusal="identical_positions"))]
    if recognition.kind in ("ct", "ncct", "cta") and len(counts) == 1 and counts != {1} and _are_phases(places):
        return [
            replace(
                stack,
                key=f"{stack.key}\0{phase}",
                places=tuple((place[phase],) for place in places),
                n_files=len({place[phase].path for place in places}),
            )
            for phase in range(counts.pop())
        ]
    return [stack]


def _arrange(frames: list[Frame]) -> tuple[tuple[Frame, ...], ...]:
    """Frames by place along the normal, then by time."""
    cosines = np.median([frame.orientation or () for frame in frames], axis=0)
    normal = np.cross(cosines[:3], cosines[3:])
    offsets = [float(np.dot(frame.position or (), normal)) for frame in frames]
    places: list[list[Frame]] = []
    last = -np.inf
    for offset, frame in sorted(zip(offsets, frames, strict=True), key=lambda pair: pair[0]):
        if offset - last >= SAME_POSITION_MM:
            places.append([])
            last = offset
        places[-1].append(frame)
    return tuple(tuple(sorted(place, key=_by_time)) for place in places)


def _by_time(frame: Frame) -> tuple[object, ...]:
    """Temporal order of frames at one place."""
    counted = frame.trigger_s or 0.0, frame.acquisition or 0, frame.instance, frame.index
    return frame.temporal_position or 0, frame.moment or _NEVER, *counted


def _are_phases(places: tuple[tuple[Frame, ...], ...]) -> bool:
    """Whether frames at one place can be told apart by time, acquisition or temporal position."""

    def told(frame: Frame) -> tuple[object, ...]:
        return frame.temporal_position, frame.moment, frame.trigger_s, frame.acquisition

    return all(len({told(frame) for frame in place}) == len(place) for place in places)
