"""Guards on the head phantom, in which what is put in is known: balls of fluid and blood, calcium, a dense artery."""

from __future__ import annotations

from dataclasses import astuple, fields
from itertools import pairwise

import nibabel as nib
import numpy as np
import pytest

from cohorts.images.scan import read_scan
from models.anatomy.register_template import template_target
from models.anatomy.template import load_label_map
from tasks.brain import ct_working_scan, extract_ct_brain
from tasks.phantoms.vessels import PAIRED
from tasks.quality.guards import GUARD_THRESHOLDS, GUARDS, Guards, measure_guards, suspected
from tasks.registration.affine import refusal, register
from tests.once_per_run import once_per_run
from tests.tasks.head_phantom import head_scan

SCALE = 0.88  # of the phantom, so that a ball of the template is smaller in it
FLUID_HU, BLOOD_HU, CALCIUM_HU = 8.0, 65.0, 160.0
CHRONIC, HAEMORRHAGE, HYPERDENSE = GUARDS


def ball_ml(radius_mm):
    """Volume in the scan of a ball in the template."""
    return 4 / 3 * np.pi * (radius_mm * SCALE) ** 3 / 1000


@once_per_run
def _template_mm():
    values, affine, _, truth = head_scan()
    to_template = np.linalg.inv(truth) @ affine
    return np.moveaxis(np.indices(values.shape), 0, -1) @ to_template[:3, :3].T + to_template[:3, 3]


def _with(*balls):
    """The phantom with balls of (middle, radius, HU), and its affine."""
    values, affine, _, _ = head_scan()
    for middle, radius_mm, hu in balls:
        inside = np.linalg.norm(_template_mm() - middle, axis=-1) < radius_mm
        values[inside] += hu - np.median(values[inside])
    return values, affine


def _guards(values, affine):
    scan = ct_working_scan(values, affine)
    brain = extract_ct_brain(scan)
    registration = register(scan, brain, template_target("ct"))
    assert registration.reason == ""
    return measure_guards(scan, brain, registration, load_label_map("vascular"))


def _flags(guards):
    figures = {name: getattr(guards, name) for name in GUARD_THRESHOLDS}
    return tuple(suspected(guard, figures) for guard in GUARDS)


def test_a_head_without_any_has_none():
    guards = _guards(*_with())
    assert (guards.chronic_volume_ml, guards.haemorrhage_volume_ml) == (0, 0)
    assert guards.hyperdense_mca_ratio == pytest.approx(1, abs=0.06)  # noise of 4 HU
    assert _flags(guards) == (False, False, False)


@pytest.mark.parametrize("side", [-1, 1])
def test_an_old_infarct_is_measured_on_either_side(side):
    guards = _guards(*_with(((side * 36, -20, 38), 16, FLUID_HU)))
    assert guards.chronic_volume_ml == pytest.approx(ball_ml(16), rel=0.25)
    assert _flags(guards) == (True, False, False)


def test_fluid_on_both_sides_and_an_acute_infarct_are_no_old_infarct():
    for balls in (
        (((36, -20, 38), 16, FLUID_HU), ((-36, -20, 38), 16, FLUID_HU)),  # as wide sulci and ventricles are
        (((36, -20, 38), 16, 22.0),),  # 12 HU less than tissue: the most that a day lowers it by
    ):
        assert _guards(*_with(*balls)).chronic_volume_ml == 0


@pytest.mark.parametrize("middle", [(34, -10, 30), (0, -40, 30)])
def test_a_haemorrhage_is_measured_across_the_midline_too(middle):
    guards = _guards(*_with((middle, 12, BLOOD_HU)))
    assert guards.haemorrhage_volume_ml == pytest.approx(ball_ml(12), rel=0.15)
    assert _flags(guards) == (False, True, False)


def test_calcium_is_no_haemorrhage():
    for balls in (
        (((34, -10, 30), 12, CALCIUM_HU),),  # denser than blood
        (((20, -4, 0), 7, BLOOD_HU), ((-20, -4, 0), 7, BLOOD_HU)),  # both pallida
    ):
        assert _guards(*_with(*balls)).haemorrhage_volume_ml == 0


def test_a_dense_artery_is_found_by_its_density_and_the_ratio_of_the_sides():
    values, affine = _with()
    course = np.array(PAIRED["middle cerebral, M1"][1]) * [-1, 1, 1]
    for start, end in pairwise(course):
        for share in np.linspace(0, 1, 12):
            values[np.linalg.norm(_template_mm() - (start + share * (end - start)), axis=-1) < 2.4] = BLOOD_HU
    guards = _guards(values, affine)
    assert guards.hyperdense_mca_hu == pytest.approx(BLOOD_HU)
    assert guards.hyperdense_mca_ratio == pytest.approx(BLOOD_HU / 43.8, rel=0.02)  # the other side: cortex and noise
    assert _flags(guards) == (False, False, True)


def test_without_a_registration_nothing_is_measured_and_nothing_suspected():
    values, affine = _with()
    scan = ct_working_scan(values, affine)
    refused = refusal("gauss-newton", "brain_too_small", "too small")
    guards = measure_guards(scan, extract_ct_brain(scan), refused, load_label_map("vascular"))
    assert astuple(guards) == (None, None, None, None)
    assert _flags(guards) == (None, None, None)


def test_a_flag_needs_every_figure_above_its_threshold():
    at = dict.fromkeys(GUARD_THRESHOLDS, 0.0)
    assert suspected(HYPERDENSE, {"hyperdense_mca_hu": 43.1, "hyperdense_mca_ratio": 1.11}) is True
    assert suspected(HYPERDENSE, {"hyperdense_mca_hu": 43.0, "hyperdense_mca_ratio": 1.3}) is False  # Koo 2000: > 43
    assert suspected(HYPERDENSE, {"hyperdense_mca_hu": 60.0, "hyperdense_mca_ratio": None}) is None
    assert suspected(CHRONIC, {"chronic_volume_ml": 0.5}) is False
    assert suspected(CHRONIC, {"chronic_volume_ml": 0.5}, at) is True
    assert suspected(HAEMORRHAGE, {"haemorrhage_volume_ml": 1.0}) is False
    assert {figure for guard in GUARDS for figure in guard.figures} == set(GUARD_THRESHOLDS)
    assert set(GUARD_THRESHOLDS) == {one.name for one in fields(Guards)}


@pytest.mark.real_data
@pytest.mark.parametrize("subject", ["sub001", "sub003"])
def test_real_scans_without_any_are_not_flagged(real_data, subject):
    image = nib.load(real_data / f"ncct-aspects/{subject}/im.nii.gz")
    guards = _guards(np.asarray(image.dataobj, np.float32), np.asarray(image.affine, float))
    assert _flags(guards) == (False, False, False)


@pytest.mark.real_data
def test_a_real_old_defect_is_suspected(real_data):
    image = read_scan((real_data / "ncct-thin/cranium_ct.nii.gz").read_bytes(), "thin.nii.gz", "ncct", forms="sform")
    guards = _guards(image.values, image.affine)
    assert guards.chronic_volume_ml == pytest.approx(3.6, abs=0.5)
    assert _flags(guards) == (True, False, False)
