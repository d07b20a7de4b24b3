"""What a training learns from, folders and a cohort: all is looked at, and all that is wrong is named at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cohorts.folder.problems import CohortError, Problem
from cohorts.store.records import digest_of
from flows.training.cohort import Candidates, in_words
from flows.training.patients import Excluded, FoundPatient
from flows.training.request import TrainRequest
from flows.training.steps import Found, PoolPart
from models.training.items import Kind
from models.training.splits import LEAST_WITH_LESION, SPLITS, Placed, Split, leaks_of, patients_for, place
from models.training.synthetic import Recipe
from models.training.trainer import Plan

ENDINGS = (".nii", ".nii.gz")
PART = 8  # patients of a pool that one task draws
KEPT_DIGITS = 16


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a training learns from.

    Attributes
    ----------
    placed : every usable anatomy, lesion and patient with its side
    paths : (kind, name) -> file; of a patient as prepared
    warnings : what was left out
    drawn : the lesions drawn on the patients' scans, to be compared for leaks
    """

    placed: tuple[Placed, ...]
    paths: dict[tuple[str, str], Path]
    warnings: tuple[Problem, ...]
    drawn: tuple[Placed, ...] = ()

    def of(self, kind: Kind, split: Split) -> tuple[Placed, ...]:
        """The items of one kind on one side."""
        return tuple(one for one in self.placed if (one.item.kind, one.split) == (kind, split))

    def path_of(self, placed: Placed) -> Path:
        """The file of an item."""
        return self.paths[placed.item.kind, placed.item.name]

    def patients(self, split: Split) -> tuple[Path, ...]:
        """The prepared patients of one side, those with a lesion first."""
        ordered = sorted(self.of("patient", split), key=lambda one: (not one.item.volume_ml, one.item.name))
        return tuple(self.path_of(one) for one in ordered)


def files_of(request: TrainRequest) -> dict[Kind, list[Path]]:
    """The images of both folders, by name; none without synthetic patients.

    Raises
    ------
    CohortError
        A folder is missing or holds none.
    """
    if request.anatomies is None or request.lesions is None:
        return {}
    folders: dict[Kind, Path] = {"anatomy": request.anatomies, "lesion": request.lesions}
    files: dict[Kind, list[Path]] = {}
    problems = []
    for kind, folder in folders.items():
        there = sorted(folder.iterdir()) if folder.is_dir() else []
        files[kind] = [path for path in there if path.name.endswith(ENDINGS) and path.is_file()]
        if not files[kind]:
            option = "--anatomies" if kind == "anatomy" else "--lesions"
            what = "label maps of heads" if kind == "anatomy" else "lesion masks in template space"
            found = "a folder without any" if folder.is_dir() else "no folder"
            rule = f"{option} must be a folder of {what} (NIfTI), got {found}"
            problems.append(_problem(str(folder), rule, "Give another folder.", f"no_{kind}"))
    if problems:
        raise CohortError(problems)
    return files


def inputs_of(
    request: TrainRequest,
    found: Iterable[Found],
    kinds: dict[Path, Kind],
    candidates: Candidates | None = None,
    patients: Sequence[FoundPatient] = (),
) -> Inputs:
    """Divide what was found, or refuse with everything that is wrong.

    Parameters
    ----------
    request : TrainRequest
    found : what the files of the folders are
    kinds : of the files
    candidates : of the cohort; None without
    patients : what came of them

    Raises
    ------
    CohortError
        A file cannot be used, or a side would stay empty.
    """
    found = list(found)
    faults = [one for one in found if one.fault]
    problems = [_fault(f"{kinds[one.path]} {one.path.name}", one.fault, f"bad_{kinds[one.path]}") for one in faults]
    usable, empty = [], []
    paths: dict[tuple[str, str], Path] = {}
    for one in found:
        if one.item is None:
            continue
        if one.item.kind == "lesion" and not one.item.volume_ml:
            empty.append(one.path)
            continue
        if (key := (one.item.kind, one.item.name)) in paths:
            rule = f"must not lie there as .nii and .nii.gz both, got two files of {one.item.name}"
            problems.append(_problem(f"{one.item.kind} {one.path.name}", rule, "Take one away.", "two_files"))
        paths[key] = one.path
        usable.append(one.item)
    usable += [item for one in patients for item in one.items]
    paths |= {("patient", one.participant): Path(one.kept) for one in patients if one.kept}
    placed: tuple[Placed, ...] = ()
    try:
        if usable or not problems:
            placed = place(usable, request.hold_out, candidates.sides if candidates else None)
    except ValueError as error:
        problems.append(_fault("anatomies", str(error), "no_split"))
    n = {split: sum(one.split == split and one.item.kind == "lesion" for one in placed) for split in SPLITS}
    if placed and request.is_synthetic and not all(n.values()):
        rule = "lesions must be on every side, got " + ", ".join(f"{count} to {side}" for side, count in n.items())
        problems.append(_problem("lesions", rule, "Give more masks.", "no_lesion"))
    excluded = () if candidates is None else (*candidates.excluded, *(one.excluded for one in patients if one.excluded))
    if candidates is not None:
        problems += _too_few(placed, excluded)
    if problems:
        raise CohortError(problems)
    return Inputs(
        tuple(one for one in placed if one.item.kind != "drawn"),
        paths,
        (*_left_out(empty), *_excluded(excluded)),
        tuple(one for one in placed if one.item.kind == "drawn"),
    )


