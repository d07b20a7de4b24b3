"""Compare two runs: what changed, participant by participant and statistic by statistic, and what caused it.

A participant's cause comes from its provenance: *input* (another scan), *settings* (another label map), *weights* or
*code*; a change without one comes from the cohort's tables (*clinical values*, *readings*) or from the study's settings
(*rule*, *eligibility*, ...), which the two summaries hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cohorts.folder.manifest import natural_key
from cohorts.tables.schemas import PARTICIPANTS
from cohorts.tables.storage import read_table
from flows.run.latest import read_summary, run_folder
from flows.run.publishing import TABLES_FOLDER

PROVENANCE_CAUSES = (
    ("input_sha256", "input"),
    ("settings_sha256", "settings"),
    ("weights_sha256", "weights"),
    ("code", "code"),
)
#: Figures that a reader of a comparison looks at first.
HEADLINE_QUANTITIES = ("auc", "icc_a1", "cut", "n_included")


@dataclass(frozen=True)
class Comparison:
    """What differs between an earlier and a later run."""

    earlier: str
    later: str
    settings: list[dict[str, str]]
    participants: list[dict[str, str | None]]
    statistics: list[dict[str, str | None]]
    code_changed: bool

    @property
    def is_unchanged(self) -> bool:
        """Whether nothing that a reader of the results could see differs."""
        return not (self.settings or self.participants or self.statistics)

    @property
    def causes(self) -> dict[str, int]:
        """How many participants changed for which cause."""
        counts: dict[str, int] = {}
        for row in self.participants:
            for cause in str(row["cause"]).split(", "):
                counts[cause] = counts.get(cause, 0) + 1
        return counts

    @property
    def headline(self) -> str:
        """One line for a log or a mail."""
        if self.is_unchanged:
            return f"{self.earlier} and {self.later}: the same results."
        causes = ", ".join(f"{count} by {cause}" for cause, count in self.causes.items()) or "none"
        return (
            f"{self.earlier} and {self.later}: {len(self.settings)} settings changed; {len(self.participants)} "
            f"participants changed ({causes}); {len(self.statistics)} statistics changed"
            + ("; the code changed." if self.code_changed else ".")
        )

    def sections(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """The three lists, each with its title."""
        yield "Settings", self.settings
        yield "Participants", self.participants
        yield "Statistics", self.statistics

    def as_json(self) -> dict[str, Any]:
        """All of it, for a file."""
        return {"headline": self.headline, "causes": self.causes, **asdict(self)}


def compare_runs(first: Path, second: Path) -> Comparison:
    """Compare two run folders.

    Raises
    ------
    FileNotFoundError
        One of them is not a run folder.
    """
    first, second = run_folder(first), run_folder(second)
    summaries = []
    for folder in (first, second):
        summary = read_summary(folder)
        if summary is None:
            raise FileNotFoundError(
                f"RUN must be a run folder with a summary.json, got {folder}. Give OUT/results/latest or one beside it."
            )
        summaries.append(summary)
    earlier, later = summaries
    settings = _changed_settings(earlier, later)
    code_changed = earlier["code_digest"] != later["code_digest"]
    return Comparison(
        earlier["run_id"],
        later["run_id"],
        settings,
        _changed_participants(first / TABLES_FOLDER, second / TABLES_FOLDER, settings, code_changed=code_changed),
        _changed_statistics(first / TABLES_FOLDER, second / TABLES_FOLDER),
        code_changed,
    )


def _changed_settings(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> list[dict[str, str]]:
    """Keys of ``cohort.toml`` whose value differs, and label maps whose content does."""
    before, after = _flat(earlier["config"]), _flat(later["config"])
    before |= {f"label map of {name}": digest[:16] for name, digest in earlier["maps"].items()}
    after |= {f"label map of {name}": digest[:16] for name, digest in later["maps"].items()}
    return [
        {"setting": key, "earlier": before.get(key, "n/a"), "later": after.get(key, "n/a")}
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested settings as ``source.lesion-classic.rule`` -> value; named list items go by their name."""
    if isinstance(value, Mapping):
        return {
            key: text
            for name, part in value.items()
            for key, text in _flat(part, f"{prefix}.{name}" if prefix else name).items()
        }
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        names = [str(part.get("name") or part.get("column") or position) for position, part in enumerate(value)]
        return {
            key: text
            for name, part in zip(names, value, strict=True)
            for key, text in _flat(part, f"{prefix}.{name}").items()
        }
    return {prefix: json.dumps(value)}


