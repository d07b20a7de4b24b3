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
        "ncct: slice_step_mm must be <= 6 mm, got 7.5 mm. Use a reconstruction with thinner slices. "
        "ncct: noise_hu must be <= 12.5 HU, got 14 HU. Use a smoother or thicker reconstruction."
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