def refuse_leaks(inputs: Inputs) -> None:
    """Refuse to train where anything lies on two sides.

    Raises
    ------
    CohortError
        With every leak.
    """
    problems = []
    for leak in leaks_of((*inputs.placed, *inputs.drawn)):
        a, b = leak.first, leak.second
        rule = (
            f"must share nothing with another side, got the same {leak.common} in {b.item.kind} {b.item.name} "
            f"({b.split}) as here ({a.split})"
        )
        remedy = "Take one of them away."
        if leak.common == "participant" and a.item.kind != b.item.kind:
            remedy = "Leave the side in the column split of participants.tsv empty, or take one of them away."
        problems.append(_problem(f"{a.item.kind} {a.item.name}", rule, remedy, "leak"))
    if problems:
        raise CohortError(problems)


def pool_digest(request: TrainRequest, inputs: Inputs, code: str) -> str:
    """What a pool is made of."""
    drawn_from = [one for one in inputs.placed if one.item.kind in ("anatomy", "lesion")]
    items = [[one.item.kind, one.item.name, one.split, one.item.sha256] for one in drawn_from]
    return digest_of({"items": items, "recipe": repr(Recipe()), "seed": request.seed, "code": code})


def patients_digest(inputs: Inputs) -> str:
    """What a training on a cohort learns from: who lies where, and what was kept of each; its name is its content's."""
    return digest_of([[one.split, inputs.path_of(one).stem] for one in inputs.placed if one.item.kind == "patient"])


def kept_anatomy(work: Path, placed: Placed, code: str) -> Path:
    """Where a prepared anatomy is kept: by its file and the code that prepares."""
    digest = hashlib.sha256(f"{placed.item.sha256} {code}".encode()).hexdigest()
    return work / "anatomies" / f"{placed.item.name}-{digest[:KEPT_DIGITS]}.npz"


def pool_parts(inputs: Inputs, folder: Path, split: Split, n: int, seed: int, kept: Sequence[Path]) -> list[PoolPart]:
    """The parts of one side's pool, in order; each side has seeds of its own."""
    lesions = tuple((inputs.path_of(one), one.item.volume_ml) for one in inputs.of("lesion", split))
    own = seed * len(SPLITS) + SPLITS.index(split)
    return [
        PoolPart(folder / split, first, min(PART, n - first), tuple(kept), lesions, own) for first in range(0, n, PART)
    ]


def needed(plan: Plan, n: int) -> int:
    """Parts of the pool that hold its first ``n`` patients."""
    return -(-min(n, plan.pool) // PART)


def _too_few(placed: Sequence[Placed], excluded: Sequence[Excluded]) -> list[Problem]:
    """What is wrong where a side has too few patients with a lesion."""
    with_lesion = [one for one in placed if one.item.kind == "patient" and one.item.volume_ml]
    n = {split: sum(one.split == split for one in with_lesion) for split in SPLITS}
    if min(n.values()) >= LEAST_WITH_LESION:
        return []
    counts = ", ".join(f"{count} to {side}" for side, count in n.items())
    rule = f"patients with a lesion must be at least {LEAST_WITH_LESION} on every side, got {counts}"
    left_out = f" {len(excluded)} were left out: {in_words(excluded)}." if excluded else ""
    remedy = (
        f"Give more patients: by the digests of their names, {patients_for()} with a lesion are enough in 19 of 20 "
        f"cohorts; or give sides in the column split of participants.tsv.{left_out}"
    )
    return [_problem("cohort", rule, remedy, "too_few_patients")]


def _excluded(excluded: Sequence[Excluded]) -> tuple[Problem, ...]:
    """Patients who were left out, as one warning."""
    if not excluded:
        return ()
    rule = (
        f"must have a scan and a lesion drawn on it that can be used, got {len(excluded)} without: {in_words(excluded)}"
    )
    remedy = "They are left out; excluded.tsv in the work folder says who and why."
    return (Problem("patients", None, None, None, rule, remedy, "excluded_patients", is_warning=True),)


def _left_out(empty: Sequence[Path]) -> tuple[Problem, ...]:
    """Masks without a voxel, as one warning."""
    if not empty:
        return ()
    names = ", ".join(path.name for path in empty)
    rule = f"must hold a voxel, got {len(empty)} without: {names}"
    return (Problem("lesions", None, None, None, rule, "They are left out.", "empty_lesion", is_warning=True),)


def _fault(file: str, text: str, reason: str) -> Problem:
    """A message of a rule, a value and a remedy as a problem."""
    rule, _, remedy = text.rstrip(".").rpartition(". ")
    return _problem(file, rule or remedy, f"{remedy}." if rule else "", reason)


def _problem(file: str, rule: str, remedy: str, reason: str) -> Problem:
    """A problem that stops the training."""
    return Problem(file, None, None, None, rule, remedy, reason)
