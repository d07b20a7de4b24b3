"""A dynamic scan exported in parts: one series for every time point.

Scanners with wide detectors, and archives after them, write CT perfusion as some twenty series of one volume each.
Every part looks like a plain CT or an angiography; only together, at one place within a minute or two, do they show
what they are. Where the parts do not make a whole, none of them is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cohorts.dicom.attributes import text_of
from cohorts.dicom.clocks import frame_times
from cohorts.dicom.geometry import GRID_TOLERANCE_MM, THICKNESS_TOLERANCE_MM, Fault
from cohorts.dicom.recognise import MINIMUM_DYNAMIC_FRAMES, Recognition
from tasks.perfusion.frame_times import unwrapped

if TYPE_CHECKING:
    from cohorts.dicom.stacks import Stack

#: More volumes at one place in a row than these are no phases of an angiography, which has three, and one before it.
MOST_PHASES = 4
#: Time points of one injection follow each other faster: late phases of perfusion protocols are up to 15 s apart, and
#: some time points may be lost.
LONGEST_PAUSE_S = 60.0
IN_PARTS = "perfusion_in_parts"
_VOLUMES = ("ct", "ncct", "cta", "ctp")
#: What a time point may be called by its number ("phase 7"); what is unfit otherwise is no time point.
_PHASE_WORDS = {"late_phase", "enhanced_not_angiography"}


def joined_in_time(stacks: Sequence[Stack]) -> list[Stack]:
    """Join the time points of dynamic scans that came as series of their own.

    Parameters
    ----------
    stacks : of all series

    Returns
    -------
    The stacks, with one ``ctp`` stack in place of its parts. Parts of what cannot be joined are refused as
    ``perfusion_in_parts``.
    """
    runs = [run for group in _at_one_place(stacks) for run in _runs(group)]
    done: dict[int, list[Stack]] = {}
    for run in runs:
        for stack in run:
            done[id(stack)] = []
        done[id(run[0])] = _joined(run)
    return [new for stack in stacks for new in done.get(id(stack), [stack])]


def _at_one_place(stacks: Iterable[Stack]) -> list[list[Stack]]:
    """CT volumes of one patient, study, kernel and grid, several of them."""
    groups: dict[tuple[object, ...], list[Stack]] = {}
    for stack in stacks:
        recognition, first = stack.recognition, stack.places[0][0]
        is_open = recognition.refusal in (None, IN_PARTS) and recognition.kind in _VOLUMES
        is_open = is_open and set(recognition.unfit) <= _PHASE_WORDS
        if not is_open or len({len(place) for place in stack.places}) != 1 or first.position is None:
            continue
        if recognition.kind == "ctp" and recognition.refusal is None:
            continue  # dynamic by itself
        family = (
            stack.identity,
            text_of(stack.header.dataset, "StudyInstanceUID"),
            text_of(stack.header.dataset, "ConvolutionKernel"),
            len(stack.places),
            first.shape,
        )
        number = 0
        while (group := groups.get((*family, number))) and not _is_same_grid(group[0], stack):
            number += 1
        groups.setdefault((*family, number), []).append(stack)
    return [group for group in groups.values() if len(group) > 1]


def _is_same_grid(one: Stack, other: Stack) -> bool:
    """Whether the slices of two stacks lie on each other."""
    mine, theirs = one.places[0][0], other.places[0][0]
    if abs(mine.thickness_mm - theirs.thickness_mm) > THICKNESS_TOLERANCE_MM:  # False where unknown
        return False
    points, others = (np.array([place[0].position for place in stack.places]) for stack in (one, other))
    return np.allclose(points, others, rtol=0, atol=GRID_TOLERANCE_MM) and np.allclose(
        mine.spacing_mm or (), theirs.spacing_mm or (), rtol=1e-3
    )


def _runs(group: list[Stack]) -> list[list[Stack]]:
    """Stacks that followed each other without a long pause, and are more than an angiography has phases."""
    dated = [(stack.started, stack) for stack in group if stack.started]
    first = min((started for started, _ in dated), default=None)
    written = np.array([(started - first).total_seconds() for started, _ in dated if first])
    seconds = unwrapped(written).times_s  # a day that was not counted up at midnight
    runs: list[list[Stack]] = []
    before = -np.inf
    for place in np.argsort(seconds, kind="stable"):
        if seconds[place] - before > LONGEST_PAUSE_S:
            runs.append([])
        runs[-1].append(dated[place][1])
        before = seconds[place]
    undated = [stack for stack in group if not stack.started]
    return [run for run in [*runs, undated] if len(run) > MOST_PHASES]


def _joined(run: list[Stack]) -> list[Stack]:
    """One dynamic stack; or all parts, refused."""
    n_frames = sum(len(stack.places[0]) for stack in run)
    starts = {stack.started for stack in run}
    if n_frames < MINIMUM_DYNAMIC_FRAMES and None not in starts and len(starts) <= MOST_PHASES:
        return run  # several reconstructions of one scan
    first = run[0]
    places = tuple(tuple(frame for stack in run for frame in stack.places[place]) for place in range(len(first.places)))
    if n_frames < MINIMUM_DYNAMIC_FRAMES or isinstance(frame_times(places), Fault):
        return [replace(stack, recognition=_in_parts(stack)) for stack in run]
    recognition = replace(
        first.recognition,
        kind="ctp",
        evidence=f"{n_frames} volumes at one place in {len(run)} series",
        refusal=None,
        unfit=(),
        doubts=(),
        contrast=None,
    )
    return [
        replace(
            first,
            key="\0".join(sorted(stack.key for stack in run)),
            places=places,
            recognition=recognition,
            n_files=sum(stack.n_files for stack in run),
            n_copies=sum(stack.n_copies for stack in run),
        )
    ]


def _in_parts(stack: Stack) -> Recognition:
    """What a part is, refused."""
    evidence = "volumes at one place, too few or without times of their own"
    return replace(stack.recognition, kind="ctp", evidence=evidence, refusal=IN_PARTS)
