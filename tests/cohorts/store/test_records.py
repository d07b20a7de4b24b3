"""Commit records: whole or not there, whatever happens between the first byte and the rename."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cohorts.store.findings import Findings, RegionCounts
from cohorts.store.records import (
    Record,
    StepKey,
    atomic_writer,
    commit,
    digest_of,
    earlier_keys,
    is_complete,
    is_damaged,
    load,
    record_path,
    remove_leftovers,
    write_bytes,
)
from tasks.lesion import LesionMeasures

FOUND = Findings(
    lesion=LesionMeasures(3, 0.1 + 0.2, 1, 4.5, 0.3, 0.0, "left"),
    counts={"map": RegionCounts(labels=(1, 2), n_region=(7, 9), n_lesion=(3, 0), coverage=(1.0, 0.5))},
)
KEY = StepKey(step="measure-lesion", code="measure/1", input_sha256="a" * 64, settings_sha256="b" * 64)
RECORD = Record(
    participant_id="sub-01",
    key=KEY,
    status="ok",
    reason=None,
    detail=None,
    payload=FOUND,
    outputs=({"path": "masks/sub-01.nii.gz", "size_bytes": 3},),
    seconds=0.25,
    finished_at="2026-01-01T00:00:00.000+00:00",
)


class _KilledError(BaseException):
    """Stands for a process that ends here."""


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_committed_record_comes_back_as_it_was(tmp_path):
    path = commit(tmp_path, RECORD)
    assert path == record_path(tmp_path, "sub-01", KEY)
    assert path == tmp_path / "records" / "sub-01" / f"measure-lesion-{KEY.digest[:20]}.json"
    assert load(path) == RECORD
    assert _names(path.parent) == [path.name]


def test_committing_twice_changes_nothing(tmp_path):
    path = commit(tmp_path, RECORD)
    content = path.read_bytes()
    assert commit(tmp_path, RECORD).read_bytes() == content
    assert _names(path.parent) == [path.name]


@pytest.mark.parametrize(
    ("field", "cause"),
    [("input_sha256", "input"), ("settings_sha256", "settings"), ("weights_sha256", "weights"), ("code", "code")],
)
def test_each_of_the_four_changes_the_address_and_is_named(field, cause):
    other = replace(KEY, **{field: "c" * 64})
    assert other.digest != KEY.digest
    assert other.causes_against(KEY) == (cause,)
    assert KEY.causes_against(other) == (cause,)


def test_every_cause_is_named_and_none_for_equal_keys():
    other = StepKey("measure-lesion", "measure/2", "x", "y", "z")
    assert other.causes_against(KEY) == ("input", "settings", "weights", "code")
    assert KEY.causes_against(replace(KEY)) == ()


def test_digest_does_not_depend_on_the_order_of_keys_but_on_every_value():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert len({digest_of(value) for value in ({"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": None}, {"b": 1}, [1], [])}) == 7
    with pytest.raises(ValueError, match="Out of range float"):
        digest_of({"a": float("nan")})


def test_going_back_to_earlier_settings_finds_the_earlier_record(tmp_path):
    commit(tmp_path, RECORD)
    changed = replace(RECORD, key=replace(KEY, settings_sha256="c" * 64), payload=Findings())
    commit(tmp_path, changed)
    assert load(record_path(tmp_path, "sub-01", KEY)) == RECORD
    assert load(record_path(tmp_path, "sub-01", changed.key)) == changed


def test_no_record_is_no_record(tmp_path):
    assert load(tmp_path / "records" / "sub-01" / "measure-lesion-0.json") is None
    assert earlier_keys(tmp_path, "sub-01", "measure-lesion") == []


def _other_digest(content):
    body = json.loads(content)
    body["record"]["payload"]["lesion"]["volume_ml"] = 99.0
    return json.dumps(body).encode()


def _signed(body):
    return json.dumps({"sha256": digest_of(body), "record": body}).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: bytes(len(content)),
        lambda content: b"\xff\xfe" + content,
        _other_digest,
        lambda _: b"[]",
        lambda _: b"null",
        lambda _: b'{"record": {}}',
        lambda _: _signed({"participant_id": "sub-01"}),
        lambda _: _signed([]),
    ],
    ids=[
        "empty",
        "half",
        "cut",
        "zeros",
        "no text",
        "edited",
        "list",
        "null",
        "no digest",
        "other fields",
        "no record",
    ],
)
def test_a_damaged_record_is_none_and_kept_where_it_is_replaced(tmp_path, damage):
    path = commit(tmp_path, RECORD)
    content = damage(path.read_bytes())
    path.write_bytes(content)
    assert load(path) is None
    assert _names(path.parent) == [path.name]  # looking changes nothing
    assert path.read_bytes() == content
    assert is_damaged(tmp_path, "sub-01", KEY)
    assert earlier_keys(tmp_path, "sub-01", "measure-lesion") == []
    failed = replace(RECORD, status="failed", reason="worker_died", payload=Findings(), outputs=())
    commit(tmp_path, failed)
    assert (path.parent / f".damaged-{path.name}").read_bytes() == content
    assert load(path) == failed
    commit(tmp_path, RECORD)
    assert load(path) == RECORD


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_kill_between_the_temporary_file_and_the_rename_leaves_the_old_record(tmp_path, monkeypatch, function):
    path = commit(tmp_path, RECORD)
    changed = replace(RECORD, status="failed", reason="input_changed", payload=Findings())

    def kill(*_, **__):
        raise _KilledError

    with monkeypatch.context() as patched:
        patched.setattr(*((os, "fsync") if function == "fsync" else (Path, "replace")), kill)
        patched.setattr(Path, "unlink", kill)  # a killed process tidies nothing
        with pytest.raises(_KilledError):
            commit(tmp_path, changed)
    leftover = [name for name in _names(path.parent) if name.startswith(".tmp-")]
    assert len(leftover) == 1
    assert load(path) == RECORD
    assert earlier_keys(tmp_path, "sub-01", "measure-lesion") == [(KEY, "ok")]
    commit(tmp_path, changed)
    assert load(path) == changed


def test_a_failed_write_leaves_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "table.tsv"
    write_bytes(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["table.tsv"]


def test_an_exception_of_the_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.tsv"
    write_bytes(path, b"old")

    def write_half():
        with atomic_writer(path) as temporary:
            temporary.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["table.tsv"]


def test_the_content_is_durable_before_its_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    order = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: order.append("fsync") or fsync(number))
    monkeypatch.setattr(Path, "replace", lambda path, target: order.append("rename") or rename(path, target))
    write_bytes(tmp_path / "a", b"new")
    assert order == ["fsync", "rename", "fsync"]


def test_earlier_keys_are_those_of_every_address_the_newest_first(tmp_path):
    for age, settings in ((30, "c"), (10, "d"), (20, "e")):
        path = commit(tmp_path, replace(RECORD, key=replace(KEY, settings_sha256=settings)))
        os.utime(path, ns=(time.time_ns(), time.time_ns() - age * 10**9))
    found = earlier_keys(tmp_path, "sub-01", "measure-lesion")
    assert [key.settings_sha256 for key, _ in found] == ["d", "e", "c"]
    assert earlier_keys(tmp_path, "sub-02", "measure-lesion") == []


def test_earlier_keys_are_of_the_step_and_not_of_one_whose_name_begins_alike(tmp_path):
    commit(tmp_path, RECORD)
    later = replace(RECORD, key=replace(KEY, step="measure-lesion-old", input_sha256="f" * 64))
    path = commit(tmp_path, later)
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
    assert earlier_keys(tmp_path, "sub-01", "measure-lesion") == [(KEY, "ok")]
    assert earlier_keys(tmp_path, "sub-01", "measure-lesion-old") == [(later.key, "ok")]


def test_earlier_keys_pass_over_a_damaged_one(tmp_path):
    commit(tmp_path, RECORD)
    path = commit(tmp_path, replace(RECORD, key=replace(KEY, code="measure/2")))
    path.write_bytes(b"{")
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
    assert earlier_keys(tmp_path, "sub-01", "measure-lesion") == [(KEY, "ok")]


def test_a_record_is_complete_with_all_its_outputs_in_their_size(tmp_path):
    assert not is_complete(tmp_path, RECORD)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "sub-01.nii.gz").write_bytes(b"ab")
    assert not is_complete(tmp_path, RECORD)
    (tmp_path / "masks" / "sub-01.nii.gz").write_bytes(b"abc")
    assert is_complete(tmp_path, RECORD)
    assert is_complete(tmp_path, replace(RECORD, outputs=()))


@pytest.mark.parametrize("status", ["ok", "excluded"])
@pytest.mark.parametrize("reason", ["worker_died", "timed_out", "unexpected_error", "unreadable_file"])
def test_a_failure_never_replaces_a_result(tmp_path, status, reason):
    whole = replace(RECORD, status=status, outputs=())
    path = commit(tmp_path, whole)
    assert commit(tmp_path, replace(RECORD, status="failed", reason=reason, outputs=())) == path
    assert load(path) == whole


def test_a_failure_replaces_a_failure_and_a_result_replaces_both(tmp_path):
    for status, reason in (("failed", "worker_died"), ("failed", "timed_out"), ("ok", None), ("excluded", "empty")):
        path = commit(tmp_path, replace(RECORD, status=status, reason=reason))
        assert (load(path).status, load(path).reason) == (status, reason)


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    path = commit(tmp_path, RECORD)
    folder = tmp_path / "derivatives" / "sub-01" / "measure-lesion-1"
    folder.mkdir(parents=True)
    (folder / "mask.nii.gz").write_bytes(b"x")
    for place in (tmp_path, path.parent, folder):
        (place / ".tmp-0-half").write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert not list(tmp_path.rglob(".tmp-*"))
    assert load(path) == RECORD
    assert (folder / "mask.nii.gz").exists()
