"""Programs of others, run on patients' files: what they are given, what becomes of what they write, how they end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from cohorts.folder.source import MapUse
from cohorts.images.mask import ImageProblemError
from flows.cases import command as running
from flows.cases.case import Case, CaseFile, OpenCase
from flows.cases.command import CommandFailedError, run_command, scratch_folder, version_of_command
from flows.run.latest import switch_latest
from flows.run.plan import make_plan, why_stale
from flows.run.steps import run_case
from flows.sources.registry import METHODS, STUDY
from tasks.anatomy import aspects_label_table

pytestmark = pytest.mark.processes

#: Writes a table of one row about what it was given, and says so where others can see it.
PROGRAM = """#!{python} -IS
import json, os, sys, time
if sys.argv[1:] == ["--version"]:
    print("{version}")
    raise SystemExit
_, scan, out, *more = sys.argv
with open({seen!r}, "a") as seen:
    row = {{"arguments": sys.argv[1:], "bytes": os.path.getsize(scan), "pid": os.getpid(), "folder": os.getcwd()}}
    row["threads"], row["stdin"] = os.environ.get("OMP_NUM_THREADS"), sys.stdin.read()
    row["own"] = [name for name in os.environ if name.startswith(("PREFECT", "DASK", "PYTHONPATH"))]
    print(json.dumps(row), file=seen)
{body}
open(os.path.join(out, "result.csv"), "w").write("ASPECTS;Seite;Kern\\n7;links;12,5\\n")
"""
CHILD = "import subprocess; p = subprocess.Popen(['sleep', '60']); open({!r}, 'w').write(str(p.pid))\n"
COLUMNS = {"ASPECTS": "score", "Seite": "side", "Kern": "volume_ml"}


class Vendor:
    """A program in a folder, and what it saw."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.seen_path = folder / "program", folder / "seen.jsonl"
        self.write()

    def write(self, body="", version="1.0"):
        text = PROGRAM.format(python=sys.executable, version=version, seen=str(self.seen_path), body=body)
        self.path.write_text(text)
        self.path.chmod(0o755)
        return self

    @property
    def seen(self):
        return [json.loads(line) for line in self.seen_path.read_text().splitlines()]

    def declared(self, **changes):
        return {
            "name": "vendor",
            "kind": "command",
            "command": [str(self.path), "{ct}", "{out}"],
            "inputs": ["ct"],
            "version": [str(self.path), "--version"],
            "version_text": "1.0",
            "table": "result.csv",
            "columns": COLUMNS,
        } | changes

    def source(self, **changes):
        version_of_command.cache_clear()
        return METHODS["command"].source.model_validate(self.declared(**changes))


@pytest.fixture
def vendor(tmp_path):
    return Vendor(tmp_path / "vendor; $(touch hacked) 'x")


def _case(source, content=b"not looked at"):
    case = Case("sub-01", source.step, (CaseFile("ct", "/nowhere/x.nii.gz", "a" * 64),))
    return OpenCase(case, {"ct": content}, ())


def _measure(source):
    return source.measure(_case(source))


def _is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second where it ends between opening and reading
        return False


def _wait_for(condition, limit_s=60.0):
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def test_its_table_is_read_and_it_is_given_copies_under_our_names(vendor):
    source = vendor.source(cpus=3)
    outcome = _measure(source)
    assert (outcome.status, outcome.reason) == ("ok", None)
    stated = outcome.findings.stated
    assert (stated.score, stated.side, stated.volume_ml, stated.version) == (7, "left", 12.5, "1.0")
    assert source.score(outcome.findings).score == 7
    assert source.gives == {"score", "volume"}
    assert list(source.evidence(outcome.findings, MapUse("a", aspects_label_table()))) == []
    (seen,) = vendor.seen
    assert Path(seen["arguments"][0]).name == "sub-01_ct.nii"
    assert (seen["bytes"], seen["threads"], seen["stdin"], seen["own"]) == (13, "3", "", [])
    assert not Path(seen["folder"]).exists()


