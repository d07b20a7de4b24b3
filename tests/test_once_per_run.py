"""What is kept for a run comes back as it was made, once, and cannot be written to."""

from __future__ import annotations

import subprocess
import sys
from collections import namedtuple
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests import once_per_run as kept
from tests.once_per_run import once_per_run

Pair = namedtuple("Pair", ["one", "other"])


@dataclass(frozen=True, eq=False)
class Truth:
    values: np.ndarray
    names: tuple[str, ...]
    seen: list = field(default_factory=list, init=False)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "FOLDER", tmp_path)
    return tmp_path


def test_every_part_of_a_phantom_comes_back():
    @once_per_run
    def phantom(scale, name="a"):
        values = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1) * scale
        return Pair(Truth(values, (name, "b")), {"x": [np.array([True, False]), None, 2, 0.5, np.float64(3)]})

    found = phantom(2, name="c")
    assert type(found) is Pair
    assert (found.one.names, found.one.values.dtype, found.one.values.flags.f_contiguous) == (("c", "b"), "f4", False)
    np.testing.assert_array_equal(found.one.values[3, 1], [30, 38, 46])  # 2 * (12 + 4 k + 3)
    np.testing.assert_array_equal(found.other["x"][0], [True, False])
    assert found.other["x"][1:] == [None, 2, 0.5, 3.0]
    assert phantom(3).one.values[3, 1, 2] == 69


def test_it_is_made_once_and_nobody_writes_to_it(folder):
    calls = []

    def phantom():
        calls.append(1)
        return np.zeros(3)

    first, second = once_per_run(phantom), once_per_run(phantom)  # as two workers have it
    first()
    with pytest.raises(ValueError, match="read-only"):
        second()[0] = 1
    assert calls == [1]
    assert not list(folder.rglob("*.pkl"))


def test_outside_a_run_it_is_made_once_per_process(monkeypatch):
    monkeypatch.setattr(kept, "FOLDER", None)
    phantom = once_per_run(lambda: object())
    assert phantom() is phantom()


def test_a_thing_that_is_no_plain_value_is_refused():
    with pytest.raises(TypeError, match="must be of arrays, dataclasses and plain values, got <class 'object'>"):
        once_per_run(lambda: object())()


SLOW_MAKER = """\
import sys, time
from pathlib import Path
import numpy as np
from tests import once_per_run as kept
kept.FOLDER = Path(sys.argv[1])
def phantom():
    (kept.FOLDER / f"made-{time.monotonic_ns()}").touch()
    time.sleep(0.5)
    return np.ones(5)
print(kept.once_per_run(phantom)().sum())
"""


@pytest.mark.processes
def test_two_workers_at_once_make_it_once(folder):
    command = [sys.executable, "-c", SLOW_MAKER, str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [one.communicate(timeout=60)[0] for one in both] == ["5.0\n", "5.0\n"]
    assert len(list(folder.glob("made-*"))) == 1
