"""What a file system may lack is found by trying, and is done without where that is possible."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cohorts.store import share
from cohorts.store.records import write_bytes
from cohorts.store.share import LONGEST_NAME, Share, probe, rename


def refuse(number):
    """A system call that the file system answers with this error."""

    def call(*_, **__):
        raise OSError(number, os.strerror(number))

    return call


def test_a_usual_disk_offers_everything_and_keeps_nothing_of_the_probe(tmp_path):
    assert probe(tmp_path) == Share(has_links=True, is_case_sensitive=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_share_without_links_is_told(tmp_path, monkeypatch, number):
    monkeypatch.setattr(Path, "symlink_to", refuse(number))
    assert probe(tmp_path) == Share(has_links=False, is_case_sensitive=True)


def test_a_share_that_renames_over_nothing_is_told_what_it_lacks(tmp_path, monkeypatch):
    plain = Path.replace

    def replace(source, target):
        if Path(target).exists():
            raise FileExistsError(errno.EEXIST, "File exists")
        return plain(source, target)

    monkeypatch.setattr(Path, "replace", replace)
    assert probe(tmp_path).lacks == ("files renamed over another one",)
    assert not list(tmp_path.iterdir())


def test_short_names_and_one_case_are_told(tmp_path, monkeypatch):
    plain_touch, plain_exists = Path.touch, Path.exists

    def touch(path, **options):
        if len(path.name) > 100:
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        plain_touch(path.with_name(path.name.lower()), **options)

    monkeypatch.setattr(Path, "touch", touch)
    monkeypatch.setattr(Path, "exists", lambda path: plain_exists(path.with_name(path.name.lower())))
    assert probe(tmp_path) == Share(True, is_case_sensitive=False, lacks=(f"names of {LONGEST_NAME} bytes",))


def test_a_full_disk_is_no_missing_feature(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "touch", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        probe(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_is_written_where_nothing_can_be_made_durable(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", refuse(number))
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_to_keep_a_file_is_an_error(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", refuse(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        write_bytes(tmp_path / "a", b"new")


@pytest.mark.parametrize("number", [errno.EBUSY, errno.ETXTBSY, errno.EACCES])
def test_a_file_held_open_by_another_program_is_replaced_when_it_lets_go(tmp_path, monkeypatch, number):
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new")
    plain, pauses = Path.replace, []
    monkeypatch.setattr(Path, "replace", lambda *names: plain(*names) if len(pauses) == 3 else refuse(number)())
    monkeypatch.setattr(share.time, "sleep", pauses.append)
    rename(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"new"
    assert pauses == [0.1, 0.2, 0.4]


def test_no_temporary_name_is_longer_than_a_short_limit(tmp_path, monkeypatch):
    names = []
    plain = Path.replace
    monkeypatch.setattr(Path, "replace", lambda source, target: names.append(source.name) or plain(source, target))
    write_bytes(tmp_path / ("n" * LONGEST_NAME), b"x")
    assert [len(name) for name in names] == [LONGEST_NAME]