def test_no_argument_is_more_than_an_argument(vendor, tmp_path, monkeypatch):
    written = [
        " a b ",
        "a; touch hacked",
        "$(touch hacked)",
        "`touch hacked`",
        "| touch hacked",
        "*",
        "'",
        '"',
        "\n",
        "",
    ]
    monkeypatch.chdir(tmp_path)
    source = vendor.source(command=[str(vendor.path), "{ct}", "{out}", *written, "x={participant}", "{not one}"])
    assert _measure(source).status == "ok"
    assert vendor.seen[0]["arguments"][2:] == [*written, "x=sub-01", "{not one}"]
    assert not list(tmp_path.rglob("hacked*"))


def test_its_own_words_say_why_it_failed(vendor):
    vendor.write("print('cannot load \\x1b[31mmodel'); print('out of luck', file=sys.stderr); sys.exit(3)")
    outcome = _measure(vendor.source())
    assert (outcome.status, outcome.reason) == ("failed", "command_failed")
    assert "exit code 3" in outcome.detail
    assert "out of luck" in outcome.detail
    assert outcome.detail.isprintable()
    vendor.write("os.kill(os.getpid(), 9)")
    assert "signal 9" in _measure(vendor.source()).detail


@pytest.mark.parametrize(
    ("body", "pattern", "status", "reason", "words"),
    [
        ("sys.exit(0)", "result.csv", "excluded", "command_output_missing", "got nothing"),
        ("open(out + '/b.csv', 'w')", "*.csv", "excluded", "command_output_missing", "got 2 files"),
        (
            "os.symlink('/etc/passwd', out + '/link.csv')",
            "link.csv",
            "excluded",
            "command_output_missing",
            "a link out",
        ),
        ("open(out + '/e.csv', 'w')", "e.csv", "excluded", "result_unreadable", "must not be empty"),
        (
            "open(out + '/t.csv', 'w').write('A;B\\n1;2\\n')",
            "t.csv",
            "excluded",
            "result_unreadable",
            "must be a column",
        ),
        ("open(out + '/t.csv', 'w').write('ASPECTS;Seite;Kern\\n')", "t.csv", "excluded", "not_in_results", "got 0"),
        (
            "open(out + '/t.csv', 'w').write('ASPECTS;Seite;Kern\\nfailed: motion;;\\n')",
            "t.csv",
            "excluded",
            "vendor_failed_motion",
            "failed: motion",
        ),
    ],
)
def test_what_it_writes_is_checked(vendor, body, pattern, status, reason, words):
    vendor.write(body)
    outcome = _measure(vendor.source(table=pattern))
    assert (outcome.status, outcome.reason) == (status, reason)
    assert words in outcome.detail


def test_a_program_that_is_not_there_or_of_another_version_is_a_reason(vendor):
    outcome = _measure(vendor.source(command=["/nowhere/program", "{ct}"], version_text="1.0"))
    assert (outcome.status, outcome.reason) == ("failed", "command_not_started")
    assert "must start, got: No such file" in outcome.detail
    nothing = vendor.source(command=[str(vendor.path), "{ct}", "{out}", "\0"])
    assert "embedded null byte" in _measure(nothing).detail
    outcome = _measure(vendor.source(version_text="0.9"))
    assert (outcome.status, outcome.reason) == ("failed", "command_version_differs")


def test_its_version_is_what_it_prints_and_no_warning(vendor):
    vendor.path.write_text("#!/bin/sh\necho warning $$ >&2\necho 2.0\n")
    version_of_command.cache_clear()
    assert version_of_command((str(vendor.path),)) == "2.0"
    vendor.path.write_text("#!/bin/sh\necho 2.1 >&2\n")
    version_of_command.cache_clear()
    assert version_of_command((str(vendor.path),)) == "2.1"
    vendor.path.write_text("#!/bin/sh\n")
    version_of_command.cache_clear()
    with pytest.raises(CommandFailedError, match="must be a command that prints a version"):
        version_of_command((str(vendor.path),))


