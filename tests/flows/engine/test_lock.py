"""The run lock: one owner, taken over when it is dead, never while it lives."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.engine import lock
from flows.engine.lock import STALE_AFTER_S, LockedError, current_owner, run_lock

HOLD = "import sys, time; from pathlib import Path; from flows.engine.lock import run_lock\n"
HOLD += "with run_lock(Path(sys.argv[1]), 'held by a test'): print('held', flush=True); time.sleep(600)"


def hold(out: Path) -> subprocess.Popen[str]:
    """Hold the lock in another process."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_free_folder_is_locked_and_released(tmp_path: Path) -> None:
    with run_lock(tmp_path / "new", "aspects run") as dead:
        assert dead is None
        owner = json.loads((tmp_path / "new" / ".lock.json").read_text())
        assert (owner["pid"], owner["host"], owner["command"]) == (os.getpid(), socket.gethostname(), "aspects run")
    assert not (tmp_path / "new" / ".lock.json").exists()
    assert current_owner(tmp_path / "new") is None


@pytest.mark.processes
def test_a_living_owner_is_named_and_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    process = hold(tmp_path)
    owner = current_owner(tmp_path)
    assert owner is not None
    assert owner.pid == process.pid
    with (
        pytest.raises(LockedError, match=rf"process {process.pid} on .* \(held by a test\) is at work there"),
        run_lock(tmp_path, "second"),
    ):
        pass
    process.kill()
    process.wait()
    assert current_owner(tmp_path) is None
    with run_lock(tmp_path, "third") as dead:
        assert dead is not None
        assert dead.pid == process.pid


@pytest.mark.parametrize(("age_s", "is_locked"), [(5, True), (STALE_AFTER_S + 5, False)])
def test_another_hosts_heartbeat_counts_while_it_is_fresh(tmp_path: Path, age_s: float, is_locked: bool) -> None:
    path = tmp_path / ".lock.json"
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "started_at": "then", "command": "aspects run"}))
    os.utime(path, (time.time() - age_s,) * 2)
    if is_locked:
        with pytest.raises(LockedError, match="on elsewhere"), run_lock(tmp_path, "here"):
            pass
        assert path.exists()  # the refused run leaves the owner's file
    else:
        with run_lock(tmp_path, "here") as dead:
            assert dead is not None
            assert dead.host == "elsewhere"


def test_a_damaged_owner_file_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".lock.json").write_text('{"pid": 1')
    with run_lock(tmp_path, "here") as dead:
        assert dead is None


def write_owner(path: Path, age_s: float) -> None:
    """Leave the owner file of another host, so old."""
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "started_at": "then", "command": "aspects run"}))
    os.utime(path, (time.time() - age_s,) * 2)


@pytest.mark.parametrize("ahead_s", [10, 3600, 365 * 86400])
def test_a_dead_owner_dated_in_the_future_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    monkeypatch.setattr(lock, "WATCH_S", 1.0)
    write_owner(tmp_path / ".lock.json", -ahead_s)
    with run_lock(tmp_path, "here") as dead:
        assert dead is not None
        assert dead.host == "elsewhere"


def test_a_living_owner_dated_in_the_future_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "WATCH_S", 30.0)
    path = tmp_path / ".lock.json"
    write_owner(path, -3600)
    sleep = time.sleep

    def beat(seconds: float) -> None:
        os.utime(path, (path.stat().st_mtime + 10,) * 2)
        sleep(min(seconds, 0.01))

    monkeypatch.setattr(lock.time, "sleep", beat)
    with pytest.raises(LockedError, match="on elsewhere") as caught, run_lock(tmp_path, "here"):
        pass
    assert caught.value.owner is not None
    assert caught.value.owner.host == "elsewhere"


def test_ages_go_by_the_clock_of_the_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_owner(tmp_path / ".lock.json", STALE_AFTER_S + 30)
    monkeypatch.setattr(lock.time, "time", lambda: 0.0)  # this host's clock stands at 1970
    with run_lock(tmp_path, "here") as dead:
        assert dead is not None


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL])
def test_on_a_share_without_locks_the_heartbeat_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / ".lock.json"
    write_owner(path, 5)
    with pytest.raises(LockedError, match="on elsewhere"), run_lock(tmp_path, "here"):
        pass
    write_owner(path, STALE_AFTER_S + 5)
    with run_lock(tmp_path, "first"):
        assert current_owner(tmp_path) is not None
        with pytest.raises(LockedError, match=rf"process {os.getpid()} on"), run_lock(tmp_path, "second"):
            pass
    with run_lock(tmp_path, "third") as dead:
        assert dead is None


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[]", b'{"pid": 1}', b"\xff"])
def test_any_damaged_owner_file_does_not_matter(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".lock.json").write_bytes(content)
    assert current_owner(tmp_path) is None
    with run_lock(tmp_path, "here") as dead:
        assert dead is None
