"""The page of a training: learning curves, metrics by volume, data and splits, and how it was trained.

It is written from the card of the weights and the training's log, so that page and card cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from reports.document.document import DISCLAIMER
from reports.document.page import Chapter, FigureView, Group, Listing, TableView, Text
from reports.document.page_template import page_template
from reports.document.tables import DASH, Cell, number
from reports.figures.learning_curves import learning_curves

SPLIT_TITLES = {"train": "Training", "validation": "Validation", "test": "Test"}
_KIND_TITLES = {"anatomy": "Anatomies", "lesion": "Lesions", "cohort": "Patients of a cohort"}
_METRICS = {"dice": ("Dice", 3), "volume_error_ml": ("Found − true volume, ml", 2), "false_ml": ("False volume, ml", 2)}


@dataclass(frozen=True)
class TrainingView:
    """What the page is written from.

    Attributes
    ----------
    card : of the weights
    log : rows of the learning curve
    run_id, version : of the run and of the program
    """

    card: Mapping[str, Any]
    log: Sequence[Mapping[str, float]]
    run_id: str
    version: str


def training_page(view: TrainingView) -> str:
    """Render the page; it loads nothing."""
    card = view.card
    chapters = (
        Chapter("learning", "Learning", _learning(view)),
        Chapter("metrics", "How well it finds lesions", _metrics(card)),
        Chapter("data", "Data, splits and audit", data_blocks(card)),
        Chapter("training", "Settings and limits", setting_blocks(card, {"Plan": card["plan"]})),
    )
    facts = (
        ("Preset", f"{card['preset']}, {card['profile']}"),
        ("Steps", str(card["n_steps"])),
        ("Hours", f"{number(card['hours'], 2)} on {card['device']}"),
        ("Threshold", number(card["operating_point"]["threshold"], 2)),
        ("Weights", str(card["sha256"])[:12]),
    )
    return rendered(card, facts, chapters, (view.run_id, view.version))


def rendered(
    card: Mapping[str, Any],
    facts: Sequence[tuple[str, str]],
    chapters: Sequence[Chapter],
    made_by: tuple[str, str],
) -> str:
    """The page of a training: its facts at the top, then chapters; ``made_by`` are the run and the version."""
    run_id, version = made_by
    return page_template("training.html.j2").render(
        title=f"Training of {card['method']}",
        kicker="Trained weights",
        disclaimer=DISCLAIMER,
        links=(),
        facts=facts,
        cohort=SimpleNamespace(
            study=str(card["method"]),
            is_synthetic=not card.get("has_patient_images"),
            run=SimpleNamespace(run_id=run_id, version=version),
        ),
        chapters=chapters,
    )


def _learning(view: TrainingView) -> tuple[FigureView, ...]:
    """The curves."""
    caption = (
        "Loss is the mean over 50 steps. Dice and volumes are medians over a few validation patients with an infarct, "
        "at a threshold of 0.5, by the running average of the weights."
    )
    return (FigureView(learning_curves(view.log, name="learning-curves"), caption),)


def _metrics(card: Mapping[str, Any]) -> tuple[Text | TableView, ...]:
    """One table: splits and strata below each other."""
    point = card["operating_point"]
    groups = []
    for split in ("validation", "test"):
        rows = [row for row in card["metrics"] if row["split"] == split]
        strata = list(dict.fromkeys(row["stratum"] for row in rows))
        groups.append(Group(SPLIT_TITLES[split], tuple(_stratum(rows, stratum) for stratum in strata)))
    is_cohort = any(one["kind"] == "cohort" for one in card["data"])
    whose = "Test patients are those of the cohort" if is_cohort else "Test patients come from anatomies and lesions"
    caption = f"Median per patient with its interval ({card['interval']}), by true volume"
    columns = ("Patients", "n", *(title for title, _ in _METRICS.values()))
    fewer = f" ({number(point['threshold_fewer'], 2)} without the ADC)" if "threshold_fewer" in point else ""
    return (
        Text(
            f"A voxel is lesion where its probability is above {number(point['threshold'], 2)}{fewer}, chosen on "
            f"{point['chosen_on']}: {point['criterion']}. {whose} that no step of the training saw."
        ),
        TableView(caption, columns, tuple(groups)),
    )


def _stratum(rows: Sequence[Mapping[str, Any]], stratum: str) -> tuple[Cell, ...]:
    """One stratum's cells."""
    by_metric = {row["metric"]: row for row in rows if row["stratum"] == stratum}
    n = max(row["n"] for row in by_metric.values())
    cells = [Cell(stratum), Cell(str(n))]
    for metric, (_, digits) in _METRICS.items():
        row = by_metric.get(metric)
        if row is None or row["median"] is None:
            cells.append(Cell(DASH))
            continue
        has_interval = row["lower"] is not None
        under = f"{number(row['lower'], digits)} to {number(row['upper'], digits)}" if has_interval else ""
        cells.append(Cell(number(row["median"], digits), under))
    return tuple(cells)


