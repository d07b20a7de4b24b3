"""Patients of a cohort folder: prepared as they are scored, left out with a reason, divided and compared for leaks."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from cohorts.folder.problems import CohortError
from cohorts.images.nifti import nifti_bytes
from cohorts.images.scan import read_scan
from cohorts.phantom.native_scans import scan_bytes
from flows.cases.dwi_input import dwi_input
from flows.cases.native_scan import prepare
from flows.commands.failures import EXIT_PREFLIGHT, EXIT_USAGE, failure_of
from flows.run.request import PreflightError, RunRequest, UsageError
from flows.training import flow
from flows.training.cohort import candidates_of, study_of
from flows.training.flow import train_network
from flows.training.inputs import inputs_of, patients_digest, refuse_leaks
from flows.training.patients import keep_patient, lesion_on_grid
from flows.training.request import TrainRequest
from flows.training.start import start_of
from models.training.dwi import DWI_TASK
from models.training.kept import BrokenFileError
from models.training.methods import START_RATE, plan_for, with_start
from models.training.pool import read_patient
from models.weights import FOLDER
from tasks.quality.gates import GATES, with_limits
from tasks.segmentation import INFARCT
from tests.flows.training.tiny_cohort import LICENCE, STUDY, TinyCohort, scans, write_tiny_cohort

MASKS_ALONE = STUDY.replace('kind = "native_mask"\nregistration = "affine"', 'kind = "mask"\nmodality = "dwi-lesion"')


def request_of(tiny, **changes):
    run = RunRequest(tiny.folder, tiny.folder.parent / "out")
    own = TrainRequest("dwi-unet", None, None, run, "tiny", cohort=tiny.folder, licences={"patient": LICENCE})
    return replace(own, **changes)


def candidates_in(tiny, **changes):
    request = request_of(tiny, **changes)
    return candidates_of(study_of(request, tiny.folder), request.work)


def found_in(tiny, only=None, **changes):
    request = request_of(tiny, **changes)
    candidates = candidates_in(tiny, **changes)
    cases = [one for one in candidates.cases if only is None or one.participant_id in only]
    folder = request.work / "patients"
    return candidates, {one.participant_id: keep_patient(one, candidates.labelling, folder, "code") for one in cases}


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """The cohort with patients who cannot be learned from, and what was found."""
    tiny = write_tiny_cohort(tmp_path_factory.mktemp("bad") / "cohort")
    high, _, _, drawn, affine = scans(1, "m2")
    moved = affine.copy()
    moved[:3, 3] += 20
    tiny.write_patient("sub-5", like="sub-1", dwi_lesion=None)
    tiny.write_patient("sub-7", like="sub-1", dwi=None)
    tiny.write_patient("sub-8", like="sub-1", dwi_lesion=nifti_bytes(drawn, moved))
    tiny.write_patient("sub-11", like="sub-1", dwi=b"no image")
    corner = np.zeros_like(drawn)
    corner[1:4, 1:4, 1:3] = 1
    tiny.write_patient("sub-14", like="sub-1", dwi_lesion=nifti_bytes(corner, affine))
    noisy = high + np.random.default_rng(0).normal(0, 400, high.shape)
    tiny.write_patient("sub-15", like="sub-1", dwi=scan_bytes(np.abs(noisy), affine))
    tiny.write_row("sub-99", "dwi", scan_bytes(high, affine))  # no participant of the study
    return tiny, *found_in(tiny)


def test_who_cannot_be_learned_from_is_left_out_with_a_reason_and_stops_nobody(bad):
    _, candidates, found = bad
    reasons = {one.participant: one.reason for one in candidates.excluded}
    reasons |= {name: one.excluded.reason for name, one in found.items() if one.excluded}
    assert {name: reasons[name] for name in ("sub-5", "sub-7", "sub-8", "sub-14", "sub-15", "sub-99")} == {
        "sub-5": "mask_missing",
        "sub-7": "scan_of_mask_missing",
        "sub-8": "mask_not_on_scan",
        "sub-14": "lesion_outside_scan",
        "sub-15": "brain_too_small",
        "sub-99": "scan_without_participant",
    }
    assert "sub-11" in reasons
    assert {name for name, one in found.items() if one.kept} == {
        "sub-1", "sub-2", "sub-3", "sub-4", "sub-10", "sub-12", "sub-22",
    }  # fmt: skip


def test_the_sides_are_those_of_the_names(bad):
    tiny, candidates, found = bad
    inputs = inputs_of(request_of(tiny), [], {}, candidates, list(found.values()))
    refuse_leaks(inputs)
    sides = {one.item.name: one.split for one in inputs.placed}
    assert sides == {
        "sub-1": "train", "sub-4": "train", "sub-10": "train", "sub-2": "validation", "sub-3": "validation",
        "sub-12": "test", "sub-22": "test",
    }  # fmt: skip
    assert [path.stem for path in inputs.patients("train")] == [
        Path(found[name].kept).stem for name in ("sub-1", "sub-4", "sub-10")
    ]
    (warning,) = inputs.warnings
    assert "1 mask_missing" in warning.text
    assert "excluded.tsv in the work folder says who and why" in warning.text
    assert patients_digest(inputs) != patients_digest(replace(inputs, placed=inputs.placed[1:]))


@pytest.mark.parametrize(("participant", "second"), [("sub-1", "adc"), ("sub-3", "dwi-b0"), ("sub-4", "")])
def test_a_patient_is_what_the_network_is_given_when_it_scores(bad, participant, second):
    """Channels of the kept patient and of the file by the functions of the source ``dwi_unet``; the lesion's volume."""
    tiny, _, found = bad

    def read(modality):
        path = tiny.folder / f"{participant}_{modality}.nii.gz"
        return read_scan(path.read_bytes(), path.name, modality, forms="reject")

    scan = prepare(read("dwi"), "dwi")
    adc, b0 = (read(one) if one == second else None for one in ("adc", "dwi-b0"))
    given = dwi_input(scan, adc, b0, 1000)
    kept = read_patient(Path(found[participant].kept))
    np.testing.assert_allclose(DWI_TASK.channels(kept, None), given.channels, atol=3e-3)
    assert bool(kept.adc.size) == bool(second)
    mask = nib.load(tiny.folder / f"{participant}_dwi-lesion.nii.gz")
    true_ml = np.asarray(mask.dataobj).sum() * 2.2 * 2.2 * 5.5 / 1000
    assert found[participant].items[0].volume_ml == pytest.approx(true_ml, rel=1e-5)
    assert (kept.classes == INFARCT).sum() * 0.008 == pytest.approx(true_ml, abs=0.0041)


