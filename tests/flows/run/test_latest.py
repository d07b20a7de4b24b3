"""The pointer to the latest run, on shares with links and without, and after copies that followed them."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from flows.run.latest import (
    OWN_DIGEST,
    latest_folder,
    latest_shown,
    publish_folder,
    read_summary,
    run_folder,
    settle,
    summary_digest,
    switch_latest,
)

RUNS = ("20260101-020000_aaaaaaaa", "20260102-020000_bbbbbbbb")


@pytest.fixture
def out(tmp_path):
    """An output folder with two runs."""
    for name in RUNS:
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps({"run_id": name}))
    return tmp_path


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def has_links(request, monkeypatch):
    """On a share with symbolic links, and on one without."""
    if not request.param:
        forbid_links(monkeypatch)
    return request.param


def forbid_links(monkeypatch):
    """Answer as CIFS and exFAT do."""

    def refuse(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)


def names(out):
    return sorted(path.name for path in (out / "results").iterdir())


def test_nothing_is_latest_before_the_first_run(tmp_path):
    assert latest_folder(tmp_path) is None
    assert latest_shown(tmp_path) is None
    assert run_folder(tmp_path / "results" / "latest") == tmp_path / "results" / "latest"


def test_every_switch_is_seen_by_every_reader(out, has_links):
    for name in (*RUNS, RUNS[0]):
        run = out / "results" / name
        switch_latest(out / "results", run)
        assert latest_folder(out) == run
        assert run_folder(out / "results" / "latest") == run
        assert run_folder(out / "results" / "latest.txt") == run
    assert latest_shown(out) == (out / "results" / "latest" if has_links else run)
    assert names(out) == [*RUNS, "latest" if has_links else "latest.txt"]


def test_links_that_come_and_go_leave_one_pointer(out, monkeypatch):
    results = out / "results"
    switch_latest(results, results / RUNS[0])
    with monkeypatch.context() as patched:
        forbid_links(patched)
        switch_latest(results, results / RUNS[1])
        assert latest_folder(out) == results / RUNS[1]
        assert names(out) == [*RUNS, "latest.txt"]
        assert (results / "latest.txt").read_text().strip() == RUNS[1]
    switch_latest(results, results / RUNS[0])
    assert latest_folder(out) == results / RUNS[0]
    assert names(out) == [*RUNS, "latest"]


@pytest.mark.parametrize("text", ["../../etc", "/etc", "", "none", ".hidden", "a\0b", "\xff"])
def test_a_pointer_that_leads_nowhere_is_none(out, text):
    (out / "results" / "latest.txt").write_bytes(text.encode("latin-1"))
    assert latest_folder(out) is None


@pytest.mark.parametrize("text", [f"{RUNS[1]}", f"\ufeff{RUNS[1]}\r\n"])
@pytest.mark.parametrize("pointer", ["latest", "latest.txt"])
def test_a_pointer_written_by_a_copy_or_by_hand_is_read(out, pointer, text):
    (out / "results" / pointer).write_text(text)
    assert latest_folder(out) == out / "results" / RUNS[1]


def test_a_copy_that_followed_the_link_is_read_as_the_run_it_copies(out, tmp_path_factory, has_links):
    (out / "results" / "latest").mkdir()
    shutil.copytree(out / "results" / RUNS[1], out / "results" / "latest", dirs_exist_ok=True)
    assert latest_folder(out) == out / "results" / RUNS[1]
    moved = settle(out / "results")
    assert moved is not None
    assert "must be a link, but was a folder" in moved
    assert latest_folder(out) == out / "results" / RUNS[1]
    kept = [name for name in names(out) if name.startswith("kept-")]
    assert len(kept) == 1
    assert names(out) == [*RUNS, *kept, "latest" if has_links else "latest.txt"]
    switch_latest(out / "results", out / "results" / RUNS[0])
    assert latest_folder(out) == out / "results" / RUNS[0]


@pytest.mark.usefixtures("has_links")
def test_a_copy_of_the_latest_run_alone_gets_its_own_name(out):
    (out / "results" / RUNS[1]).rename(out / "results" / "latest")
    assert latest_folder(out) == out / "results" / "latest"
    settle(out / "results")
    assert latest_folder(out) == out / "results" / RUNS[1]


@pytest.mark.usefixtures("has_links")
def test_a_strange_folder_named_latest_is_kept_and_never_in_the_way(out):
    (out / "results" / "latest").mkdir()
    (out / "results" / "latest" / "mine.txt").write_text("mine")
    assert latest_folder(out) is None
    switch_latest(out / "results", out / "results" / RUNS[0])
    assert latest_folder(out) == out / "results" / RUNS[0]
    assert [path.read_text() for path in (out / "results").glob("kept-*/mine.txt")] == ["mine"]


def test_what_killed_runs_left_is_removed_and_a_half_published_run_too(out, monkeypatch):
    results = out / "results"
    switch_latest(results, results / RUNS[0])
    draft = results / ".draft-1"
    draft.mkdir()

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("flows.run.latest.switch_latest", kill)
        with pytest.raises(KeyboardInterrupt):
            publish_folder(draft, results / "20260103-020000_cccccccc")
    (results / ".draft-2" / "tables").mkdir(parents=True)
    (results / ".latest-3").symlink_to("nowhere")
    (results / ".tmp-4-latest.txt").touch()
    assert settle(results) is None
    assert names(out) == [*RUNS, "latest"]
    assert latest_folder(out) == results / RUNS[0]


def test_a_whole_publication_leaves_no_mark(out):
    results = out / "results"
    (results / ".draft-1").mkdir()
    publish_folder(results / ".draft-1", results / "20260103-020000_cccccccc")
    settle(results)
    assert names(out) == [*RUNS, "20260103-020000_cccccccc", "latest"]
    assert latest_folder(out).name == "20260103-020000_cccccccc"


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"[" * 100_000, b'{"run_id": "a", "summary_sha256": "0"}'])
def test_a_damaged_summary_is_none(out, content):
    run = out / "results" / RUNS[0]
    summary = {"run_id": RUNS[0], "counts": {"screened": 3}}
    (run / "summary.json").write_text(json.dumps(summary | {OWN_DIGEST: summary_digest(summary)}))
    assert read_summary(run)["counts"] == {"screened": 3}
    (run / "summary.json").write_bytes(content)
    assert read_summary(run) is None


def test_a_path_is_absolute_whatever_the_working_folder(out, monkeypatch):
    switch_latest(out / "results", out / "results" / RUNS[0])
    monkeypatch.chdir(out / "results")
    assert run_folder(Path("latest")) == out / "results" / RUNS[0]
