"""The input of a training: everything that is wrong is named at once, before anything is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohorts.folder.problems import CohortError
from flows.commands.failures import EXIT_PREFLIGHT, EXIT_USAGE, failure_of
from flows.engine.cluster import ClusterError
from flows.run.request import RunRequest, UsageError
from flows.training import steps
from flows.training.flow import train_network
from flows.training.inputs import files_of, inputs_of, needed, pool_digest, pool_parts, refuse_leaks
from flows.training.publishing import finished_as
from flows.training.request import TrainRequest
from models.training.items import Item
from models.training.methods import METHODS, patients_needed, plan_for
from models.training.trainer import Plan
from tests.flows.training.tiny_training import write_tiny_training
from tests.models.training.tiny_anatomy import write_labels, write_lesion


def request_of(folder, **changes):
    run = RunRequest(folder / "heads", folder / "out")
    return replace(TrainRequest("dwi-unet", folder / "heads", folder / "masks", run, "tiny"), **changes)


def found_in(request):
    files = files_of(request)
    kinds = {path: kind for kind, paths in files.items() for path in paths}
    return [one for kind, paths in files.items() for one in steps.examine(kind, paths)], kinds


def problems_of(request):
    with pytest.raises(CohortError) as error:
        inputs_of(request, *found_in(request))
    assert failure_of(error.value).exit_code == EXIT_PREFLIGHT
    return [problem.text for problem in error.value.problems]


@pytest.fixture
def folder(tmp_path):
    write_tiny_training(tmp_path)
    return tmp_path


def test_every_side_has_its_anatomies_and_lesions(folder):
    inputs = inputs_of(request_of(folder), *found_in(request_of(folder)))
    counts = {
        (kind, split): len(inputs.of(kind, split))
        for kind in ("anatomy", "lesion")
        for split in ("train", "validation", "test")
    }
    assert list(counts.values()) == [2, 1, 1, 2, 1, 1]
    assert inputs.warnings == ()
    refuse_leaks(inputs)
    (test,) = inputs.of("lesion", "test")
    assert inputs.path_of(test).name == "sub-12_mask.nii.gz"


def test_missing_folders_and_empty_ones_are_named_together(tmp_path):
    (tmp_path / "masks").mkdir()
    with pytest.raises(CohortError) as error:
        files_of(request_of(tmp_path))
    first, second = (problem.text for problem in error.value.problems)
    assert "--anatomies must be a folder of label maps of heads (NIfTI), got no folder" in first
    assert "--lesions must be a folder of lesion masks in template space (NIfTI), got a folder without any" in second


def test_every_bad_file_is_named(folder):
    write_labels(folder / "heads/head_9.nii.gz")
    image = nib.load(folder / "heads/head_9.nii.gz")
    labels = np.asarray(image.dataobj).copy()
    labels[0, 0, 0] = 999
    nib.save(nib.Nifti1Image(labels, image.affine), folder / "heads/head_9.nii.gz")
    (folder / "masks/sub-7.nii.gz").write_bytes(b"")
    write_lesion(folder / "masks/patient-8.nii.gz")
    texts = problems_of(request_of(folder))
    assert [text.split(":")[0] for text in texts] == [
        "anatomy head_9.nii.gz",
        "lesion patient-8.nii.gz",
        "lesion sub-7.nii.gz",
    ]
    assert "labels must be SynthSeg's, got [999] as well. Leave the map out" in texts[0]
    assert "a mask must be named sub-XXX..., got patient-8.nii.gz. Rename it." in texts[1]


def test_an_empty_mask_is_left_out_with_a_warning(folder):
    write_lesion(folder / "masks/sub-3_mask.nii.gz", radius_mm=0.0)
    inputs = inputs_of(request_of(folder), *found_in(request_of(folder)))
    assert "got 1 without: sub-3_mask.nii.gz. They are left out." in inputs.warnings[0].text
    assert not any(one.item.name == "sub-3_mask" for one in inputs.placed)


def test_too_few_of_anything_is_named(folder):
    (folder / "masks/sub-12_mask.nii.gz").unlink()
    assert problems_of(request_of(folder)) == [
        "lesions: lesions must be on every side, got 2 to train, 1 to validation, 0 to test. Give more masks."
    ]
    for name in ("head_0", "head_1"):
        (folder / f"heads/{name}.nii.gz").unlink()
    (text,) = problems_of(request_of(folder))
    assert text.startswith("anatomies: anatomies must be at least 3, one each to train, validate and test, got 2")
    (text,) = problems_of(request_of(folder, hold_out=("head_8",)))
    assert "must be in the folder, got head_8. Did you mean head_" in text


def test_planted_leaks_are_all_named(folder):
    """sub-1 and sub-16 train, sub-2 validates, sub-12 tests: a copy, and a copy of an anatomy under another name."""
    copy = (folder / "masks/sub-1_mask.nii.gz").read_bytes()
    (folder / "masks/sub-2_mask.nii.gz").write_bytes(copy)
    for number in (1, 2, 3):
        (folder / f"heads/head_{number}.nii.gz").write_bytes((folder / "heads/head_0.nii.gz").read_bytes())
    inputs = inputs_of(request_of(folder), *found_in(request_of(folder)))
    with pytest.raises(CohortError) as error:
        refuse_leaks(inputs)
    texts = [problem.text for problem in error.value.problems]
    assert len(texts) == 12  # five pairs of heads on two sides and one of masks, by file and by voxels
    assert (
        "lesion sub-1_mask: must share nothing with another side, got the same file in lesion sub-2_mask (validation) "
        "as here (train). Take one of them away."
    ) in texts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "dwi_unet"}, r"METHOD must be one of dwi-unet.*, got 'dwi_unet'"),
        ({"method": "region-net", "profile": "as-paper"}, r"--profile must be one of corrected, got 'as-paper'"),
        ({"profile": "paper"}, r"--profile must be one of corrected, as-paper, got 'paper'"),
        ({"preset": "huge"}, r"--preset must be one of small, tiny with profile corrected, got 'huge'"),
        ({"profile": "as-paper"}, r"--preset must be one of small with profile as-paper, got 'tiny'"),
    ],
)
def test_wrong_usage_ends_before_anything_starts(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message) as error:
        train_network(request_of(tmp_path, **changes), None)
    assert failure_of(error.value).exit_code == EXIT_USAGE
    assert not (tmp_path / "out").exists()


def test_the_papers_profile_is_the_papers_recipe():
    plan = plan_for("as-paper", "small", n_steps=10)
    assert (plan.preset, plan.learning_rate, plan.weight_decay, plan.n_steps) == ("as-paper-small", 1e-2, 0.0, 10)
    assert (plan.false_positive, plan.false_negative) == (0.5, 0.5)  # Tversky with halves is Dice
    assert plan_for("corrected", "small") == Plan()
    request = TrainRequest("dwi-unet", Path("heads"), Path("masks"), RunRequest(Path("heads"), Path("out")))
    assert (request.preset, request.n_steps, request.n_pool, request.seed) == ("small", Plan().n_steps, Plan().pool, 0)
    assert set(METHODS) >= {"dwi-unet"}


@pytest.mark.parametrize(("n_steps", "pool", "n"), [(1, 1500, 100), (101, 1500, 120), (9000, 1500, 1500), (9, 3, 3)])
def test_no_more_patients_are_drawn_than_a_training_sees(n_steps, pool, n):
    """A hundred at the start and .2 a step: 100 + .2 x 100 = 120 at step 100."""
    assert patients_needed(Plan(n_steps=n_steps, pool=pool)) == n


def test_a_pool_is_drawn_in_parts_with_seeds_of_each_side(folder):
    request = request_of(folder, seed=2)
    inputs = inputs_of(request, *found_in(request))
    parts = pool_parts(inputs, Path("pool"), "validation", 19, 2, [Path("a.npz")])
    assert [(part.first, part.n) for part in parts] == [(0, 8), (8, 8), (16, 3)]
    assert {(part.seed, part.folder, part.anatomies) for part in parts} == {
        (7, Path("pool/validation"), (Path("a.npz"),))
    }
    assert [path.name for path, _ in parts[0].lesions] == ["sub-2_mask.nii.gz"]
    assert needed(Plan(pool=1500), 40) == 5
    assert needed(Plan(pool=3), 40) == 1


def test_another_seed_side_or_code_is_another_pool(folder):
    request = request_of(folder)
    inputs = inputs_of(request, *found_in(request))
    digest = pool_digest(request, inputs, "c")
    assert pool_digest(replace(request, n_steps=9, preset="small"), inputs, "c") == digest
    assert pool_digest(replace(request, seed=1), inputs, "c") != digest
    assert pool_digest(request, inputs, "d") != digest
    moved = replace(inputs, placed=(replace(inputs.placed[0], split="test"), *inputs.placed[1:]))
    assert pool_digest(request, moved, "c") != digest


def test_weights_of_another_training_are_not_overwritten(tmp_path):
    request = request_of(tmp_path)
    assert finished_as(request, "digest") is None
    (tmp_path / "out").mkdir()
    (tmp_path / "out/dwi-unet.json").write_text('{"training_digest": "other", "n_judged": 100, "sha256": ""}')
    with pytest.raises(UsageError, match=r"must be empty or hold this training, got dwi-unet\.json of another one"):
        finished_as(request, "digest")
    assert finished_as(request, "other") is None  # the same, but its weights are gone: it is done again


def test_a_gpu_that_is_required_must_be_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert steps.device_of(False) == "cpu"
    assert steps.device_of(True) == "cpu"
    with pytest.raises(ClusterError, match="--gpu require must find a CUDA device that PyTorch can use, got none"):
        steps.device_of(True, True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert (steps.device_of(True), steps.device_of(False)) == ("cuda", "cpu")


def test_an_item_is_all_that_travels(folder):
    (found,) = steps.examine("lesion", [folder / "masks/sub-1_mask.nii.gz"])
    assert isinstance(found.item, Item)
    assert found.fault == ""
