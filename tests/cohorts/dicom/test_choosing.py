"""Which of several converted series is listed, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from cohorts.dicom.choosing import Anchors, Candidate, choose

START = datetime(2020, 3, 2, 10, 15)
PLAIN = Candidate("sub-1", "ncct", "a", "aaaa", "study", START, "soft", 5.0, 150.0, 30)


def _choose(*candidates, listed=None, started=None, **how):
    return choose(candidates, Anchors(listed or {}, started or {}), **how)


def _listed(choices):
    return sorted(path for path, choice in choices.items() if choice.is_listed)


def _later(hours, **changes):
    return replace(PLAIN, started=START + timedelta(hours=hours), **changes)


def test_a_soft_kernel_goes_before_thin_slices_and_the_runner_up_is_named():
    sharp = replace(PLAIN, path="b", series="bbbb", sharpness="unknown", thickness_mm=2.0, n_slices=90)
    found = _choose(PLAIN, sharp)
    assert _listed(found) == ["a"]
    assert found["a"].text == "before bbbb: soft kernel (soft, unknown)"
    assert found["a"].runner_up == "bbbb"
    assert found["b"].text == "behind aaaa: soft kernel (soft, unknown)"


def test_plain_ct_is_listed_as_it_is_read_and_angiography_thin():
    thin, thick = (replace(PLAIN, path=name, series=name, thickness_mm=size) for name, size in (("b", 0.6), ("c", 8.0)))
    assert _listed(_choose(thick, thin, PLAIN)) == ["a"]
    assert _choose(thin, PLAIN)["a"].text == "before b: thickness (5 mm, 0.6 mm)"
    assert _listed(_choose(*(replace(one, modality="cta") for one in (thick, thin, PLAIN)))) == ["b"]


def test_what_is_unfit_is_never_listed_and_doubt_comes_last():
    bone = replace(PLAIN, path="b", unfit=("sharp_kernel",))
    assert _listed(_choose(bone)) == []
    assert _choose(bone)["b"].text == "unfit: sharp_kernel"
    doubtful = _later(-1, path="c", series="cccc", doubts=("contrast_evidence_disagrees",))
    found = _choose(bone, doubtful, PLAIN)
    assert _listed(found) == ["a"]
    assert found["a"].text == "before cccc: free of doubt (contrast_evidence_disagrees)"
    alone = _choose(bone, doubtful)
    assert alone["c"].text == "only one that is fit; in doubt: contrast_evidence_disagrees"


def test_an_examination_is_chosen_as_a_whole():
    """A plain CT the day before is not paired with today's angiography and perfusion, which have their own plain CT."""
    today = [
        _later(24 + number / 10, path=kind, modality=kind, study="two") for number, kind in enumerate(("ncct", "cta"))
    ]
    found = _choose(PLAIN, *today)
    assert _listed(found) == ["cta", "ncct"]
    assert found["a"].text == "behind aaaa: examination chosen"
    first = _choose(PLAIN, *today, is_earliest=True)
    assert _listed(first) == ["a", "cta"]
    assert first["cta"].text == "only one of its kind; other_examination"
    assert first["cta"].hours_apart == 24.1


def test_two_study_identifiers_within_an_hour_are_one_examination():
    found = _choose(PLAIN, _later(0.5, path="b", modality="cta", study="two"))
    assert [found[path].hours_apart for path in "ab"] == [None, None]


def test_diffusion_days_later_does_not_outweigh_the_ct_of_the_stroke():
    mr = [_later(72, path=kind, modality=kind, study="mr") for kind in ("dwi", "dwi-b0", "adc")]
    follow_up = _later(96, path="late")
    found = _choose(PLAIN, *mr, follow_up)
    assert _listed(found) == ["a", "adc", "dwi", "dwi-b0"]
    assert found["dwi"].hours_apart == 72.0


def test_the_first_of_two_acquisitions_and_the_whole_of_two_slabs():
    again = _later(0.2, path="b", thickness_mm=3.0)
    assert _listed(_choose(PLAIN, again)) == ["a"]
    slab = _later(-0.1, path="c", height_mm=60.0)
    assert _choose(PLAIN, slab)["c"].text == "behind aaaa: whole head"


def test_rules_come_before_kernel_and_thickness_in_their_order():
    one = replace(PLAIN, path="b", series="bbbb", sharpness="unknown", thickness_mm=1.0, rule=1)
    other = replace(PLAIN, path="c", series="cccc", rule=0)
    assert _choose(PLAIN, one)["b"].text == "before aaaa: rule of import.toml"
    assert _listed(_choose(PLAIN, one, other)) == ["c"]


def test_what_is_listed_stays_and_draws_its_own_examination():
    late = _later(48, path="late", modality="cta")
    near = _later(0.1, path="near", modality="cta", thickness_mm=8.0)
    listed, started = {("sub-1", "ncct"): "old"}, {"old": START + timedelta(hours=47)}
    found = _choose(PLAIN, near, late, listed=listed, started=started)
    assert _listed(found) == ["late", "old"]
    assert found["a"].text == "another scan was listed before"


def test_scans_without_times_go_by_their_study():
    found = _choose(*(replace(PLAIN, started=None, path=name, study=study) for name, study in (("b", "2"), ("c", "3"))))
    assert _listed(found) == ["b"]
    assert found["c"].hours_apart is None


def test_patients_do_not_meet():
    found = _choose(PLAIN, replace(PLAIN, participant_id="sub-2", path="b"))
    assert _listed(found) == ["a", "b"]