def _changed_participants(
    first: Path, second: Path, settings: Sequence[Mapping[str, str]], *, code_changed: bool
) -> list[dict[str, str | None]]:
    """One row per participant whose rows differ in any table, with what changed and why."""
    what: dict[str, list[str]] = {}
    for name in ("participants", "exclusions", "scans", "lesions", "scores", "regions"):
        before, after = _rows_by_participant(first, name), _rows_by_participant(second, name)
        for participant_id in before.keys() | after.keys():
            if before.get(participant_id) != after.get(participant_id):
                what.setdefault(participant_id, []).append(name)
    causes = _provenance_causes(first, second)
    clinical = _changed_clinical(first, second)
    scores = [_scores(folder) for folder in (first, second)]
    known = [set(read_table(folder / "participants.parquet")["participant_id"]) for folder in (first, second)]
    rows: list[dict[str, str | None]] = []
    for participant_id in sorted(what, key=natural_key):
        found = list(causes.get(participant_id, ()))
        if participant_id not in known[0]:
            found = ["new participant"]
        elif participant_id not in known[1]:
            found = ["participant removed"]
        elif participant_id in clinical:
            found.append(f"clinical values ({', '.join(clinical[participant_id])})")
        if not found and settings:
            found = ["settings"]
        if not found:
            found = ["readings or tables"] if not code_changed else ["code"]
        rows.append(
            {
                "participant_id": participant_id,
                "cause": ", ".join(dict.fromkeys(found)),
                "changed": ", ".join(what[participant_id]),
                "score earlier": scores[0].get(participant_id),
                "score later": scores[1].get(participant_id),
            }
        )
    return rows


def _rows_by_participant(folder: Path, name: str) -> dict[str, str]:
    """Participant -> its rows of one table as text, for comparison."""
    frame = read_table(folder / f"{name}.parquet")
    lines = frame.astype("string").fillna("n/a").agg("\t".join, axis=1) if len(frame) else pd.Series(dtype="string")
    return {str(key): "\n".join(part) for key, part in lines.groupby(frame["participant_id"])}


def _provenance_causes(first: Path, second: Path) -> dict[str, list[str]]:
    """Participant -> which parts of a step's address differ."""
    before, after = (read_table(folder / "provenance.parquet") for folder in (first, second))
    both = before.merge(after, on=["participant_id", "step"], how="outer", suffixes=("_1", "_2"), indicator=True)
    causes: dict[str, list[str]] = {}
    for row in both.to_dict("records"):
        participant_id = str(row["participant_id"])
        if row["_merge"] == "both":
            changed = [
                cause for column, cause in PROVENANCE_CAUSES if not _is_same(row[f"{column}_1"], row[f"{column}_2"])
            ]
        else:
            changed = ["scan added" if row["_merge"] == "right_only" else "scan removed"]
        causes.setdefault(participant_id, []).extend(changed)
    return causes


def _changed_clinical(first: Path, second: Path) -> dict[str, list[str]]:
    """Participant -> clinical columns whose value differs."""
    derived = set(PARTICIPANTS.names) - {"site", "split"}
    before, after = (
        read_table(folder / "participants.parquet").set_index("participant_id") for folder in (first, second)
    )
    shared = [column for column in before.columns if column in after.columns and column not in derived]
    common = before.index.intersection(after.index)
    changed: dict[str, list[str]] = {}
    for column in shared:
        left, right = before.loc[common, column].astype("string"), after.loc[common, column].astype("string")
        differs = (left.fillna("n/a") != right.fillna("n/a")).to_numpy()
        for participant_id in common[differs]:
            changed.setdefault(str(participant_id), []).append(column)
    return changed


def _scores(folder: Path) -> dict[str, str]:
    """Participant -> its scores by source, as text."""
    frame = read_table(folder / "scores.parquet")
    frame = frame[frame["score"].notna()]
    text = frame["source"].astype(str) + " " + frame["score"].astype(str)
    return {str(key): ", ".join(part) for key, part in text.groupby(frame["participant_id"])}


def _changed_statistics(first: Path, second: Path) -> list[dict[str, str | None]]:
    """Statistics whose estimate, interval or n differs."""
    columns = ["estimate", "lower", "upper", "n"]
    before, after = (
        read_table(folder / "statistics.parquet").set_index("statistic_id")[columns] for folder in (first, second)
    )
    rows: list[dict[str, str | None]] = []
    for name in dict.fromkeys([*before.index, *after.index]):
        left = before.loc[name].tolist() if name in before.index else None
        right = after.loc[name].tolist() if name in after.index else None
        if left is None or right is None or not all(_is_same(a, b) for a, b in zip(left, right, strict=True)):
            rows.append({"statistic": name, "earlier": _estimate_text(left), "later": _estimate_text(right)})
    quantities = {row["statistic"]: str(row["statistic"]).split("/")[1].partition(":")[0] for row in rows}
    headline = {name: quantity in HEADLINE_QUANTITIES for name, quantity in quantities.items()}
    return sorted(rows, key=lambda row: (not headline[row["statistic"]], str(row["statistic"])))


def _estimate_text(values: Sequence[Any] | None) -> str | None:
    """Estimate with interval and n."""
    if values is None:
        return None
    estimate, lower, upper, n = values
    if pd.isna(estimate):
        return "n/a"
    interval = "" if pd.isna(lower) else f" ({lower:.4g} to {upper:.4g})"
    return f"{estimate:.4g}{interval}" + ("" if pd.isna(n) else f", n {int(n)}")


def _is_same(left: Any, right: Any) -> bool:
    """Equal, or both missing."""
    return bool((pd.isna(left) and pd.isna(right)) or (not pd.isna(left) and not pd.isna(right) and left == right))
