"""One table of splits by anatomy, by lesion and by patient, and the audit of what lies on two sides of it.

Lesions are divided by the sha256 of the participant's name modulo 100: it needs no list, and a set that grows moves
nobody. Patients of a cohort go the same way, so that a patient and a mask of one name lie on one side; whom the study
gives a side keeps it. Anatomies are few, so they are divided by the volume of the lateral ventricles: validation and
test hold one of every stratum where there are three or more. A synthetic patient of one side is drawn from that side's
anatomies and lesions alone.

A *leak* is one participant, one file or the same voxels on two sides; a mirror image is the same voxels.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal, cast, get_args

from scipy import stats

from cohorts.store.records import write_bytes
from models.training.items import Item

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
VALIDATION_FROM, TEST_FROM = 70, 82  # of 100
VENTRICLES_ML = (15.0, 45.0)  # strata of anatomies: below, between, above
LEAST_WITH_LESION = 2  # patients on each side: a median of one has no interval
LEAST_IN_STRATUM = 3  # one to train, one to validate, one to test
COLUMNS = ("kind", "name", "split", "sha256", "ventricles_ml", "volume_ml")


@dataclass(frozen=True)
class Placed:
    """An item with its side."""

    item: Item
    split: Split


@dataclass(frozen=True)
class Leak:
    """What two items on two sides have in common: ``participant``, ``file``, ``voxels`` or ``mirrored voxels``."""

    common: str
    first: Placed
    second: Placed


def lesion_split(participant: str) -> Split:
    """Side of a participant's lesions.

    >>> lesion_split("sub-1000"), lesion_split("sub-12")
    ('train', 'test')
    """
    number = int(hashlib.sha256(participant.encode()).hexdigest(), 16) % 100
    return "train" if number < VALIDATION_FROM else "validation" if number < TEST_FROM else "test"


def anatomy_splits(ventricles_ml: Mapping[str, float], hold_out: Sequence[str] = ()) -> dict[str, Split]:
    """Side of each anatomy.

    Parameters
    ----------
    ventricles_ml : name -> volume of both lateral ventricles
    hold_out : names of those that test; without, one of every stratum that has three

    Raises
    ------
    ValueError
        A name to hold out is not known, or there are too few anatomies for three sides.
    """
    if unknown := [name for name in hold_out if name not in ventricles_ml]:
        near = [found for name in unknown for found in difflib.get_close_matches(name, ventricles_ml, n=1)]
        hint = f"Did you mean {', '.join(near)}?" if near else f"Known are {', '.join(sorted(ventricles_ml))}."
        raise ValueError(f"anatomies to hold out must be in the folder, got {', '.join(unknown)}. {hint}")
    free = set(ventricles_ml) - set(hold_out)
    wanted: tuple[Split, ...] = ("validation",) if hold_out else ("test", "validation")
    if len(free) <= len(wanted):
        raise ValueError(
            f"anatomies must be at least {LEAST_IN_STRATUM}, one each to train, validate and test, got "
            f"{len(ventricles_ml)} with {len(set(hold_out))} held out. Give more."
        )
    sides: dict[str, Split] = {name: "test" if name in hold_out else "train" for name in ventricles_ml}
    strata = [_by_digest(name for name in free if _stratum(ventricles_ml[name]) == at) for at in range(3)]
    for stratum in strata:
        if len(stratum) > len(wanted):
            sides |= dict(zip(stratum, wanted, strict=False))
    for split in wanted:  # no stratum had three: one from the largest, so that something is held out at all
        if split not in sides.values():
            left = [[name for name in stratum if sides[name] == "train"] for stratum in strata]
            sides[max(left, key=len)[0]] = split
    return sides


def _stratum(volume_ml: float) -> int:
    """0 below the first limit, 1 between, 2 above the second."""
    return int(volume_ml >= VENTRICLES_ML[0]) + int(volume_ml > VENTRICLES_ML[1])


def _by_digest(names: Iterable[str]) -> list[str]:
    """An order that has nothing to do with what is drawn, and that no clock changes."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def place(
    items: Sequence[Item], hold_out: Sequence[str] = (), given: Mapping[str, Split] | None = None
) -> tuple[Placed, ...]:
    """Give every item its side, by kind and name, anatomies first.

    Parameters
    ----------
    items : without anatomies and lesions where all are patients of a cohort
    hold_out : anatomies that only test
    given : participant -> side that the study gives

    Raises
    ------
    ValueError
        As ``anatomy_splits``.
    """
    sides: Mapping[str, Split] = {}
    if any(one.kind in ("anatomy", "lesion") for one in items):
        sides = anatomy_splits({one.name: one.volume_ml for one in items if one.kind == "anatomy"}, hold_out)
    ordered = sorted(items, key=lambda one: (one.kind, one.name))
    return tuple(
        Placed(one, sides[one.name] if one.kind == "anatomy" else _participant_split(one, given or {}))
        for one in ordered
    )


