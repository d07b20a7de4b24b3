"""The tables of a patient's page: scores, regions, lesions, what was done, and the files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.document.page import Chapter, Group, TableView
from reports.document.tables import DASH, Cell, percent, words
from reports.pages.scans import region_value
from reports.pages.view import PatientView, TableRow, decimal, given, modality_title, text_of
from tasks.anatomy import ASPECTS_REGIONS

_SHORT = 12  # characters of a digest that are printed; the whole is in the title


def patient_chapters(view: PatientView) -> list[Chapter]:
    """The tables that have rows."""
    made = (_scores(view), _regions(view), _lesions(view), _steps(view), _files(view))
    return [chapter for chapter in made if chapter is not None]


def _scores(view: PatientView) -> Chapter | None:
    """Scores of every source."""
    rows = [
        (
            Cell(str(row["source"])),
            Cell(_whole(row.get("score"))),
            Cell(_whole(row.get("score_left"))),
            Cell(_whole(row.get("score_right"))),
            Cell(text_of(row.get("scored_side"))),
            Cell(text_of(row.get("rule"))),
            _state(row),
        )
        for row in view.scores
    ]
    columns = ("Source", "ASPECTS", "Left", "Right", "Scored side", "Rule", "Status")
    return _chapter("scores", "Scores", "Scores of every source, points of ten", columns, rows)


def _regions(view: PatientView) -> Chapter | None:
    """Every region of both sides by every source."""
    sources = tuple(dict.fromkeys(str(row["source"]) for row in view.regions))
    found = {(row["source"], row["side"], row["region"]): row for row in view.regions}
    groups = []
    for side in dict.fromkeys(str(row["side"]) for row in view.regions):
        names = dict.fromkeys(str(row["region"]) for row in view.regions if row["side"] == side)
        ordered = sorted(names, key=lambda name: (*ASPECTS_REGIONS, name).index(name))
        rows = tuple(
            (Cell(words(name)), *(_region(found.get((source, side, name))) for source in sources)) for name in ordered
        )
        groups.append(Group(f"{side.capitalize()} of the patient", rows))
    if not groups:
        return None
    caption = "What each source measured in each region, and which it counts as affected"
    return Chapter("regions", "Regions", (TableView(caption, ("Region", *sources), tuple(groups)),))


def _region(row: TableRow | None) -> Cell:
    """One region by one source."""
    if row is None:
        return Cell(DASH)
    value, name = region_value(row)
    under = words(str(row["reason"])) if row["status"] != "ok" and given(row.get("reason")) else ""
    affected = given(row.get("affected"))
    if not name and affected is not None:  # a reader answers without a number
        value = "" if affected else "not affected"
    return Cell(value, under, note=name, badge="affected" if affected else "")


def _lesions(view: PatientView) -> Chapter | None:
    """Lesion measurements."""
    rows = [
        (
            Cell(row["source"]),
            *(Cell(decimal(row.get(name), 1)) for name in ("volume_ml", "volume_left_ml", "volume_right_ml")),
            Cell(_whole(row.get("n_components"))),
            Cell(decimal(row.get("max_diameter_mm"), 0)),
            Cell(percent(given(row.get("mca_share")))),
            _state(row),
        )
        for row in view.lesions
    ]
    columns = ("Measurement", "Volume, ml", "Left, ml", "Right, ml", "Parts", "Diameter, mm", "In MCA area", "Status")
    return _chapter("lesions", "Lesions", "Lesions as measured", columns, rows)


def _steps(view: PatientView) -> Chapter | None:
    """What was computed, by which code, from what."""
    spent = {row["step"]: row for row in view.timings}
    rows = []
    for row in view.provenance:
        timing = spent.get(row["step"], {})
        digests = (_digest(row.get(name)) for name in ("digest", "input_sha256", "settings_sha256", "weights_sha256"))
        seconds = (Cell(decimal(timing.get(name), 2)) for name in ("seconds", "cpu_seconds"))
        version = given(row.get("software_version"))
        step = Cell(str(row["step"]), f"version {version}" if version else text_of(row.get("code")))
        detail = given(row.get("detail"))
        state = Cell(str(row["status"]), str(detail), wraps=True) if detail else _state(row)
        rows.append((step, *digests, *seconds, state))
    columns = ("Step", "Result", "Input", "Settings", "Weights", "Seconds", "CPU seconds", "Status")
    caption = "What was done: the first characters of each sha256; rest the pointer on one to see it whole"
    return _chapter("steps", "What was done", caption, columns, rows)


def _files(view: PatientView) -> Chapter | None:
    """The files that were read."""
    rows = [
        (
            Cell(modality_title(row["modality"])),
            Cell(str(row["path"]), text_of(row.get("space"), "")),
            Cell(text_of(row.get("sha256"))),
            Cell("" if given(row.get("size_bytes")) is None else f"{int(row['size_bytes']):,} byte"),
        )
        for row in view.scans
    ]
    view_of = ("Modality", "File", "sha256", "Size")
    return _chapter("files", "Files", "Files of this patient inside the cohort's folder", view_of, rows, n_text=3)


def _chapter(
    anchor: str,
    title: str,
    caption: str,
    columns: tuple[str, ...],
    rows: Sequence[tuple[Cell, ...]],
    *,
    n_text: int = 1,
) -> Chapter | None:
    """A chapter of one table, or none where it would be empty."""
    if not rows:
        return None
    table = TableView(caption, columns, (Group("", tuple(rows)),), n_text=n_text, is_prose=n_text > 1)
    return Chapter(anchor, title, (table,))


def _state(row: TableRow) -> Cell:
    """Status, with the reason below it where it is not ok."""
    reason = given(row.get("reason"))
    return Cell(str(row["status"]), words(str(reason)) if reason else "", wraps=True)


def _whole(value: Any) -> str:
    """A count, or a dash."""
    return DASH if given(value) is None else str(int(value))


def _digest(value: Any) -> Cell:
    """The beginning of a digest, the whole in its title."""
    return Cell(DASH) if given(value) is None else Cell(str(value)[:_SHORT], note=str(value))
