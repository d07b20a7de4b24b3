"""``scans.tsv``: which file of the cohort folder shows which participant. No image is opened here.

A path is relative to the cohort folder and must stay inside it, symbolic links followed. A scan that may not be opened
is *refused*: it keeps its row in the tables, with the reason, and no later step sees its path.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from cohorts.folder.problems import Problem, Refusal, nearest, printable
from cohorts.folder.study import StudyConfig
from cohorts.folder.tsv import MISSING, Header, Row, TsvTable, is_valid_participant_id

FILE = "scans.tsv"
HEADER = Header(("participant_id", "modality", "path"), ("space",))
SUFFIXES = (".nii", ".nii.gz")
SIDECAR_SUFFIX = ".json"

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Scan:
    """One file of one participant; ``reason`` where it is refused, None where it can be used.

    ``sidecar`` is the path of the JSON file of the same name beside it, None where there is none.
    """

    participant_id: str
    modality: str
    space: str | None
    path: str
    reason: str | None = None
    sidecar: str | None = None


class CohortPaths:
    """Checks of paths inside one cohort folder; every folder is resolved once."""

    def __init__(self, folder: Path) -> None:
        self._root = os.path.realpath(folder)
        self._inside: dict[str, str | None] = {}
        self._names: dict[str | None, dict[str, str]] = {}  # folder -> its files by their name without case

    def _resolved_folder(self, folder: str) -> str | None:
        """The real path of a folder inside the cohort folder, None where it leads outside."""
        if folder not in self._inside:
            real = os.path.realpath(os.path.join(self._root, folder))  # noqa: PTH118 - 5 times faster than pathlib
            self._inside[folder] = real if self._is_inside(real) else None
        return self._inside[folder]

    def _is_inside(self, real: str) -> bool:
        """Whether a real path is the cohort folder or inside it."""
        return real == self._root or real.startswith(self._root.rstrip("/") + "/")

    def check(self, written: str, suffixes: tuple[str, ...] = SUFFIXES) -> str | Refusal:
        """Return the real path of a written path, or why it cannot be used."""
        relative = PurePosixPath(written)
        escapes = Refusal(
            "path_escapes_cohort",
            "must stay inside the cohort folder",
            "Copy the file into the folder and write its path relative to it.",
        )
        if relative.is_absolute() or ".." in relative.parts or _DRIVE.match(written) or written.startswith("\\"):
            return escapes
        if "\\" in written:
            return Refusal("path_with_backslash", "must have / between folders", "Write / for each \\.")
        if not written.lower().endswith(suffixes):
            remedy = "Give the NIfTI file." if suffixes == SUFFIXES else "Give a file of this kind."
            return Refusal(
                "not_nifti" if suffixes == SUFFIXES else "wrong_suffix", f"must end in {' or '.join(suffixes)}", remedy
            )
        try:
            parent = self._resolved_folder(str(relative.parent))
            if parent is None:
                return escapes
            real = f"{parent}/{relative.name}"
            found = os.lstat(real)
            if stat.S_ISLNK(found.st_mode):
                real = os.path.realpath(real)
                if not self._is_inside(real):
                    return escapes
                found = os.stat(real)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return Refusal("file_missing", "must be a file in the cohort folder", self._spelt_otherwise(relative))
        except (OSError, ValueError):
            return Refusal("file_unreadable", "must be a readable file", "Check its name and its permissions.")
        return self._check_kind(real, found)

    def _spelt_otherwise(self, relative: PurePosixPath) -> str:
        """Say what to do about a missing file: which one most likely is meant, if its folder has one."""
        folder = self._resolved_folder(str(relative.parent))
        if folder not in self._names:
            names = os.listdir(folder) if folder and os.path.isdir(folder) else []  # noqa: PTH112, PTH208
            self._names[folder] = {unicodedata.normalize("NFC", name).casefold(): name for name in sorted(names)}
        wanted = unicodedata.normalize("NFC", relative.name)
        name = self._names[folder].get(wanted.casefold())
        if name is None:
            return "Check the spelling, upper and lower case included, or add the file."
        if unicodedata.normalize("NFC", name) != wanted:
            return f"The folder holds {printable(name)}: write upper and lower case as there."
        form = "composed" if name == wanted else "decomposed, as macOS writes it"
        return f"The folder holds {printable(name)} with its accents {form}: rename the file, or the row."

    @staticmethod
    def _check_kind(real: str, found: os.stat_result) -> str | Refusal:
        """Return the real path of a file with content."""
        if stat.S_ISDIR(found.st_mode):
            return Refusal("path_is_folder", "must be a file, got a folder", "Write the path of the file in it.")
        if not stat.S_ISREG(found.st_mode):
            return Refusal("not_a_file", "must be an ordinary file", "Copy the image to this place.")
        if found.st_size == 0:
            return Refusal("file_empty", "must not be empty, got 0 bytes", "Export or copy the file again.")
        if not os.access(real, os.R_OK):
            return Refusal("file_unreadable", "must be a readable file", "Check its permissions.")
        return real


def sidecar_path(path: str) -> str:
    """Where the JSON sidecar of a scan lies.

    >>> sidecar_path("sub-1/perf/sub-1_ctp.nii.gz")
    'sub-1/perf/sub-1_ctp.json'
    """
    return re.sub(r"\.nii(\.gz)?$", "", path, flags=re.IGNORECASE) + SIDECAR_SUFFIX


def read_scans(table: TsvTable | None, paths: CohortPaths) -> tuple[list[Scan], list[Problem]]:
    """Check every scan.

    Returns
    -------
    All scans, those refused with their reason, one per participant and modality; and the problems.
    """
    listed, problems = _one_per_modality(row for row in (table.rows if table else ()) if not row.is_damaged)
    scans: list[Scan] = []
    users: dict[str, list[tuple[int, Row]]] = defaultdict(list)  # real path -> (place in scans, row)
    for row, listed_scan in listed:
        scan = listed_scan
        if not scan.path:
            result: str | Refusal = Refusal("missing_path", "must be given", "Write it in the row.")
        else:
            result = paths.check(scan.path)
        if isinstance(result, Refusal):
            problems.append(_problem(row, "path", result))
            scan = replace(scan, reason=scan.reason or result.reason)
        else:
            users[result].append((len(scans), row))
            scan = replace(scan, path=str(PurePosixPath(scan.path)))
            beside = sidecar_path(scan.path)
            sidecar = paths.check(beside, (SIDECAR_SUFFIX,))
            if isinstance(sidecar, str):
                scan = replace(scan, sidecar=beside)
            elif sidecar.reason != "file_missing":
                rule = f"must have a sidecar that can be read; {beside} {sidecar.rule}; it is left out"
                refusal = Refusal("sidecar_not_used", rule, sidecar.remedy)
                problems.append(replace(_problem(row, "path", refusal), is_warning=True))
        if not is_valid_participant_id(scan.participant_id):
            scan = replace(scan, reason="invalid_participant_id")
        scans.append(scan)
    for uses in users.values():
        problems += _refuse_shared(uses, scans)
    return scans, problems


def _one_per_modality(rows: Iterable[Row]) -> tuple[list[tuple[Row, Scan]], list[Problem]]:
    """Give the first row of each participant and modality; where a later one differs, which is right is not known."""
    listed: dict[tuple[str, str], tuple[Row, Scan]] = {}
    problems = []
    for row in rows:
        modality, path, space = (row.cells.get(name, MISSING) for name in ("modality", "path", "space"))
        if modality == MISSING:
            refusal = Refusal("missing_modality", "must be given", "Write it in the row.")
            problems.append(_problem(row, "modality", refusal))
            continue
        key = (row.participant_id, modality)
        scan = Scan(*key, None if space == MISSING else space, "" if path == MISSING else path)
        if key not in listed:
            listed[key] = (row, scan)
            continue
        first_row, first = listed[key]
        if replace(first, reason=None) == scan:
            how, remedy = "the same scan; it is read once", "Delete one of the two rows."
        else:
            how, remedy = "another file or space", "Keep the row that is right."
            listed[key] = (first_row, replace(first, reason="duplicate_scan"))
        rule = f"must occur once per participant, and is also in row {first_row.number} ({how})"
        problem = _problem(row, "modality", Refusal("duplicate_scan", rule, remedy))
        problems.append(replace(problem, is_warning=how.startswith("the same")))
    return list(listed.values()), problems


def _refuse_shared(uses: list[tuple[int, Row]], scans: list[Scan]) -> list[Problem]:
    """Refuse the scans of a file that several participants claim."""
    owners = list(dict.fromkeys(row.participant_id for _, row in uses))
    if len(owners) == 1:
        return []
    problems = []
    for place, row in uses:
        others = [owner for owner in owners[:4] if owner != row.participant_id]
        shown = ", ".join(map(printable, others[:3])) + (", ..." if len(owners) > 4 else "")
        rule = f"must belong to one participant, and is also the file of {shown}"
        refusal = Refusal("same_file_twice", rule, "Give each participant the right file.")
        problems.append(_problem(row, "path", refusal))
        scans[place] = replace(scans[place], reason=scans[place].reason or refusal.reason)
    return problems


def _problem(row: Row, column: str, refusal: Refusal) -> Problem:
    """Attach a refusal to its cell."""
    written = row.cells.get(column)
    place = (FILE, row.number, column, None if written == MISSING else written)
    return Problem(*place, refusal.rule, refusal.remedy, refusal.reason, row.participant_id)


def check_modalities(table: TsvTable, config: StudyConfig) -> list[Problem]:
    """Check that every computed source of the study, and all drawn regions, find their modality in scans.tsv."""
    present = dict.fromkeys(row.cells["modality"] for row in table.rows if not row.is_damaged)
    problems = []
    asked = [(f"source {source.name}", source.scans[0]) for source in config.scan_sources]
    asked += [(f"drawn_regions {drawn.name}", drawn.modality) for drawn in config.drawn_regions]
    for what, modality in asked:
        if modality not in present:
            near = nearest(modality, present)
            hint = f"Did you mean {printable(near)}? " if near else ""
            rule = f"must be a modality of scans.tsv ({', '.join(map(printable, list(present)[:8])) or 'it has none'})"
            remedy = f"{hint}Correct it, or add the scans."
            key = f"{what}: modality"
            problems.append(Problem("cohort.toml", None, key, modality, rule, remedy, "modality_without_scan"))
    return problems
