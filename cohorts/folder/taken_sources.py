"""The sources of a study that declares none: every kind that finds its scan in ``scans.tsv``, and the readings.

Whether a kind has the weights that it asks for is not looked at here: where they are absent the source is, with its
reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cohorts.folder import readings, scans
from cohorts.folder.problems import Problem, printable
from cohorts.folder.source import Part, Source
from cohorts.folder.tsv import read_tsv

FILE = "cohort.toml"
SOURCES_TAKEN = "sources_taken"  # reason of the warning


def taken_sources(folder: Path, kinds: Sequence[type[Part]]) -> tuple[list[dict[str, Any]], list[Problem]]:
    """What a study declares that declares no source.

    Parameters
    ----------
    folder : cohort folder
    kinds : the kinds of source that there are

    Returns
    -------
    The declarations, as ``cohort.toml`` would have them; and a warning that names them and the kinds that cannot be
    taken, or the problem that there are none.
    """
    table, _ = read_tsv(folder, scans.FILE, scans.HEADER)  # what is wrong with it is said when it is read for good
    present = {row.cells["modality"] for row in table.rows if not row.is_damaged} if table else set()
    computed = [kind for kind in kinds if issubclass(kind, Source)]
    taken = [
        declared for kind in computed for declared in kind.taken() if kind.model_validate(declared).scans[0] in present
    ]
    if (folder / readings.FILE).is_file():
        taken.append({"kind": "readings"})
    keyed = {kind.kind_name(): ", ".join(kind.needed) for kind in computed if kind.needed}
    without = f"not taken, since keys of theirs have no default: {'; '.join(f'{k} ({v})' for k, v in keyed.items())}"
    if not taken:
        shown = ", ".join(map(printable, sorted(present))) or "it has none"
        rule = f"must be given: no kind of source reads a modality of scans.tsv ({shown})"
        remedy = "Add at least one [[source]]; 'aspects sources' lists the kinds."
        return [], [Problem(FILE, None, "source", None, rule, remedy, "missing_key")]
    names = ", ".join(str(declared.get("name", "readers")) for declared in taken)
    rule = (
        f"must be declared to be chosen; none is, so all are taken that the cohort's files allow: {names} ({without})"
    )
    remedy = "Declare [[source]] to choose."
    return taken, [Problem(FILE, None, "source", None, rule, remedy, SOURCES_TAKEN, is_warning=True)]
