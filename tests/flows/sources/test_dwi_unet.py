"""``dwi_unet``: what the shipped weights say of real scans, and what a record keeps of the network."""

import json

import nibabel as nib
import numpy as np
import pytest

from flows.cases.case import SharedWork, StepSettings
from flows.run import steps
from flows.sources.dwi_unet import DwiUnetSource
from models.inference import loaded
from models.weights import FOLDER, find_weights
from tasks.diffusion.adc import adc_on_grid
from tasks.overlay import STORED_STEPS
from tasks.segmentation import CLASSES, N_DWI_CHANNELS
from tasks.space.affines import voxel_volume_mm3
from tasks.space.resample import Grid
from tests.benchmarks.accuracy_baselines_dwi import SCANS, dice, prepare, read
from tests.benchmarks.accuracy_dwi_unet import asked
from tests.benchmarks.bench_patient import DWI, MAPS, case_of

ISLES_9, ISLES_1, JHU_2 = SCANS
#: Dice with the manual mask of 18 small parts; ``dwi_threshold`` reaches .512.
LEAST_DICE = 0.6
#: Found where there is next to nothing; the target is 1 ml.
MOST_FALSE_ML = 6.0


@pytest.fixture(scope="module")
def source():
    return DwiUnetSource.model_validate({"name": "unet", "kind": "dwi_unet"})


def test_the_flip_is_a_setting_of_the_measurement(source):
    without = DwiUnetSource.model_validate({"name": "unet", "kind": "dwi_unet", "flip": False})
    assert (source.flip, source.settings["flip"], without.settings["flip"]) == (True, True, False)
    digests = {StepSettings(one.kind, (), one.settings).sha256 for one in (source, without)}
    assert len(digests) == 2


@pytest.fixture(scope="module")
def drawn(real_data, tmp_path_factory):
    """Probabilities that the source writes of ISLES 9, with and without the flip."""
    files = {name: real_data / DWI["isles9"].format(name) for name in ("dwi", "adc")}
    found, shared = {}, SharedWork()
    for flip in (True, False):
        source = DwiUnetSource.model_validate({"name": "unet", "kind": "dwi_unet", "flip": flip})
        settings, out = StepSettings(source.kind, MAPS, source.settings), tmp_path_factory.mktemp("drawn")
        record = steps.run_case(case_of("sub-p", source.step, files), settings, out, shared)
        assert record.status == "ok"
        (path,) = out.rglob("*_label-lesion_probseg.nii.gz")
        found[flip] = np.asarray(nib.load(path).dataobj)
    return found


@pytest.mark.real_data
@pytest.mark.slow
def test_the_flip_changes_what_is_drawn(drawn):
    difference = np.abs(drawn[True] - drawn[False])
    assert 0.05 < difference.max() < 1
    assert (difference > 0.05).mean() < 0.02


@pytest.fixture(scope="module")
def card():
    return json.loads((FOLDER / "dwi-unet.json").read_text("utf-8"))


def test_the_line_is_drawn_where_validation_patients_put_it(source, card):
    point = card["operating_point"]
    assert (source.threshold, source.threshold_without_adc) == (point["threshold"], point["threshold_fewer"])
    for one in (source.threshold, source.threshold_without_adc):
        assert round(one * STORED_STEPS, 9) == round(one * STORED_STEPS)


def test_the_card_names_what_stands_behind_the_weights(card):
    assert (card["state"], card["is_trained"]) == ("trained-here", True)
    anatomies, lesions = card["data"]
    assert anatomies["n"] == {"train": 10, "validation": 2, "test": 4}
    assert sum(lesions["n"].values()) == 1022
    assert all(one["licences"][0]["title"] for one in card["data"])
    assert (FOLDER / "dwi-unet.safetensors").stat().st_size < 8_000_000


def _found_ml(scan, data, source):
    prepared, image = prepare(read(data / scan.dwi, "dwi")), read(data / scan.adc, "adc")
    grid = Grid(prepared.dwi.values.shape, prepared.dwi.affine)
    adc = adc_on_grid(prepared.dwi.values, grid, prepared.brain, stored=(image.values, image.affine)).values
    assert adc is not None
    network = loaded(find_weights(source.network), "small", N_DWI_CHANNELS, len(CLASSES))
    mask = asked(prepared, adc, network)[0] >= source.threshold
    return float(mask.sum()) * voxel_volume_mm3(prepared.dwi.affine) / 1000


@pytest.mark.real_data
@pytest.mark.slow
def test_scattered_small_infarcts_are_found_better_than_by_thresholds(real_data, source, drawn):
    mask = np.rint(drawn[True] * STORED_STEPS) >= round(source.threshold * STORED_STEPS)  # as the source draws it
    truth = np.asarray(nib.load(real_data / ISLES_9.manual).dataobj) > 0.5
    assert dice(mask, truth) >= LEAST_DICE


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("scan", [ISLES_1, JHU_2], ids=lambda scan: scan.name)
def test_where_there_is_next_to_nothing_little_is_found(scan, real_data, source):
    assert _found_ml(scan, real_data, source) < MOST_FALSE_ML
