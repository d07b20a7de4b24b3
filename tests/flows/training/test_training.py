"""The command: killed in the middle of a training it goes on to the same weights; done, it does nothing."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from models.training.dwi import DWI_TASK
from models.training.methods import plan_for
from models.training.splits import read_splits
from models.training.trainer import train
from models.weights import find_weights
from tests.flows.conftest import forker
from tests.flows.training.tiny_training import keep_prepared, write_tiny_training

pytestmark = [pytest.mark.slow, pytest.mark.processes]
LIMIT_S = 900
OPTIONS = ("--steps", "3", "--seed", "4")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Killed once the network trains, run to its end, and run again: input, output folder and what was printed."""
    tiny = write_tiny_training(tmp_path_factory.mktemp("training"))
    out = tiny.folder / "out"
    keep_prepared(tiny, out / "work")
    command = [sys.executable, "-m", "flows", *tiny.arguments(out, *OPTIONS)]
    printed = []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until = time.monotonic() + LIMIT_S
    while not list(out.glob("work/pool-*/test/*.npz")):  # they are drawn while the network trains
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    printed.append(process.communicate()[0])
    for again in (
        lambda: subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False),
        lambda: forker().run(command[3:], dict(os.environ)),
    ):
        done = again()
        printed.append(done.stdout + done.stderr)
        assert done.returncode == 0, printed[-1]
    return tiny, out, printed


def test_a_killed_command_goes_on_to_the_same_weights(trained, tmp_path):
    """As the training by itself on the same pool comes to."""
    _, out, printed = trained
    assert "Taking over from process" in printed[1]
    (pool,) = out.glob("work/pool-*")
    plan = plan_for("corrected", "tiny", n_steps=3, pool=3, seed=4)
    alone = train(DWI_TASK, pool / "train", tmp_path, plan)
    found = find_weights("dwi-unet", out)
    assert found.sha256 == hashlib.sha256(alone.read_bytes()).hexdigest()
    assert found.state == "trained-here"


def test_a_finished_training_is_left_alone(trained):
    assert "Nothing changed since the weights were trained: nothing was done." in trained[2][2]


def test_what_is_published(trained):
    tiny, out, printed = trained
    sides = read_splits(out / "splits.tsv")
    assert sides["lesion", "sub-12_mask"] == "test"
    assert len(sides) == 8
    card = json.loads((out / "dwi-unet.json").read_text())
    assert (card["n_steps"], card["seed"], card["preset"], card["device"]) == (3, 4, "tiny", "cpu")
    assert card["data"][0]["licences"][0]["title"] == "Made by a program, No rights reserved"
    assert {row["split"] for row in card["metrics"]} == {"validation", "test"}
    assert str(tiny.folder) not in json.dumps(card)
    page = (out / "report.html").read_text()
    assert "nothing lies on two sides" in page
    assert page.count("<svg") == 1
    assert str(tiny.folder) not in page
    assert "4 anatomies and 4 lesions divided; nothing lies on two sides." in printed[1]
