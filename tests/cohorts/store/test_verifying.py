"""Every record and output is read again; what is damaged is named, set aside and so computed again."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest

from cohorts.store.findings import Findings
from cohorts.store.records import Record, StepKey, commit, load, output_folder, record_path, write_outputs
from cohorts.store.verifying import verify_records


def _key(letter):
    return StepKey("measure-lesion", "measure/1", letter * 64, "b" * 64)


@pytest.fixture
def root(tmp_path):
    """Two participants, each with a record of two outputs."""
    for participant_id, letter in (("sub-01", "a"), ("sub-02", "c")):
        key = _key(letter)
        files = {"mask.nii.gz": b"mask", "picture.json": b"{}"}
        outputs = write_outputs(tmp_path, output_folder(participant_id, key), files)
        commit(tmp_path, Record(participant_id, key, "ok", None, None, Findings(), outputs))
    return tmp_path


def test_whole_records_are_counted_with_their_outputs(root):
    assert verify_records(root) == (2, 4, [])


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def _same_size(path):
    path.write_bytes(bytes(reversed(path.read_bytes())))


def _as_folder(path):
    path.unlink()
    path.mkdir()


def _as_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [_truncate, _same_size, lambda path: path.unlink(), _as_folder, _as_pipe])
@pytest.mark.parametrize("name", ["mask.nii.gz", "picture.json"])
def test_a_damaged_output_takes_its_record_out_of_use(root, damage, name):
    folder = output_folder("sub-02", _key("c"))
    damage(root / folder / name)
    records, outputs, found = verify_records(root)
    assert (records, outputs, len(found)) == (2, 4, 1)
    assert found[0].startswith(f"{folder}/{name} must be as its record says, ")
    assert load(record_path(root, "sub-02", _key("c"))) is None
    assert load(record_path(root, "sub-01", _key("a"))) is not None
    write_outputs(root, folder, {name: b"again"})  # whatever lies in the way
    assert (root / folder / name).read_bytes() == b"again"


@pytest.mark.parametrize("damage", [_truncate, _same_size, _as_folder, _as_pipe])
def test_a_damaged_record_is_named(root, damage):
    path = record_path(root, "sub-01", _key("a"))
    damage(path)
    assert verify_records(root)[2] == [
        f"records/sub-01/{path.name} must be a whole record of its own address, got another content; "
        f"it is now .damaged-{path.name}."
    ]
    assert verify_records(root) == (
        1,
        2,
        [
            f"records/sub-01/{path.name} was damaged and is not computed again yet; it is now .damaged-{path.name}. "
            "Delete that file if this participant or source has left the study."
        ],
    )
    commit(root, Record("sub-01", _key("other settings"), "ok", None, None, Findings(), ()))
    assert verify_records(root) == (2, 2, [])


@pytest.mark.parametrize("address", ["another participant", "another key", "another step"])
def test_a_record_at_the_address_of_another_is_refused(root, address):
    key = {"another participant": _key("a"), "another key": _key("d"), "another step": replace(_key("a"), step="x")}
    place = record_path(root, "sub-01" if address != "another participant" else "sub-03", key[address])
    place.parent.mkdir(exist_ok=True)
    shutil.copy(record_path(root, "sub-01", _key("a")), place)
    assert load(place) is None
    assert place.exists()
    assert len(verify_records(root)[2]) == 1
    assert not place.exists()
    assert load(record_path(root, "sub-01", _key("a"))) is not None
