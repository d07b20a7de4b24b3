"""The digest cache never answers for a file that may have changed."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from cohorts.store import hashing
from cohorts.store.hashing import HashCache, file_sha256


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were really read."""
    names = []
    original = hashing.file_sha256
    monkeypatch.setattr(hashing, "file_sha256", lambda path: names.append(path.name) or original(path))
    return names


@pytest.fixture
def later(monkeypatch):
    """The clock, an hour on: files just written count as settled."""
    now = time.time_ns
    monkeypatch.setattr(hashing.time, "time_ns", lambda: now() + 3600 * 10**9)


def _write(path, content):
    path.write_bytes(content)
    return path


def _cached(tmp_path, *paths):
    cache = HashCache(tmp_path / "work" / "hashes.json")
    digests = cache.sha256_of(paths)
    cache.save()
    return digests


@pytest.mark.usefixtures("later")
def test_an_unchanged_file_is_read_once_for_all_runs(tmp_path, reads):
    a, b = _write(tmp_path / "a", b"first"), _write(tmp_path / "b", b"second")
    expected = {a: _sha256(b"first"), b: _sha256(b"second")}
    assert _cached(tmp_path, a, b) == expected
    assert _cached(tmp_path, a, b) == expected
    assert sorted(reads) == ["a", "b"]


@pytest.mark.usefixtures("later")
def test_a_change_that_keeps_size_and_modification_time_is_seen(tmp_path, reads):
    path = _write(tmp_path / "a", b"first")
    stamp = path.stat().st_mtime_ns
    _cached(tmp_path, path)
    path.write_bytes(b"FIRST")
    os.utime(path, ns=(stamp, stamp))
    assert _cached(tmp_path, path) == {path: _sha256(b"FIRST")}
    assert reads == ["a", "a"]


@pytest.mark.usefixtures("later")
def test_a_file_replaced_by_another_inode_is_read_again(tmp_path, reads):
    path = _write(tmp_path / "a", b"first")
    _cached(tmp_path, path)
    other = _write(tmp_path / "b", b"other")
    stamp = path.stat().st_mtime_ns
    os.utime(other, ns=(stamp, stamp))
    other.replace(path)
    assert _cached(tmp_path, path) == {path: _sha256(b"other")}
    assert reads == ["a", "a"]


def test_a_file_of_the_last_two_seconds_is_not_remembered(tmp_path, reads):
    path = _write(tmp_path / "a", b"first")
    _cached(tmp_path, path)
    _cached(tmp_path, path)
    assert reads == ["a", "a"]


@pytest.mark.usefixtures("later")
def test_a_modification_time_in_the_future_is_not_remembered(tmp_path, reads):
    path = _write(tmp_path / "a", b"first")
    ahead = time.time_ns() + 7200 * 10**9
    os.utime(path, ns=(ahead, ahead))
    _cached(tmp_path, path)
    _cached(tmp_path, path)
    assert reads == ["a", "a"]


def test_files_that_cannot_be_read_are_left_out(tmp_path):
    (tmp_path / "folder").mkdir()
    a = _write(tmp_path / "a", b"")
    assert _cached(tmp_path, tmp_path / "missing", a, tmp_path / "folder") == {a: _sha256(b"")}


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b'{"a": 1}', b'{"a": []}', b'{"a": {}}', b'{"a": null}', b'{"a": ["x"]}', b"\xff"],
)
def test_a_damaged_cache_is_an_empty_one(tmp_path, content, reads):
    path = _write(tmp_path / "a", b"first")
    _cached(tmp_path, path)
    (tmp_path / "work" / "hashes.json").write_bytes(content)
    assert _cached(tmp_path, path) == {path: _sha256(b"first")}
    assert reads == ["a", "a"]


@pytest.mark.usefixtures("later")
def test_a_fresh_look_reads_everything_and_only_what_is_wanted_is_kept(tmp_path, reads):
    a, b = _write(tmp_path / "a", b"first"), _write(tmp_path / "b", b"second")
    _cached(tmp_path, a, b)
    cache = HashCache(tmp_path / "work" / "hashes.json")
    assert cache.sha256_of([a], is_fresh=True) == {a: _sha256(b"first")}
    cache.save(only=[a])
    assert _cached(tmp_path, a, b) == {a: _sha256(b"first"), b: _sha256(b"second")}
    assert sorted(reads) == ["a", "a", "b", "b"]


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert _cached(tmp_path, tmp_path / "pipe") == {}


def test_file_digest(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert file_sha256(path) == hashlib.sha256(b"abc").hexdigest()
