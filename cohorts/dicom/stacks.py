"""From files to stacks: the slices of one series that share orientation, grid and kind, arranged by place and time.

Slices belong together by geometry, not by instance number: a scout inside a series, or the b-values and the ADC of one
diffusion series, become stacks of their own. A *place* is one position along the normal; several frames at one place
are a dynamic series (CT perfusion), directions of diffusion, phases of a contrast scan, or copies.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from cohorts.dicom.attributes import moment_of, text_of
from cohorts.dicom.deidentify import identity_of
from cohorts.dicom.dynamic_parts import joined_in_time
from cohorts.dicom.geometry import SAME_POSITION_MM
from cohorts.dicom.headers import Frame, Header
from cohorts.dicom.pixels import content_of
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
    n_files, n_shared : int
        Files that it was read from; those of them that are counted by a stack before, as those of multi-frame images.
    n_copies : int
        Further files with the same patient, study, series, instance and pixels, dropped.
    """

    identity: str
    key: str
    header: Header
    places: tuple[tuple[Frame, ...], ...]
    recognition: Recognition
    n_files: int
    n_copies: int = 0
    n_shared: int = 0

    @property
    def paths(self) -> frozenset[Path]:
        """The files that its slices lie in."""
        return frozenset(frame.path for place in self.places for frame in place)

    @property
    def n_slices(self) -> int:
        """All slices, at every place and time."""
        return sum(map(len, self.places))

    @property
    def started(self) -> datetime | None:
        """When its acquisition began, else its series or study."""
        moments = [frame.moment for place in self.places for frame in place if frame.moment]
        return min(moments) if moments else moment_of(self.header.dataset, ("Series", "Study"))


def group_stacks(
    headers: Iterable[Header],
    identity: str | None = None,
    declared: Callable[[list[Stack]], list[Stack]] = list,
) -> list[Stack]:
    """Sort files into stacks, refused ones included, in an order that depends on their content alone.

    Parameters
    ----------
    headers : of one patient or several
    identity : whose they are; None where each header says that itself
    declared : makes of the stacks what a coordinator declares of them, before files are counted
    """
    kept, copies = _without_copies(headers, identity)
    families: dict[tuple[str, ...], list[tuple[Header, Frame]]] = defaultdict(list)
    refused: dict[tuple[str, ...], list[Header]] = defaultdict(list)
    for header in kept:
        series = _series_of(header, identity)
        refusal = refusal_of(header)
        if refusal:
            refused[(*series, refusal.refusal or "")].append(header)
            continue
        for frame in header.frames:
            families[(*series, stack_kind(header, frame))].append((header, frame))
    stacks = [_refused_stack(key, found) for key, found in refused.items()]
    for key, members in families.items():
        for number, cluster in enumerate(_clusters(members)):
            stacks += _stacks_of((*key, str(number)), cluster)
    stacks = joined_in_time(sorted(stacks, key=lambda stack: (stack.identity, stack.started or _NEVER, stack.key)))
    return _counted(declared(stacks), copies)


def _series_of(header: Header, identity: str | None) -> tuple[str, str]:
    """Whose a file is, and its study and series: a series UID may have been used in two studies."""
    study = text_of(header.dataset, "StudyInstanceUID")
    whose = identity_of(header.dataset) if identity is None else identity
    return whose, f"{study}\0{text_of(header.dataset, 'SeriesInstanceUID')}"


def _without_copies(headers: Iterable[Header], identity: str | None) -> tuple[list[Header], Counter[Path]]:
    """The files that are no copies, the first by path of those that are; and how many copies each of them has.

    A UID alone makes no copy: anonymisers and workstations give one to several images.
    """
    seen: dict[tuple[str, ...], list[Header]] = defaultdict(list)
    contents: dict[Path, str] = {}
    kept = []
    copies: Counter[Path] = Counter()

    def content(header: Header) -> str:
        if header.path not in contents:
            contents[header.path] = content_of(header.frames)
        return contents[header.path]

    for header in headers:
        instance = text_of(header.dataset, "SOPInstanceUID")
        same = seen[(*_series_of(header, identity), instance)] if instance else []
        original = next((other for other in same if content(other) == content(header)), None)
        if original is not None:
            copies[original.path] += 1
            continue
        same.append(header)
        kept.append(header)
    return kept, copies


def _counted(stacks: list[Stack], copies: Counter[Path]) -> list[Stack]:
    """Stacks that count every file and copy once, at the first stack that it belongs to."""
    counted: set[Path] = set()
    found = []
    for stack in stacks:
        new = stack.paths - counted
        n_copies = sum(copies[path] for path in new)
        found.append(replace(stack, n_copies=n_copies, n_shared=len(stack.paths) - len(new)))
        counted |= new
    return found


def _refused_stack(key: tuple[str, ...], headers: list[Header]) -> Stack:
    """The record of files that are no volume."""
    recognition = refusal_of(headers[0])
    if recognition is None:  # pragma: no cover - the caller grouped by refusal
        raise ValueError("headers must be refused ones")
    places = tuple(header.frames for header in headers)
    return Stack(key[0], "\0".join(key[1:]), headers[0], places, recognition, len(headers))


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


def _stacks_of(key: tuple[str, ...], members: list[tuple[Header, Frame]]) -> list[Stack]:
    """One stack, or one per phase where a CT series holds a few volumes at the same places."""
    headers = {header.path: header for header, _ in members}
    places = _arrange([frame for _, frame in members])
    first = headers[places[0][0].path]
    counts = {len(place) for place in places}
    recognition = recognise(first, places[0][0], min(counts))
    stack = Stack(key[0], "\0".join(key[1:]), first, places, recognition, len(headers))
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