def test_a_patient_that_is_kept_is_not_prepared_again(bad):
    tiny, candidates, found = bad
    stamp = Path(found["sub-1"].kept).stat().st_mtime_ns
    _, again = found_in(tiny, {"sub-1", "sub-8"})
    assert again == {name: found[name] for name in ("sub-1", "sub-8")}
    assert Path(found["sub-1"].kept).stat().st_mtime_ns == stamp
    assert {path.parent.stat().st_mode & 0o77 for path in [Path(found["sub-1"].kept)]} == {0}
    other = replace(candidates.labelling, b_value_s_mm2=900.0)
    (case,) = (one for one in candidates.cases if one.participant_id == "sub-1")
    kept = keep_patient(case, other, Path(found["sub-1"].kept).parent, "code").kept
    assert kept != found["sub-1"].kept


@pytest.mark.parametrize(
    ("ending", "harm"),
    [
        (".json", lambda _: b"{}"),
        (".json", lambda _: b"[]"),
        (".json", lambda _: b""),
        (".json", lambda content: content[:-9]),
        (".json", lambda content: content.replace(b"volume_ml", b"volume")),
        (".npz", lambda content: content[:-30]),
        (".npz", lambda _: b"PK"),
    ],
)
def test_a_patient_whose_kept_files_are_broken_is_prepared_again(bad, tmp_path, monkeypatch, ending, harm):
    """The preparation itself is replaced by its result: the kept file as it was."""
    _, candidates, found = bad
    (case,) = (one for one in candidates.cases if one.participant_id == "sub-1")
    whole = Path(found["sub-1"].kept)
    again = []

    def prepare_again(_case, _labelling, kept):
        again.append(kept.name)
        kept.write_bytes(whole.read_bytes())
        return found["sub-1"].items

    monkeypatch.setattr("flows.training.patients._prepare", prepare_again)
    for file in (whole, whole.with_suffix(".json")):
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(harm(content) if file.suffix == ending else content)
    kept = str(tmp_path / whole.name)
    expected = replace(found["sub-1"], kept=kept)
    assert keep_patient(case, candidates.labelling, tmp_path, "code") == expected
    assert again == [whole.name]
    assert keep_patient(case, candidates.labelling, tmp_path, "code") == expected
    assert again == [whole.name]


