"""Every entry of an export is a file to read or is counted by a reason."""

from __future__ import annotations

import os

import pytest

from cohorts.dicom.headers import read_headers
from cohorts.dicom.walk import walk


def _tree(folder):
    """An export with links of all kinds, and a store beside it."""
    store, export = folder / "store", folder / "export"
    for place in (store / "patient", export / "a" / "deep", export / "b"):
        place.mkdir(parents=True)
    for path in (store / "one", store / "patient" / "two", export / "a" / "three", export / "a" / "deep" / "four"):
        path.write_bytes(b"x")
    (export / "b" / "out").symlink_to(store / "one")
    (export / "b" / "folder out").symlink_to(store / "patient")
    (export / "b" / "inside").symlink_to(export / "a" / "three")
    (export / "b" / "folder inside").symlink_to(export / "a")
    (export / "b" / "broken").symlink_to(store / "gone")
    (export / "b" / "loop").symlink_to(export / "b" / "loop")
    (export / "b" / "round").symlink_to(export)
    os.mkfifo(export / "b" / "pipe")
    return export


def test_links_are_counted_and_those_that_lead_out_are_not_followed(tmp_path):
    walked = walk(_tree(tmp_path))
    assert walked.files == ["a/deep/four", "a/three", "b/inside"]
    reasons = {"link_leads_out": 2, "linked_folder": 2, "link_broken": 2, "special_file": 1}
    assert walked.left_out == reasons
    assert walked.n_found == 3 + 7


def test_links_are_followed_where_that_is_asked_and_no_folder_is_entered_twice(tmp_path):
    walked = walk(_tree(tmp_path), follow_links=True)
    assert {"b/out", "b/folder out/two", "b/inside"} < set(walked.files)
    assert sum(name.endswith("three") for name in walked.files) == 1
    assert walked.left_out == {"linked_folder": 2, "link_broken": 2, "special_file": 1}


def test_a_link_to_a_folder_with_a_like_name_leads_out(tmp_path):
    export = tmp_path / "export"
    (tmp_path / "export2").mkdir()
    export.mkdir()
    (tmp_path / "export2" / "x").write_bytes(b"x")
    (export / "x").symlink_to(tmp_path / "export2" / "x")
    assert walk(export).left_out == {"link_leads_out": 1}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.zip", b"PK\x03\x04 and more", "archive"),
        ("a.dcm.gz", b"\x1f\x8b\x08 and more", "archive"),
        ("a.nii.gz", b"\x1f\x8b\x08 and more", "not_dicom"),
        ("a.dcm", b"", "empty_file"),
        ("a.txt", b"a word", "not_dicom"),
        ("a", bytes(128) + b"DICM" + b"\xff" * 40, "unreadable_dicom"),
        ("b", b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", "unreadable_dicom"),
    ],
)
def test_what_a_file_without_an_image_is(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    headers, unread = read_headers([tmp_path / name])
    assert ([], [reason]) == (headers, [item.reason for item in unread])
