"""In which order readers read: random, blinded, with some cases a second time and training cases first.

A *repeat* is a case that comes back later under another code, so that it shows how well a reader agrees with himself or
herself; a *training case* is read first and never analysed. A *code* is a short random text that stands for one
presentation of one case to one reader: two readers have different codes for a case, and so have both presentations of a
repeat.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

PresentationKind = Literal["training", "case", "repeat"]

#: Without letters and digits that look alike, and without vowels: no code is a word.
CODE_CHARACTERS = "BCDFGHJKMNPQRTVWXYZ2346789"
CODE_LENGTH = 5


@dataclass(frozen=True)
class Presentation:
    """One case as one reader gets it."""

    code: str
    case: str
    kind: PresentationKind


def work_lists(
    cases: Sequence[str],
    readers: Sequence[str],
    *,
    repeat_share: float,
    training: Sequence[str] = (),
    seed: int,
    round_name: str = "",
) -> dict[str, tuple[Presentation, ...]]:
    """The work list of every reader.

    All readers have the same training cases, in the order given, and the same repeats; the order of all else is each
    reader's own. A repeat comes at least half of the list, training cases aside, after its first presentation. A list
    depends on the name of its reader and not on the others, so that a further reader changes no list.

    Parameters
    ----------
    cases : the cases to be read, without the training cases
    readers : their names
    repeat_share : share of the cases that come twice, 0 to 1; rounded up to whole cases
    training : cases that come first
    seed : the same seed gives the same lists
    round_name : a further round of the same cases has another order, other repeats and other codes

    Raises
    ------
    ValueError
        The share is out of range, there is nothing to read, or a case or reader is given twice.

    Examples
    --------
    >>> lists = work_lists(["a", "b", "c", "d"], ["A"], repeat_share=0.25, training=["t"], seed=1)
    >>> [one.kind for one in lists["A"]].count("repeat"), lists["A"][0].case
    (1, 't')
    """
    if not 0 <= repeat_share <= 1:
        raise ValueError(f"repeat_share must be 0 to 1, got {repeat_share:g}. Give the share of cases that come twice.")
    if not cases:
        raise ValueError("cases must not be empty, got none beside the training cases. Leave cases to be read.")
    for what, names in (("cases", [*cases, *training]), ("readers", readers)):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{what} must be given once each, got {', '.join(twice)} more than once. Name each once.")
    n_repeats = int(np.ceil(repeat_share * len(cases) - 1e-9))
    chosen = _rng(seed, f"{round_name}:repeats").permutation(len(cases))[:n_repeats]
    repeats = [cases[place] for place in chosen]
    lists = {}
    for reader in readers:
        rng = _rng(seed, f"{round_name}:reader {reader}")
        order: list[tuple[str, PresentationKind]] = [
            *((case, "training") for case in training),
            *_order(cases, repeats, rng),
        ]
        codes = _codes(len(order), rng)
        lists[reader] = tuple(Presentation(code, case, kind) for code, (case, kind) in zip(codes, order, strict=True))
    return lists


def _order(
    cases: Sequence[str], repeats: Sequence[str], rng: np.random.Generator
) -> list[tuple[str, PresentationKind]]:
    """Cases in random order; a repeat comes half of the list after its first presentation."""
    half = (len(cases) + len(repeats)) // 2
    drawn = np.sort([rng.permutation(half)[: len(repeats)] for _ in range(2)])
    first, second = drawn.min(axis=0), half + drawn.max(axis=0)  # both still rise, so that no two cases share a place
    places: dict[int, tuple[str, PresentationKind]] = {}
    for case, at, again in zip(rng.permutation(np.array(repeats, dtype=object)), first, second, strict=True):
        places[int(at)], places[int(again)] = (case, "case"), (case, "repeat")
    others = iter(rng.permutation(np.array([case for case in cases if case not in set(repeats)], dtype=object)))
    return [places[at] if at in places else (next(others), "case") for at in range(len(cases) + len(repeats))]


def _codes(n_codes: int, rng: np.random.Generator) -> list[str]:
    """Different random codes."""
    codes: dict[str, None] = {}
    while len(codes) < n_codes:
        codes["".join(rng.choice(list(CODE_CHARACTERS), CODE_LENGTH))] = None
    return list(codes)


def _rng(seed: int, stream: str) -> np.random.Generator:
    """Random numbers of one purpose."""
    return np.random.default_rng([seed, *hashlib.sha256(stream.encode()).digest()])