def test_the_studys_limits_of_quality_refuse_a_scan(bad, tmp_path):
    """Slices of 5.5 mm where the study allows 5."""
    _, candidates, _ = bad
    labelling = replace(candidates.labelling, gates=with_limits(GATES["dwi"], {"slice_step_mm": (None, 5.0)}))
    (case,) = (one for one in candidates.cases if one.participant_id == "sub-1")
    excluded = keep_patient(case, labelling, tmp_path, "code").excluded
    assert (excluded.participant, excluded.reason) == ("sub-1", "slices_too_thick")
    assert "slice_step_mm must be <= 5 mm, got 5.5 mm" in excluded.detail


def test_the_same_scan_under_two_names_is_a_leak_as_it_is_and_mirrored(bad, tmp_path):
    """sub-1 trains; its scan is exported again as sub-12 and, stored from left to right, as sub-22: both test."""
    _, candidates, found = bad
    tiny = write_tiny_cohort(tmp_path / "cohort")
    high, _, _, drawn, affine = scans(1, "m2")
    for name, values in (("sub-12", high), ("sub-22", high[::-1])):
        (tiny.folder / f"{name}_dwi.nii.gz").write_bytes(scan_bytes(values, affine))
        lesion = drawn if name == "sub-12" else drawn[::-1]
        (tiny.folder / f"{name}_dwi-lesion.nii.gz").write_bytes(nifti_bytes(np.ascontiguousarray(lesion), affine))
        (tiny.folder / f"{name}_adc.nii.gz").unlink()
    rows = (tiny.folder / "scans.tsv").read_text().splitlines()
    kept = [row for row in rows if not row.startswith(("sub-12\tadc", "sub-22\tadc"))]
    (tiny.folder / "scans.tsv").write_text("\n".join(kept) + "\n")
    _, copies = found_in(tiny, {"sub-12", "sub-22"})
    patients = [copies.get(name, one) for name, one in found.items()]
    inputs = inputs_of(request_of(tiny), [], {}, candidates, patients)
    with pytest.raises(CohortError) as error:
        refuse_leaks(inputs)
    texts = [problem.text for problem in error.value.problems]
    assert [text.split(",")[0] + " " + text.split("got ")[1].split(" (")[0] for text in texts] == [
        "patient sub-1: must share nothing with another side the same file in patient sub-12",
        "drawn sub-1: must share nothing with another side the same file in drawn sub-12",
        "patient sub-1: must share nothing with another side the same voxels in patient sub-12",
        "drawn sub-1: must share nothing with another side the same voxels in drawn sub-12",
        "patient sub-1: must share nothing with another side the same mirrored voxels in patient sub-22",
        "drawn sub-1: must share nothing with another side the same mirrored voxels in drawn sub-22",
    ]


def test_too_few_patients_are_told_how_many_are_needed(bad):
    """Two with a lesion on every side; sub-12 alone tests. 39: 1 - .95 >= P(fewer than 2 of 39 at .70, .12, .18)."""
    tiny, candidates, found = bad
    with pytest.raises(CohortError) as error:
        inputs_of(request_of(tiny), [], {}, candidates, [one for name, one in found.items() if name != "sub-22"])
    (problem,) = error.value.problems
    assert "at least 2 on every side, got 2 to train, 2 to validation, 1 to test. Give more patients" in problem.text
    assert "39 with a lesion are enough in 19 of 20 cohorts" in problem.text
    assert "were left out:" in problem.text
    sides = replace(candidates, sides={"sub-10": "test", "sub-4": "test"})  # one without a lesion does not count
    with pytest.raises(CohortError, match="got 1 to train, 2 to validation, 3 to test"):
        inputs_of(request_of(tiny), [], {}, sides, list(found.values()))


