"""One list of quality figures: what is measured, stored, limited and printed is on it, and nothing else."""

from __future__ import annotations

from dataclasses import fields

from cohorts.tables.schemas import QUALITY_FIGURES as COLUMNS
from tasks.brain import VOLUME_LIMITS_ML
from tasks.perfusion.quality import SeriesQuality
from tasks.quality.catalogue import QUALITY_FIGURES
from tasks.quality.figures import ScanQuality
from tasks.quality.gates import GATES
from tasks.quality.guards import Guards

LISTED = {figure.column: figure for figure in QUALITY_FIGURES}


def test_every_figure_has_a_column_is_measured_and_every_gate_is_on_one():
    flags = {"has_contrast"}  # a finding, not a number
    assert len(LISTED) == len(QUALITY_FIGURES)
    assert set(LISTED) == {column.name for column in COLUMNS} - flags
    assert set(LISTED) == {one.name for kind in (ScanQuality, SeriesQuality, Guards) for one in fields(kind)} - flags
    assert {gate.figure for gates in GATES.values() for gate in gates} <= set(LISTED)


def test_figures_of_one_group_stand_together_under_one_unit_each():
    groups = [figure.group for figure in QUALITY_FIGURES]
    assert list(dict.fromkeys(groups)) == [one for i, one in enumerate(groups) if i == 0 or one != groups[i - 1]]
    units = {column.name: column.unit.replace("deg", "°") for column in COLUMNS}
    for name, figure in LISTED.items():
        assert figure.unit.removeprefix("share") == units[name], name


def test_limits_that_always_hold_are_those_of_the_step_that_refuses():
    assert LISTED["brain_volume_ml"].limits == VOLUME_LIMITS_ML == (500.0, 2300.0)
    tilts = {
        gates: [(gate.minimum, gate.maximum) for gate in GATES[gates] if gate.figure == "tilt_deg"] for gates in GATES
    }
    assert all(limits == [(None, 50.0)] for limits in tilts.values()), tilts  # a study may set another
    assert LISTED["tilt_deg"].limits == (None, None)
    assert LISTED["noise_hu"].limits == (None, None)
