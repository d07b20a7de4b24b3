"""What a patient costs: seconds and memory of every step, and of a patient through all of them."""

from __future__ import annotations

import pandas as pd

from reports.document.page import Chapter, Group, Material, TableView, Text
from reports.document.tables import Cell, number


def resources_chapter(material: Material) -> Chapter | None:
    """Median and largest seconds, CPU seconds and MiB of every step; None where nothing was measured."""
    timings = material.data.timings
    if timings.empty:
        return None
    columns = ("seconds", "cpu_seconds", "peak_mib")
    numbers = timings.astype(dict.fromkeys(columns, float))
    lines = [_line(str(step), numbers[numbers["step"] == step]) for step in dict.fromkeys(numbers["step"])]
    whole = numbers.groupby("participant_id").agg({"seconds": "sum", "cpu_seconds": "sum", "peak_mib": "max"})
    text = Text(
        "Seconds are of the clock, on as many workers as there were; CPU seconds are what a step took of a core. What "
        "several sources share (reading, brain, registration) is counted in the first that asks for it. MiB is the "
        "largest memory that the step's worker had held until then, libraries and weights included."
    )
    groups = (Group("Each step", tuple(lines)), Group("A patient, all steps", (_line("all steps", whole),)))
    view = TableView("Per patient: median, and largest below",
                     ("Step", "Patients", "Seconds", "CPU seconds", "MiB"), groups)  # fmt: skip
    return Chapter("resources", "Seconds and memory per patient", (text, view))


def _line(name: str, rows: pd.DataFrame) -> tuple[Cell, ...]:
    """One line of medians over largest values."""
    cells = [
        Cell(number(rows[column].median(), digits), number(rows[column].max(), digits))
        for column, digits in (("seconds", 1), ("cpu_seconds", 1), ("peak_mib", 0))
    ]
    return (Cell(name), Cell(str(len(rows))), *cells)