def test_a_lesion_keeps_its_volume_on_the_grid_and_is_at_least_a_voxel():
    """Voxels of .008 ml: .002 ml is the fullest one, .016 ml are the two fullest."""
    share = np.zeros((2, 2, 2), np.float32)
    assert not lesion_on_grid(share, 0.0).any()
    share[0, 0, 0], share[1, 1, 1], share[0, 1, 0] = 0.2, 0.4, 0.3
    assert np.argwhere(lesion_on_grid(share, 0.002)).tolist() == [[1, 1, 1]]
    assert np.argwhere(lesion_on_grid(share, 0.016)).tolist() == [[0, 1, 0], [1, 1, 1]]
    assert lesion_on_grid(share, 9.0).sum() == 3
    share[share > 0] = 0.5
    assert lesion_on_grid(share, 0.016).sum() == 2


def _study(tiny, text):
    (tiny.folder / "cohort.toml").write_text(text)
    return tiny


def test_the_study_says_whose_lesions_are_learned_and_where_the_adc_is(bad, tmp_path):
    tiny = write_tiny_cohort(tmp_path / "cohort")
    second = (
        STUDY.split("\n\n")[1].replace("manual", "second").replace("registration", 'modality = "other"\nregistration')
    )
    tiny.write_row("sub-1", "other", nifti_bytes(scans(1, "m2")[3], scans(1, "m2")[4]))
    _study(tiny, f"{STUDY}\n{second}")
    with pytest.raises(UsageError, match=r"--drawn-by must say whose .* got manual, second\. Name one"):
        candidates_in(tiny)
    assert candidates_in(tiny, drawn_by="second").labelling.mask == "other"
    with pytest.raises(UsageError, match=r"got 'third'\. The study has manual, second"):
        candidates_in(tiny, drawn_by="third")
    unet = '[[source]]\nname = "net"\nkind = "dwi_unet"\nadc = "adc-map"\nb_value_s_mm2 = 1200\n'
    labelling = candidates_in(_study(tiny, f"{STUDY}\n{unet}")).labelling
    assert (labelling.adc, labelling.b0, labelling.b_value_s_mm2) == ("adc-map", "dwi-b0", 1200)
    _study(tiny, MASKS_ALONE)
    with pytest.raises(CohortError, match='must have a \\[\\[source\\]\\] of kind = "native_mask"'):
        candidates_in(tiny)


def test_a_side_in_the_table_of_participants_holds(tmp_path):
    tiny = write_tiny_cohort(tmp_path / "cohort")
    names = (tiny.folder / "participants.tsv").read_text().split()[1:]
    rows = [f"{name}\t{'Test' if name == 'sub-1' else 'n/a'}" for name in names]
    (tiny.folder / "participants.tsv").write_text("participant_id\tsplit\n" + "\n".join(rows) + "\n")
    assert candidates_in(tiny).sides == {"sub-1": "test"}


@pytest.mark.parametrize("word", ["valid", "testing", "held out", "1"])
def test_whose_side_is_another_word_is_not_learned_from(tmp_path, word):
    tiny = write_tiny_cohort(tmp_path / "cohort")
    names = (tiny.folder / "participants.tsv").read_text().split()[1:]
    rows = [f"{name}\t{word if name == 'sub-1' else 'train'}" for name in names]
    (tiny.folder / "participants.tsv").write_text("participant_id\tsplit\n" + "\n".join(rows) + "\n")
    found = candidates_in(tiny)
    assert "sub-1" not in {one.participant_id for one in found.cases} | set(found.sides)
    (wrong,) = (one for one in found.excluded if one.participant == "sub-1")
    assert wrong.reason == "split_unknown"
    assert wrong.detail == (
        f"split in participants.tsv must be train, validation, test or n/a, got {word!r}. "
        "Correct it, or empty the cell."
    )


