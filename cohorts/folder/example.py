"""What ``aspects init`` writes: a cohort folder that shows every section and table, with comments."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

EXAMPLE_FILES = ("cohort.toml", "participants.tsv", "participants.json", "scans.tsv", "readings.tsv", "README.md")


def write_example(folder: Path) -> tuple[Path, ...]:
    """Write the example cohort folder; its scans name masks that are not there yet.

    Parameters
    ----------
    folder : created where it does not exist

    Returns
    -------
    The files written.

    Raises
    ------
    FileExistsError
        One of the files exists, all of them named; nothing is written.
    """
    existing = [name for name in EXAMPLE_FILES if (folder / name).exists() or (folder / name).is_symlink()]
    if existing:
        raise FileExistsError(f"folder must not hold {', '.join(existing)}, got {folder}. Give another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lesions").mkdir(exist_ok=True)
    for name in EXAMPLE_FILES:
        (folder / name).write_bytes((files("cohorts") / "templates" / f"example_{name}").read_bytes())
    return tuple(folder / name for name in EXAMPLE_FILES)
