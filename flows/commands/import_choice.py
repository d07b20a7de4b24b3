"""The choice of ``aspects import``: from converted series to the rows of scans.tsv, and what a person is told of it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from cohorts.dicom.attributes import text_of
from cohorts.dicom.choosing import OTHER_EXAMINATION, Anchors, Candidate, choose
from cohorts.dicom.completeness import INCOMPLETE
from cohorts.dicom.import_settings import ImportSettings
from cohorts.dicom.intake_tables import ReportRow
from cohorts.dicom.kernels import kernel_in, kernel_sharpness
from cohorts.dicom.stacks import Stack
from cohorts.dicom.vocabulary import words
from cohorts.folder.scans import sidecar_path


def chosen_rows(
    results: Sequence[tuple[Stack, ReportRow]],
    listed: Mapping[tuple[str, str], str],
    cohort: Path,
    settings: ImportSettings,
) -> list[ReportRow]:
    """Say of every row whether scans.tsv lists it, and why.

    Parameters
    ----------
    results : every series with its row
    listed : (participant, modality) -> path of what scans.tsv lists already
    cohort : the cohort folder, whose sidecars say when those began
    settings : rules of the site
    """
    candidates = [_candidate(stack, row, settings) for stack, row in results if row.path]
    anchors = Anchors(listed, _started(listed, cohort))
    choices = choose(candidates, anchors, is_earliest=settings.examination == "earliest")
    rows = []
    for _, row in results:
        choice = choices.get(row.path or "")
        if choice is not None:
            numbers = dict(row.numbers)
            if choice.hours_apart is not None:
                numbers["hours_from_examination"] = choice.hours_apart
            row = replace(
                row, is_listed=choice.is_listed, choice=choice.text, runner_up=choice.runner_up, numbers=numbers
            )
        rows.append(row)
    return rows


def choice_lines(rows: Iterable[ReportRow]) -> list[str]:
    """What a coordinator must know of the choice: scans in doubt, of another day, and patients left without one."""
    rows = list(rows)
    lines = []
    doubts = Counter(name for row in rows if row.is_listed for name in row.doubts)
    for name, count in doubts.most_common():
        lines.append(f"Listed, in doubt ({name}): {count}")
    apart = [row for row in rows if row.is_listed and OTHER_EXAMINATION in (row.choice or "")]
    if apart:
        lines.append(f"Listed from another examination than the participant's others: {len(apart)}")
    listed = {(row.participant_id, row.detected_as) for row in rows if row.is_listed}
    left: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        place = (row.participant_id, row.detected_as)
        if row.unfit and place not in listed:
            left[place].update(row.unfit)
    without = Counter((modality, name) for (_, modality), names in left.items() for name in names)
    for (modality, name), count in without.most_common():
        lines.append(f"Participants without {modality}, as what they have is unfit ({name}): {count}")
    if doubts or left:
        lines.append("See choice in import_report.tsv; [[choose]] in import.toml says what a series is")
    return lines


def _candidate(stack: Stack, row: ReportRow, settings: ImportSettings) -> Candidate:
    """A converted series as the choice sees it, its time shifted as the patient's dates are."""
    first, last = stack.places[0][0], stack.places[-1][0]
    dataset = stack.header.dataset
    kernel = text_of(dataset, "ConvolutionKernel") or kernel_in(words(text_of(dataset, "SeriesDescription")))
    steps = [b - a for a, b in zip(first.position or (), last.position or (), strict=True)]
    return Candidate(
        participant_id=row.participant_id,
        modality=row.detected_as,
        path=row.path or "",
        series=row.series,
        study=text_of(dataset, "StudyInstanceUID"),
        started=datetime.fromisoformat(row.started) if row.started else None,
        sharpness=kernel_sharpness(kernel, text_of(dataset, "Manufacturer")),
        thickness_mm=first.thickness_mm,
        height_mm=sum(step**2 for step in steps) ** 0.5,
        n_slices=stack.n_slices,
        is_incomplete=any(note in (row.reason or "") for note in INCOMPLETE),
        is_resampled=row.action == "resampled",
        unfit=row.unfit,
        doubts=row.doubts,
        rule=settings.rule_of(stack.header, first),
    )


def _started(listed: Mapping[tuple[str, str], str], cohort: Path) -> dict[str, datetime]:
    """When the scans that are listed already began, by path; of none without a sidecar of this program."""
    found: dict[str, datetime] = {}
    for path in listed.values():
        try:
            written = json.loads((cohort / sidecar_path(path)).read_bytes())["AcquisitionDateTime"]
            found[path] = datetime.fromisoformat(written)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found
