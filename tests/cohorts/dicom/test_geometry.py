"""Stacks with known faults."""

from __future__ import annotations

import numpy as np
import pytest

from cohorts.dicom.geometry import ACTIONS, check_stack, usual_step

AXIAL = (1, 0, 0, 0, 1, 0)


def _stack(offsets, *, tilt_deg=0.0, **arguments):
    angle = np.radians(tilt_deg)
    positions = [(-100.0, -120.0, 40.0 + offset) for offset in offsets]
    return check_stack(positions, (1, 0, 0, 0, np.cos(angle), -np.sin(angle)), (0.5, 0.5), **arguments)


def _faults(geometry):
    return {fault.reason: fault.numbers for fault in geometry.faults}


def test_a_regular_stack_in_any_order_is_sorted_and_has_no_fault():
    geometry = _stack([10, 0, 5, 15])
    assert geometry.is_regular
    assert geometry.order.tolist() == [1, 2, 0, 3]
    assert geometry.offsets_mm.tolist() == [0, 5, 10, 15]
    assert geometry.step_mm == 5
    assert geometry.normal.tolist() == [0, 0, 1]


def test_sagittal_slices_are_sorted_along_their_own_normal():
    geometry = check_stack([(x, 0, 0) for x in (3, 1, 2)], (0, 1, 0, 0, 0, -1), (1, 1))
    assert geometry.is_regular
    assert geometry.normal.tolist() == [-1, 0, 0]
    assert geometry.order.tolist() == [0, 2, 1]


@pytest.mark.parametrize(("tag", "word"), [(None, "without"), (20.0, "with ")])
def test_tilt_is_measured_from_positions_with_and_without_the_tag(tag, word):
    geometry = _stack(range(0, 50, 5), tilt_deg=20, tilt_tag_deg=tag)
    assert list(_faults(geometry)) == ["gantry_tilt"]
    assert geometry.tilt_deg == pytest.approx(20)
    assert _faults(geometry)["gantry_tilt"]["drift_mm"] == pytest.approx(45 * np.sin(np.radians(20)))
    assert geometry.step_mm == pytest.approx(5 * np.cos(np.radians(20)))
    assert word in geometry.faults[0].text


def test_a_tilt_tag_without_tilted_positions_is_a_fault_of_its_own():
    assert list(_faults(_stack(range(0, 50, 5), tilt_tag_deg=18.5))) == ["tilt_tag_only"]
    assert _stack(range(0, 50, 5), tilt_tag_deg=0.5).is_regular


@pytest.mark.parametrize(("offsets", "n_missing"), [((0, 5, 10, 20), 1), ((0, 5, 20, 25, 35), 3), ((0, 5, 15), 1)])
def test_missing_slices_are_counted(offsets, n_missing):
    assert _faults(_stack(offsets))["missing_slices"]["n_missing"] == n_missing


def test_uneven_steps_that_lose_no_slice():
    numbers = _faults(_stack([0, 5, 11, 16, 22]))["uneven_steps"]
    assert (numbers["smallest_step_mm"], numbers["largest_step_mm"]) == (5, 6)
    assert numbers["largest_deviation_mm"] == pytest.approx(0.5)


def test_positions_rounded_to_a_tenth_are_even():
    assert _stack(np.round(np.arange(200) * 0.625, 1)).is_regular


def test_two_thicknesses_change_what_step_is_expected():
    offsets = [0, 4, 8, 12, 17.5, 24.5, 31.5]
    found = _faults(_stack(offsets, thickness_mm=[4, 4, 4, 4, 7, 7, 7]))
    assert list(found) == ["two_thicknesses", "uneven_steps"]
    assert found["two_thicknesses"] == {"thinnest_mm": 4, "thickest_mm": 7, "n_thicknesses": 2}
    lost = _faults(_stack([0, 4, 12, 16, 20, 25.5, 32.5], thickness_mm=[4, 4, 4, 4, 4, 7, 7]))
    assert lost["missing_slices"]["n_missing"] == 1


def test_one_slice_and_one_place():
    assert list(_faults(_stack([0]))) == ["single_slice"]
    assert _faults(_stack([7, 7, 7]))["identical_positions"] == {"n_slices": 3, "n_repeated": 2}


def test_a_stack_off_its_line():
    positions = [(0, 0, 0), (0, 0, 5), (4, 0, 10), (0, 0, 15)]
    found = _faults(check_stack(positions, AXIAL, (1, 1)))
    assert found["slices_not_on_line"]["largest_distance_mm"] > 2


@pytest.mark.parametrize(
    ("orientation", "spacing", "reason"),
    [
        ((1, 0, 0, 0.2, 1, 0), (1, 1), "orientation_invalid"),
        ((0, 0, 0, 0, 0, 0), (1, 1), "orientation_invalid"),
        ((2, 0, 0, 0, 1, 0), (1, 1), "orientation_invalid"),
        ([AXIAL, AXIAL, (1, 0, 0, 0, 0.99995, 0.01)], (1, 1), "orientation_varies"),
        (AXIAL, (0.0, 1), "spacing_invalid"),
        (AXIAL, (1, float("nan")), "spacing_invalid"),
        (AXIAL, (50, 50), "spacing_invalid"),
    ],
)
def test_invalid_geometry(orientation, spacing, reason):
    assert reason in _faults(check_stack([(0, 0, z) for z in (0, 5, 10)], orientation, spacing))


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"must be \(N, 3\)"):
        check_stack([(0, 0), (1, 1)], AXIAL, (1, 1))


def test_usual_step_is_none_of_the_rare_ones():
    assert usual_step([5, 5, 10]) == 5
    assert usual_step([4, 4, 0.5, 7, 7]) == 4
    assert np.isnan(usual_step([]))


def test_every_fault_has_a_default_action():
    assert all(actions and set(actions) <= {"reject", "resample"} for actions in ACTIONS.values())
    assert ACTIONS["missing_slices"][0] == "reject"
