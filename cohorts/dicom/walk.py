"""Every entry of an export: the files to read, and what cannot be one, counted by reason.

A link that leads out of the export is not followed unless that is asked for: it may lead to other people's data.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

#: Reasons for which an entry is no file to read, and whether a patient's data may be lost with it.
LEFT_OUT = {
    "link_leads_out": True,
    "link_broken": True,
    "folder_unreadable": True,
    "linked_folder": False,  # inside the export: its files are found at their own place
    "special_file": False,
}


@dataclass(frozen=True)
class Walked:
    """Files below a folder, as sorted paths inside it; and the other entries, counted by a reason of ``LEFT_OUT``."""

    files: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def n_found(self) -> int:
        """All entries but folders that could be read."""
        return len(self.files) + self.left_out.total()


def walk(folder: Path, *, follow_links: bool = False) -> Walked:
    """Find every file below a folder.

    Parameters
    ----------
    folder : the export
    follow_links : whether links that lead out of it are followed; each folder is entered once
    """
    root = os.path.realpath(folder)
    walked = Walked()
    entered = {root}
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(folder / inside) as entries:
                found = list(entries)
        except OSError:
            walked.left_out["folder_unreadable"] += 1
            continue
        for entry in found:
            path = f"{inside}{os.sep}{entry.name}" if inside else entry.name
            reason = _reason(entry, root, follow_links=follow_links)
            if reason:
                walked.left_out[reason] += 1
            elif not entry.is_dir():
                walked.files.append(path)
            elif not follow_links or _is_new(entry, entered):
                waiting.append(path)
            else:
                walked.left_out["linked_folder"] += 1
    walked.files.sort()
    return walked


def _reason(entry: os.DirEntry[str], root: str, *, follow_links: bool) -> str | None:
    """Why an entry is neither a file to read nor a folder to enter; None where it is one."""
    try:
        if not entry.is_symlink():
            return None if entry.is_dir() or entry.is_file() else "special_file"
        if not Path(entry.path).exists():
            return "link_broken"
        if not follow_links and not _is_inside(os.path.realpath(entry.path), root):
            return "link_leads_out"
        if entry.is_dir():
            return None if follow_links else "linked_folder"
        return None if entry.is_file() else "special_file"
    except OSError:  # a loop of links, or a folder on the way that may not be entered
        return "link_broken"


def _is_inside(path: str, root: str) -> bool:
    """Whether a real path is the folder or lies below it."""
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _is_new(entry: os.DirEntry[str], entered: set[str]) -> bool:
    """Whether a folder was not entered yet, by whatever name; it counts as entered from now on."""
    real = os.path.realpath(entry.path)
    is_new = real not in entered
    entered.add(real)
    return is_new