def data_blocks(card: Mapping[str, Any]) -> tuple[Text | TableView, ...]:
    """What it learned from, and what was held out."""
    rows, total = [], 0
    for one in card["data"]:
        found = one["licences"]
        licence = found if isinstance(found, str) else "; ".join(each["title"] for each in found)
        total += sum(one["n"].values())
        counts = (Cell(str(one["n"][split])) for split in SPLIT_TITLES)
        name = Cell(_KIND_TITLES[one["kind"]], one.get("folder", ""))
        rows.append((name, Cell(licence), *counts))
    anatomies = next((one["anatomies"] for one in card["data"] if one["kind"] == "anatomy"), ())
    order = list(SPLIT_TITLES)
    named = [
        (
            Cell(one["name"], one["sha256"][:12]),
            Cell(SPLIT_TITLES[one["split"]]),
            Cell(number(one["ventricles_ml"], 1)),
        )
        for one in sorted(anatomies, key=lambda one: (order.index(one["split"]), one["name"]))
    ]
    compared = "files and patients" if any(one["kind"] == "cohort" for one in card["data"]) else "files"
    audit = (
        f"Audit: {total} {compared} compared by participant, digest of the file, voxels and mirrored voxels; nothing "
        "lies on two sides. splits.tsv has every one."
    )
    columns = ("Data", "Licence", *SPLIT_TITLES.values())
    sides = ("Anatomy", "Side", "Lateral ventricles, ml")
    blocks: tuple[Text | TableView, ...] = (
        TableView("Data and their licences", columns, (Group("", tuple(rows)),), n_text=2),
        *_started_from(card.get("started_from")),
        Text(audit, "check"),
    )
    return (*blocks, TableView("Anatomies by side", sides, (Group("", tuple(named)),), n_text=2)) if named else blocks


def _started_from(start: Mapping[str, Any] | None) -> tuple[Text, ...]:
    """What the weights were before, if anything."""
    if start is None:
        return ()
    behind = "patients' images" if start["has_patient_images"] else "synthetic patients alone"
    return (Text(f"Started from the weights {start['name']} ({start['sha256'][:12]}), behind which are {behind}."),)


def setting_blocks(
    card: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]
) -> tuple[Text | Listing | TableView, ...]:
    """Settings of its own, recipe, versions, and what is known not to work."""
    parts = {**own, "Synthetic patients": card["recipe"] or {}, "Made with": card["made_with"]}
    groups = tuple(
        Group(title, tuple((Cell(str(name)), Cell(_value(value))) for name, value in values.items()))
        for title, values in parts.items()
        if values
    )
    return (
        Listing(tuple(card["known_limits"])),
        TableView("Settings", ("Setting", "Value"), groups, n_text=2),
    )


def _value(value: Any) -> str:
    """A setting as text."""
    return " to ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
