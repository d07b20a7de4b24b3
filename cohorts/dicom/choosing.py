"""Which of a participant's converted series scans.tsv lists: one per modality, of one examination where that can be.

An *examination* is what was scanned without a pause of ``LONGEST_PAUSE``, under however many study identifiers. It is
chosen as a whole; a modality that it lacks is taken from the nearest other one, and said to be. The order is: free of
doubt, the examination, rules of ``import.toml``, all slices, whole head, first acquisition, soft kernel, thickness, not
resampled. What is unfit is never listed. Each choice names its runner-up and what spoke against it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cohorts.dicom.kernels import Sharpness

#: Parts of one examination follow each other faster; a follow-up comes later.
LONGEST_PAUSE = timedelta(hours=6)
#: Reconstructions of one acquisition carry the same time; another acquisition of the same kind is further away.
SAME_ACQUISITION = timedelta(seconds=60)
#: A slab this much lower than the largest of its kind shows part of the head.
WHOLE_SHARE = 0.8
#: Slices in which early signs are read, mm: thinner ones drown a few HU in noise, thicker ones blur them.
READING_THICKNESS_MM = (2.5, 5.0)
#: Modalities that one examination gives together count once when examinations are compared.
_FAMILIES = {"dwi-b0": "dwi", "adc": "dwi", **dict.fromkeys(("cbf", "cbv", "mtt", "ttp", "tmax"), "ctp")}
_SHARPNESS: Mapping[Sharpness, int] = {"soft": 0, "unknown": 1, "sharp": 2}

OTHER_EXAMINATION = "other_examination"


@dataclass(frozen=True)
class Candidate:
    """A converted series as the choice sees it."""

    participant_id: str
    modality: str
    path: str
    series: str
    study: str
    started: datetime | None
    sharpness: Sharpness = "unknown"
    thickness_mm: float = float("nan")
    height_mm: float = 0.0
    n_slices: int = 0
    is_incomplete: bool = False
    is_resampled: bool = False
    unfit: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    rule: int | None = None


@dataclass(frozen=True)
class Choice:
    """What became of a candidate.

    Attributes
    ----------
    is_listed : whether scans.tsv has it
    text : why, or why not
    runner_up : series that came second, None without one
    hours_apart : of a scan from another examination than the one chosen, else None
    """

    is_listed: bool
    text: str
    runner_up: str | None = None
    hours_apart: float | None = None


@dataclass(frozen=True)
class Anchors:
    """What is listed already: (participant, modality) -> path, and path -> when that scan began, where it is known."""

    listed: Mapping[tuple[str, str], str] = field(default_factory=dict)
    started: Mapping[str, datetime] = field(default_factory=dict)


def choose(candidates: Iterable[Candidate], anchors: Anchors, *, is_earliest: bool = False) -> dict[str, Choice]:
    """Choose the scans to be listed.

    Parameters
    ----------
    candidates : everything that was converted
    anchors : what scans.tsv lists already; it stays
    is_earliest : take the first examination rather than the fullest

    Returns
    -------
    Path -> what became of it.
    """
    by_participant: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_participant[candidate.participant_id].append(candidate)
    found: dict[str, Choice] = {}
    for participant_id, own in by_participant.items():
        here = {one.path for one in own}
        paths = [path for (listed_of, _), path in anchors.listed.items() if listed_of == participant_id]
        elsewhere = [anchors.started[path] for path in paths if path in anchors.started and path not in here]
        examinations = _examinations(own, elsewhere, is_earliest=is_earliest)
        by_modality: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in own:
            by_modality[candidate.modality].append(candidate)
        for modality, rivals in by_modality.items():
            kept = anchors.listed.get((participant_id, modality))
            chosen = _of_modality(rivals, examinations)
            is_kept = kept is None or chosen.get(kept, Choice(False, "")).is_listed
            found |= chosen if is_kept else _as_listed(rivals, kept or "")
    return found


@dataclass(frozen=True)
class _Examinations:
    """Number of each path's examination, the one that is chosen, and when what is fit of it began."""

    number: Mapping[str, int]
    main: int
    main_started: datetime | None

    def apart(self, one: Candidate) -> timedelta:
        """How far a series is from the examination chosen; none within it."""
        if self.number[one.path] == self.main:
            return timedelta(0)
        return timedelta.max if self.main_started is None else _distance(one, [self.main_started])


def _examinations(own: Sequence[Candidate], anchored: Sequence[datetime], *, is_earliest: bool) -> _Examinations:
    """Sort a participant's series into examinations, and choose the one that is listed as a whole."""
    number = _numbers(own)
    fit = [one for one in own if not one.unfit] or list(own)
    if anchored:
        main = number[min(fit, key=lambda one: (_distance(one, anchored), one.path)).path]
    else:
        families: dict[int, set[str]] = defaultdict(set)
        for one in fit:
            families[number[one.path]] |= set() if one.doubts else {_FAMILIES.get(one.modality, one.modality)}
        main = min(families, key=lambda place: (0 if is_earliest else -len(families[place]), place))
    starts = [one.started for one in fit if one.started and number[one.path] == main]
    return _Examinations(number, main, min(starts, default=None))


