"""The gates on quality figures, their words, and a study's own limits."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from tasks.modality import ScanContrast
from tasks.perfusion.quality import SeriesQuality
from tasks.quality.figures import ScanQuality
from tasks.quality.gates import GATES, Gate, judge_quality, with_limits
from tasks.quality.guards import Guards


def test_every_contrast_has_limits():
    assert set(GATES) == set(get_args(ScanContrast))


def test_every_gate_names_a_figure():
    figures = {field.name for one in (ScanQuality, SeriesQuality, Guards) for field in dataclasses.fields(one)}
    for gates in GATES.values():
        names = [gate.figure for gate in gates]
        assert set(names) <= figures
        assert len(set(names)) == len(names)
        for gate in gates:
            assert gate.reason == gate.reason.lower().replace(" ", "_")
            assert gate.remedy.endswith(".")


@pytest.mark.parametrize(
    ("modality", "figure", "allowed", "broken", "reason"),
    [
        ("ct", "slice_step_mm", 6.0, 6.1, "slices_too_thick"),
        ("dwi", "slice_step_mm", 8.0, 8.1, "slices_too_thick"),
        ("ct", "ganglionic_coverage", 0.9, 0.89, "ganglionic_level_not_covered"),
        ("dwi", "supraganglionic_coverage", 0.9, 0.0, "supraganglionic_level_not_covered"),
        ("ct", "noise_hu", 12.5, 12.6, "noise_too_high"),
        ("cta", "noise_hu", 20.0, 20.1, "noise_too_high"),
        ("cta", "streak_hu", 9.0, 9.1, "streak_artefact"),
        ("ct", "contrast_hu", 60.0, 61.0, "contrast_present"),
        ("cta", "contrast_hu", 60.0, 59.0, "contrast_missing"),
        ("dwi", "noise_share", 0.33, 0.34, "noise_too_high"),
        ("dwi", "signal_to_noise", 3.0, 2.9, "signal_too_low"),
        ("b0", "signal_to_noise", 3.0, 2.9, "signal_too_low"),
        ("ct", "tilt_deg", 50.0, 51.0, "head_tilt_too_large"),
        ("cta", "template_coverage", 0.7, 0.69, "field_of_view_too_small"),
        ("ctp", "template_coverage", 0.35, 0.34, "field_of_view_too_small"),
        ("ct", "scale_min", 0.65, 0.64, "registration_scale_out_of_range"),
        ("dwi", "scale_max", 1.2, 1.21, "registration_scale_out_of_range"),
        ("ct", "registration_dice", 0.9, 0.89, "registration_overlap_too_low"),
        ("dwi", "tissue_correlation", 0.35, 0.34, "registration_tissue_mismatch"),
    ],
)
def test_default_limits(modality, figure, allowed, broken, reason):
    assert judge_quality({figure: allowed}, GATES[modality]) == ()
    assert [one.reason for one in judge_quality({figure: broken}, GATES[modality])] == [reason]


def test_a_finding_says_what_was_measured():
    (finding,) = judge_quality({"slice_step_mm": 7.5, "noise_hu": None}, GATES["ct"])
    assert finding.detail == (
        "slice_step_mm must be <= 6 mm, got 7.5 mm. Use thinner slices where the archive has them. "
        'Set [[gate]] figure = "slice_step_mm" in cohort.toml for another limit.'
    )
    (finding,) = judge_quality({"ganglionic_coverage": 0.4321}, GATES["dwi"])
    assert finding.detail.startswith("ganglionic_coverage must be >= 0.9, got 0.4321. Use a complete scan. Set ")
    (finding,) = judge_quality({"contrast_hu": 12.0}, GATES["cta"])
    assert finding.detail.startswith("contrast_hu must be >= 60 HU, got 12 HU.")


def test_every_broken_gate_is_reported():
    figures = {"ganglionic_coverage": 0, "slice_step_mm": 10.0, "streak_hu": 30.0, "noise_hu": 30.0, "other": 1.0}
    assert [one.reason for one in judge_quality(figures, GATES["ct"])] == [
        "ganglionic_level_not_covered",
        "slices_too_thick",
        "streak_artefact",
        "noise_too_high",
    ]


def test_a_study_replaces_limits():
    figures = {"slice_step_mm": 7.0, "tilt_deg": 25.0, "registration_dice": 0.95, "asymmetry_hu": -4.0}
    limits = {"slice_step_mm": (None, None), "tilt_deg": (None, 20.0), "asymmetry_hu": (-3.0, 3.0)}
    gates = with_limits(GATES["ct"], {**limits, "noise_share": (None, 0.1)})  # MR's own gate is passed over
    findings = judge_quality(figures, gates)
    assert [one.reason for one in findings] == ["head_tilt_too_large", "hemispheres_differ"]
    assert findings[1].detail.startswith("asymmetry_hu must be -3 to 3 HU, got -4 HU.")
    assert [one.reason for one in judge_quality(figures, GATES["ct"])] == ["slices_too_thick"]


@pytest.mark.parametrize(
    ("figure", "value", "limits"),
    [
        ("slice_step_mm", 9.0, (None, 10.0)),
        ("registration_dice", 0.85, (0.8, None)),
        ("tissue_correlation", 0.2, (0.15, None)),
        ("template_coverage", 0.5, (0.4, None)),
        ("tilt_deg", 60.0, (None, 70.0)),
        ("scale_min", 0.6, (0.5, None)),
        ("scale_max", 1.3, (None, 1.4)),
        ("ganglionic_coverage", 0.5, (0.4, None)),
    ],
)
@pytest.mark.parametrize("image", ["ct", "cta", "dwi"])
def test_a_study_can_widen_every_limit_of_geometry(figure, value, limits, image):
    assert len(judge_quality({figure: value}, GATES[image])) == 1
    assert judge_quality({figure: value}, with_limits(GATES[image], {figure: limits})) == ()


def test_every_detail_names_the_setting_that_changes_its_limit():
    for gates in GATES.values():
        for gate in gates:
            narrow = with_limits((gate,), {gate.figure: (0.0, 1.0)})
            (finding,) = judge_quality({gate.figure: 2.0}, narrow)
            assert finding.detail.endswith(f'Set [[gate]] figure = "{gate.figure}" in cohort.toml for another limit.')


def test_flags_can_be_gated():
    gate = Gate("has_contrast", 1.0, None, "contrast_missing", "Use the arterial phase.")
    assert judge_quality({"has_contrast": True}, (gate,)) == ()
    assert [one.reason for one in judge_quality({"has_contrast": False}, (gate,))] == ["contrast_missing"]


def test_unusable_limits_are_all_named():
    with pytest.raises(
        ValueError,
        match=r"got 'noise'\. Name one.*tilt_deg must be finite or null, got \[inf\].*noise_hu must be in order, got 9",
    ):
        with_limits(GATES["ct"], {"noise": (0, 1), "noise_hu": (9.0, 3.0), "tilt_deg": (None, float("inf"))})
    with pytest.raises(ValueError, match="noise_hu must not be NaN"):
        judge_quality({"noise_hu": float("nan")}, GATES["ct"])
