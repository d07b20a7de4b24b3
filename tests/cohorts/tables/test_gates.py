"""Quality gates on records: what is excluded, in which words, and what is left alone."""

from __future__ import annotations

from cohorts.store.records import Record, StepKey
from cohorts.tables.gates import gated
from flows.sources.density_ratio import DensityFindings
from flows.sources.registry import STUDY as STUDY_MODEL

STUDY = {
    "study": {"name": "Gates"},
    "source": [
        {"name": "lesion", "kind": "mask"},
        {"name": "ct", "kind": "density_ratio"},
        {"name": "cta", "kind": "density_ratio", "modality": "cta", "image": "cta"},
        {"name": "dwi", "kind": "dwi_threshold"},
    ],
}
GOOD = {"slice_step_mm": 5.0, "noise_hu": 3.0, "contrast_hu": 12.0, "streak_hu": 2.0, "ganglionic_coverage": 1.0}


def _record(figures, modality="ncct", status="ok", reason=None):
    key = StepKey("step", "code/1", "a" * 64, "b" * 64)
    return Record("sub-1", key, status, reason, None, DensityFindings(quality={modality: figures}))


def _judged(record, measurement, **study):
    found = gated({("sub-1", measurement): record}, STUDY_MODEL.model_validate(STUDY | study))
    return found["sub-1", measurement]


def test_a_scan_within_the_limits_is_left_as_it_is():
    record = _record(GOOD)
    assert _judged(record, "ratio-ncct") is record


def test_every_broken_gate_is_in_the_detail_and_the_first_is_the_reason():
    record = _record(GOOD | {"slice_step_mm": 7.5, "noise_hu": 14.0})
    judged = _judged(record, "ratio-ncct")
    assert (judged.status, judged.reason) == ("excluded", "slices_too_thick")
    assert judged.detail == (
        "ncct: slice_step_mm must be <= 6 mm, got 7.5 mm. Use thinner slices where the archive has them. "
        'Set [[gate]] figure = "slice_step_mm" in cohort.toml for another limit. '
        "ncct: noise_hu must be <= 12.5 HU, got 14 HU. Use a smoother or thicker reconstruction. "
        'Set [[gate]] figure = "noise_hu" in cohort.toml for another limit.'
    )
    assert judged.payload == record.payload
    assert judged.key == record.key
    assert record.status == "ok"


def test_the_limits_are_those_of_the_kind_of_scan():
    """12 HU above the brain: no contrast agent, which is right for a plain CT and wrong for an angiography."""
    assert _judged(_record(GOOD), "ratio-ncct").status == "ok"
    assert _judged(_record(GOOD, "cta"), "ratio-cta").reason == "contrast_missing"
    assert _judged(_record(GOOD | {"slice_step_mm": 7.5}, "dwi"), "threshold-dwi").status == "ok"  # up to 8 mm
    assert _judged(_record({"signal_to_noise": 2.9}, "dwi"), "threshold-dwi").reason == "signal_too_low"


def test_a_study_sets_its_own_limits():
    gate = [{"figure": "noise_hu", "maximum": 2.5}]
    assert _judged(_record(GOOD), "ratio-ncct", gate=gate).reason == "noise_too_high"
    of_cta = [{"figure": "noise_hu", "maximum": 2.5, "image": "cta"}]
    assert _judged(_record(GOOD), "ratio-ncct", gate=of_cta).status == "ok"
    none = [{"figure": "slice_step_mm"}]
    assert _judged(_record(GOOD | {"slice_step_mm": 10.0}), "ratio-ncct", gate=none).status == "ok"


def test_what_is_refused_already_keeps_its_reason():
    record = _record(GOOD | {"noise_hu": 99.0}, status="excluded", reason="no_brain_found")
    assert _judged(record, "ratio-ncct") is record


def test_masks_and_figures_that_were_not_taken_break_nothing():
    assert _judged(_record({"noise_hu": 99.0}, "lesion"), "lesion").status == "ok"
    assert _judged(_record(dict.fromkeys(GOOD)), "ratio-ncct").status == "ok"
    assert _judged(_record(GOOD | {"noise_hu": 99.0}, "adc"), "ratio-ncct").status == "ok"  # of another scan


def test_limits_of_the_registration_can_be_wider_and_narrower():
    """Of stored figures alone: an overlap of 0.87 and slices of 9 mm, which pass in a study that says so."""
    record = _record(GOOD | {"registration_dice": 0.87, "slice_step_mm": 9.0, "tissue_correlation": 0.5})
    judged = _judged(record, "ratio-ncct")
    assert judged.reason == "registration_overlap_too_low"
    assert "registration_dice must be >= 0.9, got 0.87." in judged.detail
    assert "slice_step_mm must be <= 6 mm, got 9 mm." in judged.detail
    assert '[[gate]] figure = "registration_dice"' in judged.detail
    wider = [{"figure": "registration_dice", "minimum": 0.8}, {"figure": "slice_step_mm", "maximum": 10}]
    assert _judged(record, "ratio-ncct", gate=wider).status == "ok"
    narrower = [*wider, {"figure": "tissue_correlation", "minimum": 0.6}]
    assert _judged(record, "ratio-ncct", gate=narrower).reason == "registration_tissue_mismatch"
