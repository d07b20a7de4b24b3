"""The page of a training that ends in chances: how well they tell regions, or patients with a low score; what is looked
at, data and splits.

It is written from the card of the weights, so that page and card cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.document.page import Chapter, Group, TableView, Text
from reports.document.tables import DASH, Cell, number
from reports.pages.training import SPLIT_TITLES, data_blocks, rendered, setting_blocks

_METRICS = {"auc": "AUC", "sensitivity": "Sensitivity", "specificity": "Specificity"}
_KINDS = {
    "svm": "support vector machine",
    "forest": "random forests, one a region",
    "rrcnn": "recurrent network",
    "da-net": "two networks that compare both sides, for deep and for cortical regions",
}
MOST_SHOWN = 20  # columns


@dataclass(frozen=True)
class ClassifierView:
    """What the page is written from.

    Attributes
    ----------
    card : of the weights
    run_id, version : of the run and of the program
    """

    card: Mapping[str, Any]
    run_id: str
    version: str


def classifier_page(view: ClassifierView) -> str:
    """Render the page; it loads nothing."""
    card = view.card
    if "nested" not in card:
        facts: tuple[tuple[str, str], ...] = (
            ("Kind", _KINDS[card["classifier"]["kind"]]),
            ("Preset", f"{card['preset']}, {card['profile']}"),
            ("Steps", str(card["n_steps"])),
            ("Patients", _patients(card)),
            ("Weights", str(card["sha256"])[:12]),
        )
        what = "a low score" if "n_low" in card else "affected regions"
        own: tuple[Chapter, ...] = (Chapter("metrics", f"How well it tells {what}", _metrics(card)),)
        searched: Mapping[str, Any] = {}
    else:
        facts = (
            ("Kind", _KINDS[card["classifier"]["kind"]]),
            ("Columns", str(len(card["classifier"]["columns"]))),
            ("Patients", str(card["n_patients"]["train"])),
            ("Nested AUC", _interval(card["nested"]["area"])),
            ("Weights", str(card["sha256"])[:12]),
        )
        own = (
            Chapter("metrics", "How well it tells affected regions", _metrics(card)),
            Chapter("columns", "What it looks at", _columns(card)),
        )
        searched = {"Search": card["nested"]["settings"]}
    chapters = (
        *own,
        Chapter("data", "Data, splits and audit", data_blocks(card)),
        Chapter("training", "Settings and limits", setting_blocks(card, searched)),
    )
    return rendered(card, facts, chapters, (view.run_id, view.version))


def _patients(card: Mapping[str, Any]) -> str:
    """How many it learned from, and how many of them had a low score where that is learned."""
    n = str(card["n_patients"]["train"])
    return f"{n}, {card['n_low']['train']} with a low score" if "n_low" in card else n


def _metrics(card: Mapping[str, Any]) -> tuple[Text | TableView, ...]:
    """One table: splits and groups of regions below each other."""
    groups = []
    for split in ("validation", "test"):
        rows = [row for row in card["metrics"] if row["split"] == split]
        strata = list(dict.fromkeys(row["stratum"] for row in rows))
        groups.append(Group(SPLIT_TITLES[split], tuple(_stratum(rows, stratum) for stratum in strata)))
    point = card["operating_point"]
    refused = ", ".join(f"{n} of {split}" for split, n in card["n_refused"].items() if n)
    is_of_regions = "cuts" in point
    what = (
        "A region is affected where its probability reaches the region's cut"
        if is_of_regions
        else f"A score is called low where its probability is {number(point['threshold'], 3)} or more"
    )
    return (
        Text(
            f"{what}, chosen on {point['chosen_on']}: {point['criterion']}. Test patients come from anatomies and "
            "lesions that no step of the training saw."
            + (f" Images that could not be registered are left out: {refused}." if refused else "")
        ),
        TableView(
            f"Over {'regions' if is_of_regions else 'patients'}, with intervals ({card['interval']})",
            ("Regions", "Affected", *_METRICS.values()) if is_of_regions else ("", "Low", *_METRICS.values()),
            tuple(groups),
        ),
    )


def _stratum(rows: Sequence[Mapping[str, Any]], stratum: str) -> tuple[Cell, ...]:
    """One group's cells."""
    by_metric = {row["metric"]: row for row in rows if row["stratum"] == stratum}
    first = by_metric["auc"]
    cells = [Cell(stratum.replace("_", " ")), Cell(f"{first['n_affected']} of {first['n_regions']}")]
    for metric in _METRICS:
        row = by_metric[metric]
        if row["value"] is None:
            cells.append(Cell(DASH))
            continue
        under = f"{number(row['lower'], 3)} to {number(row['upper'], 3)}" if row["lower"] is not None else ""
        cells.append(Cell(number(row["value"], 3), under))
    return tuple(cells)


def _columns(card: Mapping[str, Any]) -> tuple[Text | TableView, ...]:
    """What was chosen how often, and what choosing outside of folds would have claimed."""
    nested = card["nested"]
    outside = nested["area_chosen_outside"]
    optimism = (
        ""
        if outside is None
        else f" Chosen on all patients first, and judged in folds of regions as paper 1 did, it would be "
        f"{number(outside, 3)}."
    )
    words = f"Area under the ROC curve on patients that a fold left out: {_interval(nested['area'])}.{optimism}"
    if card["classifier"]["kind"] != "svm":
        return (Text(words), Text(f"Every tree may look at all {len(card['classifier']['columns'])} columns."))
    kept = {tuple(one) for one in card["classifier"]["columns"]}
    rows = tuple(
        (Cell(feature, mode.replace("_", " ")), Cell(str(n)), Cell("yes" if (feature, mode) in kept else "no"))
        for feature, mode, n in nested["chosen"][:MOST_SHOWN]
    )
    caption = f"Columns by how many folds chose them, the first {MOST_SHOWN}"
    return (Text(words), TableView(caption, ("Feature", "Folds", "In the weights"), (Group("", rows),), n_text=1))


def _interval(row: Mapping[str, Any]) -> str:
    """A value with its interval."""
    if row["value"] is None:
        return DASH
    under = f" ({number(row['lower'], 3)} to {number(row['upper'], 3)})" if row["lower"] is not None else ""
    return number(row["value"], 3) + under
