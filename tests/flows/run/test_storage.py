"""What a run needs of its folders is tried first; an error says which folder it concerns, and no other cause."""

from __future__ import annotations

import errno
import os
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from cohorts.folder.manifest import CohortError
from cohorts.store.share import Share
from flows.commands.failures import failure_of
from flows.engine.lock import LockedError
from flows.run import storage
from flows.run.steps import StorageFailedError
from flows.run.storage import PythonFailedError, check_share, storage_failures

Usage = namedtuple("Usage", "total used free")


def plan_of(*participants):
    """As much of a plan as names participants."""
    table = pd.DataFrame({"participant_id": list(participants)})
    return SimpleNamespace(cohort=SimpleNamespace(participants=table), cases={})


def raised(tmp_path, error):
    """What an error inside a run becomes."""
    with pytest.raises(Exception) as caught, storage_failures(tmp_path / "out", tmp_path / "work"):  # noqa: PT011
        raise error
    return caught.value


def on(path, number):
    return OSError(number, os.strerror(number), str(path))


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO, errno.ENOTDIR, errno.ENAMETOOLONG]
)
@pytest.mark.parametrize("place", ["out", "out/records/sub-01/x.json", "work/prefect/prefect.db"])
def test_an_error_of_a_folder_that_is_written_is_one_of_storage(tmp_path, place, number):
    error = raised(tmp_path, on(tmp_path / place, number))
    assert isinstance(error, StorageFailedError)
    assert str(error).startswith(f"{tmp_path / place} must be writable, got: {os.strerror(number)}.")
    assert ("Free space" in str(error)) == (number == errno.ENOSPC)
    assert failure_of(error).exit_code == 74


def test_a_folder_given_by_a_link_is_known_by_its_real_place_too(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    assert isinstance(raised(tmp_path, on(tmp_path / "real" / "records", errno.EACCES)), StorageFailedError)


def test_a_parent_that_forbids_the_folder_is_named(tmp_path):
    error = raised(tmp_path, on(tmp_path, errno.EACCES))
    assert str(error) == (
        f"{tmp_path} must be writable, got: Permission denied. Fix its permissions or choose another folder, "
        "then run again; what is committed stays."
    )


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT, errno.ENOEXEC, errno.ENOMEM])
def test_python_that_cannot_start_is_no_full_disk(tmp_path, number):
    error = raised(tmp_path, on(sys.executable, number))
    assert isinstance(error, PythonFailedError)
    failure = failure_of(error)
    assert (failure.exit_code, "Free space" in failure.text) == (70, False)
    assert failure.text.startswith(f"Stopped: Python must start, got: {os.strerror(number)} ({sys.executable}).")


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT])
def test_an_error_of_another_file_stays_what_it_is(tmp_path, number):
    error = on("/somewhere/else", number)
    assert raised(tmp_path, error) is error
    assert "Free space" not in failure_of(error).text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS])
def test_an_error_without_a_name_is_told_by_its_kind(tmp_path, number):
    assert isinstance(raised(tmp_path, OSError(number, os.strerror(number))), StorageFailedError)


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.ETIMEDOUT])
def test_a_broken_connection_is_none_of_storage(tmp_path, number):
    error = OSError(number, os.strerror(number))
    assert raised(tmp_path, error) is error


@pytest.mark.parametrize("full", ["out", "work"])
def test_whatever_fails_on_a_full_disk_is_told_as_that(tmp_path, monkeypatch, full):
    monkeypatch.setattr(
        storage.shutil, "disk_usage", lambda path: Usage(10**9, 0, 0 if Path(path).name == full else 10**9)
    )
    error = raised(tmp_path, RuntimeError("database or disk is full"))
    assert str(error).startswith(f"{tmp_path / full} must have room, got a full disk. Free space")
    for known in (CohortError([]), LockedError("busy")):
        assert raised(tmp_path, known) is known


@pytest.mark.parametrize("small", ["out", "work"])
def test_a_run_does_not_begin_without_room(tmp_path, monkeypatch, small):
    monkeypatch.setattr(
        storage.shutil, "disk_usage", lambda path: Usage(10**9, 0, 2**20 if Path(path).name == small else 10**9)
    )
    with pytest.raises(StorageFailedError, match=rf"{small} must have 100 MiB free, got 1 MiB\. Free space or"):
        check_share(tmp_path / "out", tmp_path / "work", plan_of())


def test_a_share_that_lacks_what_is_needed_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "probe", lambda folder: Share(True, True, ("folders renamed",)))
    with pytest.raises(StorageFailedError, match=r"must allow folders renamed, got a refusal\. Choose a folder on"):
        check_share(tmp_path / "out", tmp_path / "work", plan_of())


def test_participants_that_differ_in_case_need_a_disk_that_tells_case(tmp_path, monkeypatch):
    check_share(tmp_path / "out", tmp_path / "work", plan_of("sub-a", "sub-A"))
    monkeypatch.setattr(storage, "probe", lambda folder: Share(True, False))
    check_share(tmp_path / "out", tmp_path / "work", plan_of("sub-a", "sub-b"))
    with pytest.raises(StorageFailedError, match="must differ in more than case, got sub-A and sub-a"):
        check_share(tmp_path / "out", tmp_path / "work", plan_of("sub-a", "sub-A", "sub-b"))
