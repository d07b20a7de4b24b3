"""What has been told of the results: changes are announced at least once, whatever was killed in between.

``OUT/announced.json`` names the run that the change hook last heard of. It is written after the hook has ended with 0,
so a night that was killed before, or whose hook failed, is made good by the next one.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cohorts.store.records import write_bytes
from cohorts.store.share import read_file
from flows.commands.compare import Comparison, compare_runs
from flows.run.latest import RESULTS

ANNOUNCED = "announced.json"
CHANGES = "changes.json"


@dataclass(frozen=True)
class Change:
    """Whether a run's results are news, and what differs from what was told; no comparison where there is no base."""

    is_news: bool
    comparison: Comparison | None = None


def change_to_tell(out: Path, run: Path, before: Path | None, *, is_announced: bool) -> Change:
    """Compare a night's results with those that were told last.

    Parameters
    ----------
    out : output folder
    run : folder of the latest results after the night
    before : folder of the latest results before the night; None for none
    is_announced : whether a hook tells changes; without one, only the night itself counts
    """
    told = announced(out) if is_announced else None
    if told == run.name or (not is_announced and before == run):
        return Change(is_news=False)
    base = out.resolve() / RESULTS / told if told else before
    if base is None or base == run or not base.is_dir():
        return Change(is_news=True)
    try:
        comparison = compare_runs(base, run)
        write_bytes(run / CHANGES, json.dumps(comparison.as_json(), indent=1).encode())
    except (OSError, ValueError, LookupError):  # the earlier run is damaged: what is new is told without it
        return Change(is_news=True)
    return Change(not comparison.is_unchanged, comparison)


def announced(out: Path) -> str | None:
    """Id of the run that was told last."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        name = json.loads(read_file(out / ANNOUNCED))["run_id"]
        return name if isinstance(name, str) and name and "/" not in name and not name.startswith(".") else None
    return None


def set_announced(out: Path, run_id: str) -> None:
    """Keep that a run has been told."""
    content = {"run_id": run_id, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    write_bytes(out / ANNOUNCED, json.dumps(content).encode())
