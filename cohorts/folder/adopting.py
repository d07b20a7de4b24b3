"""A published data set as a cohort folder: its files linked in, its tables written, every file found accounted for."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cohorts.tables.storage import tsv_text

REPORT = "init_report.tsv"
SCANS_COLUMNS = ("participant_id", "modality", "space", "path")


@dataclass(frozen=True)
class Found:
    """One file of a data set: whose, what it is, and why it is not listed where it is not."""

    path: str
    participant_id: str
    modality: str
    space: str | None = None
    left_out: str | None = None


@dataclass(frozen=True)
class Clinical:
    """One clinical column that a data set is known to have, as lines of ``cohort.toml``."""

    column: str
    lines: str


@dataclass(frozen=True)
class Adopted:
    """What a data set becomes.

    Attributes
    ----------
    name, description : of the study
    found : every image, in order
    participants : rows of participants.tsv, of one shape
    clinical : the columns to declare
    outcome, severity : columns of these roles, where there are any
    also : files that are copied as they are, by their path in the cohort folder
    """

    name: str
    description: str
    found: tuple[Found, ...]
    participants: Sequence[Mapping[str, str]]
    clinical: tuple[Clinical, ...] = ()
    outcome: str | None = None
    severity: str | None = None
    also: Mapping[str, Path] = field(default_factory=dict)

    @property
    def listed(self) -> tuple[Found, ...]:
        """The images that scans.tsv lists."""
        return tuple(one for one in self.found if one.left_out is None)


def check_empty(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises
    ------
    FileExistsError
        It does.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"folder must be empty, got files in {folder}. Give another folder.")


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it to another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a tab-separated table."""
    cells = [dict(zip(header, row, strict=True)) for row in rows]
    path.write_bytes((tsv_text(cells) or "\t".join(header) + "\n").encode())


def once_each(found: Iterable[Found]) -> tuple[Found, ...]:
    """List one file per participant and modality, the first; the others say so."""
    seen: dict[tuple[str, str], str] = {}
    result = []
    for one in found:
        key = (one.participant_id, one.modality)
        if one.left_out is None and key in seen:
            one = Found(one.path, one.participant_id, one.modality, one.space, f"{seen[key]} is listed")
        elif one.left_out is None:
            seen[key] = one.path
        result.append(one)
    return tuple(result)


def write_folder(folder: Path, adopted: Adopted, source: Path | None) -> Counter[str]:
    """Write a cohort folder.

    Parameters
    ----------
    folder : absent or empty
    adopted : what it holds
    source : where the listed files lie, to be linked; None where they were written into the folder

    Returns
    -------
    Modality -> images listed.

    Raises
    ------
    ValueError
        The data set has no image of a kind that a source could score.
    """
    study = study_text(adopted)
    folder.mkdir(parents=True, exist_ok=True)
    if source is not None:
        for one in adopted.listed:
            link_or_copy(source / one.path, folder / one.path)
    for name, path in adopted.also.items():
        link_or_copy(path, folder / name)
    rows = [(one.participant_id, one.modality, one.space, one.path) for one in adopted.listed]
    write_rows(folder / "scans.tsv", SCANS_COLUMNS, rows)
    report = [(one.path, one.participant_id, one.modality, one.left_out or "listed") for one in adopted.found]
    write_rows(folder / REPORT, ("path", "participant_id", "modality", "what_became_of_it"), report)
    columns = list(adopted.participants[0]) if adopted.participants else ["participant_id"]
    write_rows(folder / "participants.tsv", columns, [tuple(row.values()) for row in adopted.participants])
    (folder / "cohort.toml").write_text(study, encoding="utf-8")
    return Counter(one.modality for one in adopted.listed)


#: Modality -> the source that scores it, where a data set has it: what is drawn first, then the baselines.
_SOURCES = {
    "lesion": 'name = "lesion"\nkind = "mask"\ndescription = "Lesion mask in template space"',
    **{
        f"{scan}-{what}": f'name = "{scan}-{what}"\nkind = "native_mask"\nmodality = "{scan}-{what}"\nscan = "{scan}"\n'
        f'description = "{told}, drawn on {scan}"'
        for scan in ("dwi", "ncct", "cta")
        for what, told in (("lesion", "Lesion"), ("core", "Ischaemic core"))
    },
    "ctp": 'name = "ctp-core"\nkind = "ctp_core"\nmodality = "ctp"\nrule = "danet"\n'
    'description = "Core on CT perfusion"',
    "ncct": 'name = "ncct-ratio"\nkind = "density_ratio"\nmodality = "ncct"\ndescription = "Density ratio on CT"',
    "adc": 'name = "dwi-threshold"\nkind = "dwi_threshold"\nmodality = "dwi"\nadc = "adc"\n'
    'description = "Lesion by thresholds on DWI and ADC"',
}


def study_text(adopted: Adopted) -> str:
    """``cohort.toml`` of a data set: a source for each kind of image that one can score.

    Raises
    ------
    ValueError
        There is no such image.
    """
    there = {one.modality for one in adopted.listed}
    sections = [text for modality, text in _SOURCES.items() if modality in there and _needs(modality) <= there]
    if not sections:
        raise ValueError(
            f"the data set must have images that a source can score ({', '.join(_SOURCES)}), got "
            f"{', '.join(sorted(there)) or 'none'}. Write cohort.toml by hand, as aspects init shows it."
        )
    lines = [f'outcome = "{adopted.outcome}"\n'] if adopted.outcome else []
    lines += [f'[study]\nname = "{adopted.name}"\ndescription = "{adopted.description}"\n']
    lines += [f"[[source]]\n{text}\n" for text in sections]
    lines += [f'[[clinical]]\ncolumn = "{item.column}"\n{item.lines}\n' for item in adopted.clinical]
    lines += [f'[severity]\ncolumn = "{adopted.severity}"\n'] if adopted.severity else []
    return "\n".join(lines)


def _needs(modality: str) -> set[str]:
    """What else a source of this modality reads."""
    if modality == "adc":
        return {"dwi"}
    scan, _, what = modality.partition("-")
    return {scan} if what else set()
