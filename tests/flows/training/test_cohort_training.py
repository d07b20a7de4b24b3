"""Training on a site's own scans: killed, it goes on to the same weights; what is published names nobody."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.training.dwi import DWI_TASK
from models.training.methods import plan_for, with_cohort
from models.training.splits import read_splits
from models.training.trainer import train
from models.weights import find_weights
from tests.flows.conftest import forker
from tests.flows.training.tiny_cohort import LICENCE, PATIENTS, write_tiny_cohort

pytestmark = [pytest.mark.slow, pytest.mark.processes]
LIMIT_S = 900
STEPS = ("--steps", "2", "--seed", "4")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Killed once the network trains, and run to its end: cohort, output folder and what was printed."""
    folder = tmp_path_factory.mktemp("own")
    tiny = write_tiny_cohort(folder / "cohort")
    tiny.write_patient("sub-5", like="sub-1", dwi_lesion=None)
    out = folder / "out"
    command = [sys.executable, "-m", "flows", *tiny.arguments(out, *STEPS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until = time.monotonic() + LIMIT_S
    while not list(out.glob("work/training-*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done = forker().run(command[3:], dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    return tiny, out, done.stdout + done.stderr


def test_a_killed_command_goes_on_to_the_same_weights(trained, tmp_path):
    """As the training by itself on the same patients comes to."""
    _, out, printed = trained
    assert "Taking over from process" in printed
    sides = read_splits(out / "work/splits.tsv")
    assert sides == {("patient", one): side for one, side in _SIDES.items()}
    told = [json.loads(path.read_bytes()) for path in (out / "work/patients").glob("*.json")]
    kept = {one["participant"]: one["kept"] for one in told}
    ordered = [Path(kept[one]) for one in ("sub-1", "sub-4", "sub-10")]  # those with a lesion first
    plan = with_cohort(plan_for("corrected", "tiny", n_steps=2, seed=4), 1.0)
    alone = train(DWI_TASK, None, tmp_path, plan, cohort=ordered)
    assert find_weights("dwi-unet", out).sha256 == hashlib.sha256(alone.read_bytes()).hexdigest()


_SIDES = {
    "sub-1": "train", "sub-4": "train", "sub-10": "train", "sub-2": "validation", "sub-3": "validation",
    "sub-12": "test", "sub-22": "test",
}  # fmt: skip


def test_the_folder_of_the_weights_names_no_patient_and_no_place(trained):
    tiny, out, printed = trained
    assert {path.name for path in out.iterdir()} == {
        ".lock",
        "dwi-unet.json",
        "dwi-unet.safetensors",
        "report.html",
        "work",
    }
    card = json.loads((out / "dwi-unet.json").read_text())
    (cohort,) = card["data"]
    assert (cohort["kind"], cohort["n"]) == ("cohort", {"train": 3, "validation": 2, "test": 2})
    assert cohort["licences"][0]["title"] == LICENCE
    assert card["has_patient_images"] is True
    for name in ("dwi-unet.json", "report.html"):
        text = (out / name).read_text()
        assert not [one for one in PATIENTS if f"{one}<" in text or f'{one}"' in text or f"{one}_" in text]
        assert str(tiny.folder) not in text
        assert LICENCE in text
    assert "1 mask_missing" in printed
    assert f"{out / 'work'} holds patients' images" in printed
    assert (out / "work/excluded.tsv").read_text().splitlines()[1].startswith("sub-5\tmask_missing\t")