def _participant_split(item: Item, given: Mapping[str, Split]) -> Split:
    """Side of a lesion or a patient."""
    own = given.get(item.participant) if item.kind in ("patient", "drawn") else None
    return own or lesion_split(item.participant)


def patients_for(n_least: int = LEAST_WITH_LESION, chance: float = 0.95) -> int:
    """How many patients with a lesion let every side have enough of them, with some chance.

    How many come to a side is binomial of its share; the chances of too few are added (Bonferroni).

    >>> patients_for()
    39
    """
    shares = (VALIDATION_FROM / 100, (TEST_FROM - VALIDATION_FROM) / 100, 1 - TEST_FROM / 100)
    n = 3 * n_least
    while sum(float(stats.binom.cdf(n_least - 1, n, share)) for share in shares) > 1 - chance:
        n += 1
    return n


def leaks_of(placed: Sequence[Placed]) -> tuple[Leak, ...]:
    """Everything that lies on two sides, all of it, by what is the same."""
    found: list[Leak] = []
    keys: tuple[tuple[str, Callable[[Item], str]], ...] = (
        ("participant", lambda item: item.participant),
        ("file", lambda item: item.sha256),
        ("voxels", lambda item: item.pixels),
    )
    for common, key_of in keys:
        by_key: dict[str, list[Placed]] = {}
        for one in placed:
            by_key.setdefault(key_of(one.item), []).append(one)
        for key, same in by_key.items():
            found += [Leak(common, a, b) for a, b in combinations(same, 2) if key and a.split != b.split]
    by_mirror: dict[str, list[Placed]] = {}
    for one in placed:  # of each pair the earlier is met by the later
        for other in by_mirror.get(one.item.pixels, []) if one.item.pixels else []:
            if other.split != one.split and other.item.pixels != one.item.pixels:
                found.append(Leak("mirrored voxels", other, one))
        by_mirror.setdefault(one.item.mirrored, []).append(one)
    return tuple(found)


def write_splits(placed: Sequence[Placed], path: Path) -> None:
    """Write the table, one row per item."""
    text = io.StringIO()
    rows = csv.writer(text, delimiter="\t", lineterminator="\n")
    rows.writerow(COLUMNS)
    for one in placed:
        volume = f"{one.item.volume_ml:.3f}"
        volumes = (volume, "n/a") if one.item.kind == "anatomy" else ("n/a", volume)
        rows.writerow((one.item.kind, one.item.name, one.split, one.item.sha256, *volumes))
    write_bytes(path, text.getvalue().encode())


def read_splits(path: Path) -> dict[tuple[str, str], Split]:
    """(kind, name) -> side, of a written table.

    Raises
    ------
    ValueError
        It is not such a table.
    """
    rows = list(csv.DictReader(path.read_text("utf-8").splitlines(), delimiter="\t"))
    if not rows or tuple(rows[0]) != COLUMNS or any(row["split"] not in SPLITS for row in rows):
        raise ValueError(f"{path.name} must have the columns {', '.join(COLUMNS)} and known sides. Write it again.")
    return {(row["kind"], row["name"]): cast(Split, row["split"]) for row in rows}