FOLDERS = {"anatomies": Path("heads"), "lesions": Path("masks")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "region-net"}, r"METHOD with --cohort must be one of dwi-unet, got region-net: it learns regions"),
        ({"method": "ncct-overlap"}, r"METHOD with .* got ncct-overlap: a cohort's CT are not prepared for it"),
        ({"licences": {}}, r"--cohort-licence must say what the patients' consent .* got none"),
        ({"licences": {"patient": " "}}, r"--cohort-licence must say"),
        ({"cohort": None, "licences": {}}, r"something to learn from must be given, got none"),
        ({"anatomies": Path("heads")}, r"must be given together, got --anatomies alone\. Give --lesions too"),
        ({"lesions": Path("masks")}, r"must be given together, got --lesions alone\. Give --anatomies too"),
        ({"cohort": None, **FOLDERS}, r"--cohort-licence must be given with --cohort, got no cohort"),
        ({"cohort_share": 1.5, **FOLDERS}, r"--cohort-share must be > 0 and < 1, got 1\.5"),
        ({"hold_out": ("head_1",)}, r"--hold-out must be given with --anatomies, got none"),
    ],
)
def test_wrong_usage_ends_before_anything_starts(tmp_path, changes, message):
    own = TrainRequest(
        "dwi-unet", None, None, RunRequest(tmp_path, tmp_path / "out"), cohort=tmp_path, licences={"patient": "x"}
    )
    with pytest.raises(UsageError, match=message) as error:
        train_network(replace(own, **changes), None)
    assert failure_of(error.value).exit_code == EXIT_USAGE
    assert not (tmp_path / "out").exists()


@pytest.fixture
def started(monkeypatch):
    """What of Prefect and Dask was started, in place of starting it."""
    names = []

    def starting(name, given):
        @contextlib.contextmanager
        def start(_run):
            names.append(name)
            yield given

        return start

    monkeypatch.setattr(flow, "prefect_started", starting("prefect", lambda: None))
    monkeypatch.setattr(flow, "workers_connected", starting("dask", None))
    monkeypatch.setattr(flow, "Workers", lambda *_, **__: None)
    return names


@pytest.mark.parametrize("kind", ["missing", "no study", "broken study", "no drawn lesion", "no table", "two readers"])
def test_a_wrong_cohort_is_refused_before_anything_starts(tmp_path, started, kind):
    tiny = TinyCohort(tmp_path / "cohort")
    second = STUDY.split("\n\n")[1].replace('"manual"', '"second"')
    studies = {
        "broken study": "[study\n",
        "no drawn lesion": MASKS_ALONE,
        "two readers": f"{STUDY}\n{second}",
    }
    if kind != "missing":
        write_tiny_cohort(tiny.folder)
        _study(tiny, studies.get(kind, STUDY))
    for name in {"no study": ["cohort.toml"], "no table": ["scans.tsv"]}.get(kind, ()):
        (tiny.folder / name).unlink()
    with pytest.raises((CohortError, UsageError)) as error:
        train_network(request_of(tiny), Console())
    assert failure_of(error.value).exit_code == (EXIT_USAGE if kind == "two readers" else EXIT_PREFLIGHT)
    assert started == []
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_kept_and_is_broken_ends_the_command_in_a_line(tmp_path, started, monkeypatch):
    tiny = write_tiny_cohort(tmp_path / "cohort")

    def fail(*_):
        raise BrokenFileError("checkpoint.pt must be whole, got half. Delete it.")

    monkeypatch.setattr(flow, "_run_flow", fail)
    with pytest.raises(PreflightError) as error:
        train_network(request_of(tiny), Console())
    assert started == ["prefect", "dask"]
    failure = failure_of(error.value)
    assert (failure.exit_code, failure.text) == (
        EXIT_PREFLIGHT,
        "Error: checkpoint.pt must be whole, got half. Delete it.",
    )


def test_a_start_is_looked_up_with_its_card(tmp_path):
    request = TrainRequest("dwi-unet", None, None, RunRequest(tmp_path, tmp_path / "out"), cohort=tmp_path)
    plan = plan_for("corrected", "small")
    assert start_of(request, plan) is None
    card = json.loads((FOLDER / "dwi-unet.json").read_bytes())
    for name in ("dwi-unet", str(FOLDER / "dwi-unet.safetensors")):
        found = start_of(replace(request, start=name), plan)
        assert (found.sha256, found.path) == (card["sha256"], FOLDER / "dwi-unet.safetensors")
    started = with_start(plan, found.sha256)
    assert (started.start_sha256, started.learning_rate) == (card["sha256"], plan.learning_rate * START_RATE)
    for name, preset, message in (
        ("dwi-unet", "tiny", "--start must be weights of method dwi-unet and preset tiny, got preset small"),
        ("region-net", "small", "got method region-net"),
        ("dwi-net", "small", "--start: weights dwi-net must be in .*, got no dwi-net.safetensors"),
    ):
        with pytest.raises(PreflightError, match=message):
            start_of(replace(request, start=name), plan_for("corrected", preset))
