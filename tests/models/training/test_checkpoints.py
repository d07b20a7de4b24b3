"""What a training keeps on the way: after a kill in the middle of a write it goes on, or says what to delete."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch

from models.training.anatomies import load_anatomy, save_anatomy
from models.training.checkpoints import CHECKPOINT, LOG, Learner, keep_checkpoint, log_row, read_log, resumed
from models.training.kept import BrokenFileError
from models.training.pool import is_whole, patient_of, read_patient, write_patient
from tests.models.training.tiny_anatomy import tiny_anatomy

ROWS = [{"step": 50, "loss": 1.5}, {"step": 100, "loss": 1.25}, {"step": 100, "dice": 0.5}]


def learner_of(n=2):
    network = torch.nn.Linear(n, 1)
    averaged = {name: value.detach().clone() for name, value in network.state_dict().items()}
    return Learner(network, torch.optim.AdamW(network.parameters()), averaged)


@pytest.mark.parametrize(
    "left",
    [
        b'{"step": 150, "lo',
        b"{",
        b'{"step": 150, "loss": 1.0',
        b"\x00\x00\x00",
        b'{"st\xc3',
        b"[]\n",
        b'{"loss": 2}\n',
        b"\n",
    ],
)
def test_a_line_that_a_kill_left_is_passed_over_and_the_next_is_a_line_of_its_own(tmp_path, left):
    for row in ROWS:
        log_row(tmp_path, row)
    with (tmp_path / LOG).open("ab") as file:
        file.write(left)
    assert list(read_log(tmp_path)) == [ROWS[0], ROWS[2], ROWS[1]]
    log_row(tmp_path, {"step": 150, "loss": 1.125})
    assert list(read_log(tmp_path)) == [ROWS[0], ROWS[2], ROWS[1], {"step": 150, "loss": 1.125}]
    assert json.loads((tmp_path / LOG).read_bytes().splitlines()[-1]) == {"step": 150, "loss": 1.125}


def test_a_checkpoint_is_gone_on_from(tmp_path):
    kept = learner_of()
    kept.averaged["bias"] += 3
    keep_checkpoint(tmp_path, kept, 7, 2.5, {"seed": 1})
    (tmp_path / ".tmp-0123-checkpoint.pt").write_bytes(b"of a kill")
    found = learner_of()
    assert resumed(tmp_path, found, {"seed": 1}) == (7, 2.5)
    torch.testing.assert_close(found.network.state_dict(), kept.network.state_dict())
    torch.testing.assert_close(found.averaged, kept.averaged)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    with pytest.raises(ValueError, match="must be of the same plan, got another"):
        resumed(tmp_path, learner_of(), {"seed": 2})


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    keep_checkpoint(tmp_path, learner_of(), 1, 0.0, {})

    def fill_the_disk(_state, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        keep_checkpoint(tmp_path, learner_of(), 2, 0.0, {})
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    assert resumed(tmp_path, learner_of(), {}) == (1, 0.0)


def _saved(state):
    return lambda path: torch.save(state, path)


def _whole():
    one = learner_of()
    parts = {"network": one.network.state_dict(), "optimiser": one.optimiser.state_dict(), "averaged": one.averaged}
    return {**parts, "step": 1, "seconds": 0.0, "plan": "{}"}


BROKEN = {
    "empty": lambda path: path.write_bytes(b""),
    "begins as an archive": lambda path: path.write_bytes(b"PK\x03\x04 broken"),
    "text": lambda path: path.write_text("no checkpoint"),
    "another pickle": lambda path: path.write_bytes(pickle.dumps({"a": np.zeros(3)}, protocol=2)),
    "no dictionary": _saved([1, 2]),
    "no weights": _saved({"plan": "{}"}),
    "no plan": _saved({key: one for key, one in _whole().items() if key != "plan"}),
    "a plan that is no JSON": _saved({**_whole(), "plan": "{"}),
    "weights of another network": _saved({**_whole(), "network": learner_of(3).network.state_dict()}),
    "no average": _saved({**_whole(), "averaged": {}}),
    "no optimiser": _saved({**_whole(), "optimiser": {}}),
}


@pytest.mark.parametrize("kind", [*BROKEN, "cut short"])
def test_a_broken_checkpoint_says_which_file_to_delete(tmp_path, kind):
    path = tmp_path / CHECKPOINT
    if kind == "cut short":
        keep_checkpoint(tmp_path, learner_of(), 1, 0.0, {})
        path.write_bytes(path.read_bytes()[:-100])
    else:
        BROKEN[kind](path)
    with pytest.raises(BrokenFileError) as error:
        resumed(tmp_path, learner_of(), {})
    text = str(error.value)
    assert text.startswith(f"{path} must be the checkpoint of a training, got a broken file (")
    assert text.endswith("). Delete it and run again: the training begins anew.")
    assert len(text.splitlines()) == 1


def _patient(path):
    brain = np.ones((4, 5, 6), bool)
    write_patient(patient_of(np.ones(brain.shape, np.float32), None, brain, ~brain), path)


KEPT = {
    "a patient to train on": (_patient, read_patient),
    "a prepared anatomy": (lambda path: save_anatomy(tiny_anatomy(), path), load_anatomy),
}
HARM = {
    "empty": lambda _: b"",
    "two bytes": lambda content: content[:2],
    "half": lambda content: content[: len(content) // 2],
    "without its end": lambda content: content[:-30],
    "flipped bytes": lambda content: content[:200] + bytes(one ^ 0xFF for one in content[200:300]) + content[300:],
    "text": lambda _: b"no archive",
}


@pytest.mark.parametrize("harm", list(HARM))
@pytest.mark.parametrize("what", list(KEPT))
def test_a_broken_file_that_was_kept_says_which_to_delete(tmp_path, what, harm):
    write, read = KEPT[what]
    path = tmp_path / "kept.npz"
    write(path)
    read(path)
    assert [one.name for one in tmp_path.iterdir()] == ["kept.npz"]
    path.write_bytes(HARM[harm](path.read_bytes()))
    with pytest.raises(BrokenFileError) as error:
        read(path)
    assert str(error.value).startswith(f"{path} must be {what}, got a broken file (")
    assert str(error.value).endswith("). Delete it and run again: it is made anew.")


def test_an_array_in_the_place_of_an_archive_is_named(tmp_path):
    with (tmp_path / "kept.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(BrokenFileError, match="must be a patient to train on, got a broken file"):
        read_patient(tmp_path / "kept.npz")


def test_a_file_that_is_missing_is_not_called_broken(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_patient(tmp_path / "kept.npz")
    assert not is_whole(tmp_path / "kept.npz")
    _patient(tmp_path / "kept.npz")
    assert is_whole(tmp_path / "kept.npz")
    (tmp_path / "kept.npz").write_bytes((tmp_path / "kept.npz").read_bytes()[:-30])
    assert not is_whole(tmp_path / "kept.npz")