def test_its_time_ends_it_with_all_that_it_started(vendor):
    child = (
        "import subprocess; p = subprocess.Popen(['sleep', '60']); open({!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    pids = vendor.folder / "child"
    vendor.write(child.format(str(pids)))
    outcome = _measure(vendor.source(wall_limit_s=1.0))
    assert (outcome.status, outcome.reason) == ("failed", "command_timed_out")
    assert "wall_limit_s = 1 s" in outcome.detail
    assert not _is_alive(vendor.seen[0]["pid"])
    _wait_for(lambda: not _is_alive(int(pids.read_text())))


def test_what_it_leaves_running_is_ended_and_what_it_says_is_bounded(vendor):
    pids = vendor.folder / "child"
    vendor.write(CHILD.format(str(pids)) + "for _ in range(60): print('x' * 200_000); time.sleep(0.01)")
    assert _measure(vendor.source()).status == "ok"
    _wait_for(lambda: not _is_alive(int(pids.read_text())))


def test_it_ends_with_a_worker_that_is_killed(vendor):
    """The worker gets SIGKILL, as from Dask's nanny; the guard ends the program and removes its folder."""
    vendor.write("time.sleep(60)")
    code = (
        "import sys; from flows.cases.command import run_command, scratch_folder\n"
        "with scratch_folder() as scratch: run_command([sys.argv[1], '/dev/null', str(scratch.out)], scratch, 60, 1)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(vendor.path)])
    _wait_for(lambda: vendor.seen_path.exists() and vendor.seen)
    (seen,) = vendor.seen
    worker.kill()
    worker.wait()
    _wait_for(lambda: not _is_alive(seen["pid"]))
    _wait_for(lambda: not Path(seen["folder"]).exists())


def test_it_ends_where_its_task_is_cancelled(vendor, monkeypatch):
    """On a cluster of others, whose workers a run cannot end."""
    vendor.write("time.sleep(60)")
    monkeypatch.setattr(running, "is_cancelled", vendor.seen_path.exists)
    with scratch_folder() as scratch, pytest.raises(CommandFailedError) as caught:
        run_command([str(vendor.path), "/dev/null", str(scratch.out)], scratch, 60, 1)
    assert caught.value.reason == "command_stopped"
    _wait_for(lambda: not _is_alive(vendor.seen[0]["pid"]))


def _write_cohort(folder, vendor, n=3):
    folder.mkdir(exist_ok=True)
    (folder / "participants.tsv").write_text("participant_id\n" + "".join(f"sub-{k:02d}\n" for k in range(1, n + 1)))
    rows = "".join(f"sub-{k:02d}\tct\tn/a\tsub-{k:02d}.nii.gz\n" for k in range(1, n + 1))
    (folder / "scans.tsv").write_text(f"participant_id\tmodality\tspace\tpath\n{rows}")
    for k in range(1, n + 1):
        nib.save(nib.Nifti1Image(np.full((3, 4, 5), k, np.int16), np.eye(4)), folder / f"sub-{k:02d}.nii.gz")
    declared = vendor.declared(wall_limit_s=50)
    del declared["version_text"]
    values = "".join(
        f"{key} = {{ ASPECTS = 'score', Seite = 'side', Kern = 'volume_ml' }}\n" if key == "columns" else
        f"{key} = {json.dumps(value)}\n" for key, value in declared.items()
    )  # fmt: skip
    (folder / "cohort.toml").write_text(f'[study]\nname = "Vendor"\n\n[[source]]\n{values}')
    return folder


def test_nothing_runs_unless_it_is_allowed(vendor, tmp_path):
    folder = _write_cohort(tmp_path / "cohort", vendor)
    version_of_command.cache_clear()
    plan = make_plan(folder, tmp_path / "out")
    assert plan.cases == {}
    assert "is run only with --allow-commands" in plan.absent["vendor"]
    assert make_plan(folder, tmp_path / "out", commands="remember").absent == plan.absent  # no run has asked yet
    run = tmp_path / "out" / "results" / "one"
    run.mkdir(parents=True)
    asked = {"name": "vendor", "version": [str(vendor.path), "--version"], "version_text": "1.0"}
    (run / "summary.json").write_text(json.dumps({"run_id": "one", "config": {"source": [asked]}}))
    switch_latest(run.parent, run)
    vendor.path.unlink()
    assert len(make_plan(folder, tmp_path / "out", commands="remember").pending) == 3
    assert "must start" in make_plan(folder, tmp_path / "out", commands="run").absent["vendor"]
    assert not vendor.seen_path.exists()


def test_results_are_kept_by_content_command_and_version_and_not_by_limits(vendor, tmp_path):
    folder, out = _write_cohort(tmp_path / "cohort", vendor), tmp_path / "out"

    def pending():
        version_of_command.cache_clear()
        plan = make_plan(folder, out, commands="run")
        return plan, [case.participant_id for _, case in plan.pending]

    plan, due = pending()
    assert due == ["sub-01", "sub-02", "sub-03"]
    for measurement, case in plan.pending:
        assert run_case(case, plan.settings[measurement], out).status == "ok"
    assert pending()[1] == []
    assert len(vendor.seen) == 3
    study = (folder / "cohort.toml").read_text()
    (folder / "cohort.toml").write_text(study.replace("wall_limit_s = 50", "wall_limit_s = 70\ncpus = 2"))
    assert pending()[1] == []
    nib.save(nib.Nifti1Image(np.full((3, 4, 5), 9, np.int16), np.eye(4)), folder / "sub-02.nii.gz")
    assert pending()[1] == ["sub-02"]
    vendor.write(version="1.1")
    plan, due = pending()
    assert len(due) == 3
    assert why_stale(plan, out, "sub-01", "vendor") == ("settings",)
    (folder / "cohort.toml").write_text(study + 'version_text = "1.0"\n')
    assert "version must print 1.0, got 1.1" in pending()[0].absent["vendor"]
    (folder / "cohort.toml").write_text(study.replace('"--version"', '"--version", "x"'))
    assert "source vendor:" in pending()[0].absent["vendor"]


@pytest.mark.slow
def test_a_run_that_is_stopped_ends_its_program_and_goes_on_where_it_was(vendor, tmp_path):
    folder, out = _write_cohort(tmp_path / "cohort", vendor, 2), tmp_path / "out"
    vendor.write("if 'sub-02' in scan: time.sleep(60)")
    arguments = ("run", str(folder), str(out), "--n-cpus", "1", "--allow-commands")
    run = subprocess.Popen([sys.executable, "-m", "flows", *arguments], stdout=subprocess.PIPE, text=True)
    _wait_for(lambda: vendor.seen_path.exists() and len(vendor.seen) == 2, 240)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=120)
    assert run.returncode == 143
    _wait_for(lambda: not _is_alive(vendor.seen[1]["pid"]))
    assert not Path(vendor.seen[1]["folder"]).exists()
    version_of_command.cache_clear()
    plan = make_plan(folder, out, commands="run")
    assert [case.participant_id for _, case in plan.pending] == ["sub-02"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"mask": "m.nii"}, "either mask or table"),
        ({"table": None}, "either mask or table"),
        ({"table": None, "mask": "m.nii"}, "image must be given"),
        ({"table": "../x.csv"}, "must lie in the folder"),
        ({"table": "/etc/passwd"}, "must lie in the folder"),
        ({"table": "."}, "must lie in the folder"),
        ({"table": ""}, "must lie in the folder"),
        ({"table": "**x.csv"}, "alone between"),
        ({"command": ["run", "{dwi}"]}, "must name inputs"),
        ({"command": ["bin/run", "{ct}"]}, "absolute path"),
        ({"inputs": ["ct", "ct"]}, "each modality once"),
        ({"columns": {}}, "must lead to a score"),
    ],
)
def test_a_declaration_that_cannot_run_is_refused(vendor, change, rule):
    with pytest.raises(ValidationError, match=rule):
        STUDY.model_validate({"study": {"name": "a"}, "source": [vendor.declared(**change)]})


def test_a_scan_that_cannot_be_read_is_no_fault_of_the_program(vendor):
    source = vendor.source(table=None, mask="m.nii", image="dwi", columns={})
    with pytest.raises(ImageProblemError):
        _measure(source)
    assert not vendor.seen_path.exists()
    both = vendor.source(inputs=["ct", "adc"])
    outcome = both.measure(_case(both))
    assert (outcome.status, outcome.reason) == ("excluded", "scan_of_command_missing")