def _numbers(own: Sequence[Candidate]) -> dict[str, int]:
    """Path -> number of its examination, in the order of time; what has no time goes by its study."""
    numbers: dict[str, int] = {}
    studies: dict[str, int] = {}
    number, before = 0, None
    for one in sorted((one for one in own if one.started), key=lambda one: (one.started, one.path)):
        if before is not None and one.started is not None and one.started - before > LONGEST_PAUSE:
            number += 1
        numbers[one.path], before = number, one.started
        studies.setdefault(one.study, number)
    for one in own:
        numbers.setdefault(one.path, studies.setdefault(one.study, number + 1 + len(studies)))
    return numbers


def _distance(one: Candidate, moments: Sequence[datetime]) -> timedelta:
    """How far a series began from moments; the longest where it has no time."""
    if one.started is None:
        return timedelta.max
    return min(abs(one.started - moment) for moment in moments)


def _as_listed(rivals: Sequence[Candidate], kept: str) -> dict[str, Choice]:
    """What scans.tsv lists stays."""
    found = {one.path: Choice(False, "another scan was listed before") for one in rivals}
    return found | {kept: Choice(True, "listed before")}


def _of_modality(rivals: Sequence[Candidate], examinations: _Examinations) -> dict[str, Choice]:
    """Choose among the series of one modality."""
    found = {one.path: Choice(False, f"unfit: {', '.join(one.unfit)}") for one in rivals if one.unfit}
    fit = [one for one in rivals if not one.unfit]
    if not fit:
        return found
    ranks = {one.path: _rank(one, fit, examinations) for one in fit}
    best, *others = sorted(fit, key=lambda one: tuple(ranks[one.path].values()))

    def why(other: Candidate) -> str:
        return _why(
            best, other, next(name for name, rank in ranks[best.path].items() if rank != ranks[other.path][name])
        )

    text = "only one that is fit" if found else "only one of its kind"
    if others:
        text = f"before {others[0].series}: {why(others[0])}"
    if best.doubts:
        text += f"; in doubt: {', '.join(best.doubts)}"
    apart = examinations.apart(best)
    hours = None if not apart or apart == timedelta.max else round(apart.total_seconds() / 3600, 1)
    if apart:
        text += f"; {OTHER_EXAMINATION}"
    found |= {one.path: Choice(False, f"behind {best.series}: {why(one)}") for one in others}
    return found | {best.path: Choice(True, text, others[0].series if others else None, hours)}


def _rank(one: Candidate, fit: Sequence[Candidate], examinations: _Examinations) -> dict[str, tuple[object, ...]]:
    """What decides, by its name, the smallest first."""
    beside = [other for other in fit if examinations.number[other.path] == examinations.number[one.path]]
    first = min((other.started for other in beside if other.started), default=None)
    is_later = one.started is not None and first is not None and one.started - first > SAME_ACQUISITION
    acquired = one.started if is_later else first
    return {
        "free of doubt": (bool(one.doubts),),
        "examination chosen": (examinations.apart(one),),
        "rule of import.toml": (one.rule is None, one.rule or 0),
        "all slices": (one.is_incomplete,),
        "whole head": (one.height_mm < WHOLE_SHARE * max(other.height_mm for other in fit),),
        "first acquisition": (acquired is None, str(acquired)),
        "soft kernel": (_SHARPNESS[one.sharpness],),
        "thickness": _thickness_rank(one),
        "not resampled": (one.is_resampled,),
        "earliest": (one.started is None, str(one.started)),
        "most slices": (-one.n_slices,),
        "path": (one.path,),
    }


def _thickness_rank(one: Candidate) -> tuple[float, float]:
    """How far a thickness is from what is read on plain CT, then the thinner; angiography is the better the thinner."""
    thickness = one.thickness_mm if one.thickness_mm == one.thickness_mm else 1e3
    low, high = READING_THICKNESS_MM
    outside = max(low - thickness, thickness - high, 0.0) if one.modality == "ncct" else 0.0
    return round(outside, 2), round(thickness, 2)


def _why(best: Candidate, other: Candidate, reason: str) -> str:
    """What put one before the other, with what spoke against the other."""
    if reason == "free of doubt":
        return f"{reason} ({', '.join(other.doubts)})"
    if reason == "thickness":
        return f"{reason} ({best.thickness_mm:g} mm, {other.thickness_mm:g} mm)"
    return f"{reason} ({best.sharpness}, {other.sharpness})" if reason == "soft kernel" else reason
