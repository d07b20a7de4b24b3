"""The run from the command line, night after night; each test begins with its own copy of a first run."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cohorts.tables.storage import read_table
from flows.commands.compare import compare_runs
from flows.run.plan import make_plan, with_records
from flows.run.publishing import write_tables
from flows.run.steps import run_case
from tests.flows.conftest import BOXES, STUDY, TinyCohort, box_mask, free_port

pytestmark = pytest.mark.processes


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every table of a run but the timings."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "tables").iterdir())
        if not path.name.startswith("timings")
    }


def living(word: str) -> list[str]:
    """Command lines of living processes that hold ``word``."""
    listing = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if word in line and not line.startswith("Z") and "ps -eo" not in line]


@pytest.fixture(scope="module")
def first(tiny_of_module: TinyCohort) -> tuple[TinyCohort, subprocess.CompletedProcess[str]]:
    """A cohort that was run once, and what the run said."""
    return tiny_of_module, tiny_of_module.run(is_fresh=True)


@pytest.fixture
def tiny(first: tuple[TinyCohort, Any], tmp_path: Path) -> TinyCohort:
    """The cohort that was run once, copied."""
    copy = TinyCohort(tmp_path / "tiny" / "cohort", tmp_path / "tiny" / "out")
    shutil.copytree(first[0].folder, copy.folder)
    shutil.copytree(first[0].out, copy.out, symlinks=True)
    return copy


def test_a_first_run_cases_everybody_and_leaves_nothing_running(
    first: tuple[TinyCohort, subprocess.CompletedProcess[str]],
) -> None:
    tiny, done = first
    assert "8 of 8 measurements to make (8 new)" in done.stdout
    lesions = read_table(tiny.latest / "tables" / "lesions.parquet").set_index("participant_id")
    for number, (centre_mm, half_width_mm) in enumerate(BOXES, start=1):
        row = lesions.loc[f"sub-{number:02d}"]
        assert row["volume_ml"] == box_mask(centre_mm, half_width_mm).sum() * 8 / 1000  # 2 mm voxels: 8 mm3
        assert row["side"] == ("left" if centre_mm[0] < 0 else "right")
    assert (tiny.latest / "report.html").stat().st_size > 100_000
    assert not living(str(tiny.out))
    assert not living(f"--parent {done.args}")
    database = tiny.out / "work" / "prefect" / "prefect.db"
    with sqlite3.connect(database) as connection:
        states = connection.execute("select name, state_type from flow_run").fetchall()
    assert [state for _, state in states] == ["COMPLETED"]
    assert states[0][0] == tiny.latest.name


def test_the_same_steps_without_prefect_and_dask_give_the_same_tables(tiny: TinyCohort, tmp_path: Path) -> None:
    plan = make_plan(tiny.folder, tmp_path)
    for measurement, case in plan.pending:
        run_case(case, plan.settings[measurement], tmp_path)
    (tmp_path / "tables").mkdir()
    write_tables(with_records(plan, tmp_path), tmp_path / "tables", tmp_path)
    plain, run = digests(tmp_path), digests(tiny.latest)
    assert plain == {name: run[name] for name in plain}
    assert len(plain) > 10


def test_a_second_run_does_nothing(tiny: TinyCohort) -> None:
    before = tiny.latest
    done = tiny.run()
    assert f"Nothing changed since {before.name}; nothing was computed." in done.stdout
    assert tiny.latest == before
    assert "Results up to date      yes" in tiny.aspects("status", str(tiny.folder), str(tiny.out)).stdout


def test_a_replaced_scan_reruns_one_participant_and_is_named_as_the_cause(tiny: TinyCohort) -> None:
    before = tiny.latest
    tiny.write_mask(3, (-50, -4, 34), 20)
    why = tiny.aspects("status", str(tiny.folder), str(tiny.out), "--why", "03").stdout
    assert "sub-03, lesion: due, because of input." in why
    assert "1 of 8 measurements to make (1 input changed); 7 are done already." in tiny.run().stdout
    comparison = compare_runs(before, tiny.latest)
    assert [(row["participant_id"], row["cause"]) for row in comparison.participants] == [("sub-03", "input")]
    assert not comparison.settings
    assert comparison.statistics


def test_a_changed_rule_measures_nobody_again_and_going_back_gives_the_earlier_tables(tiny: TinyCohort) -> None:
    before = tiny.latest
    (tiny.folder / "cohort.toml").write_text(
        STUDY.replace('name = "lesion-classic"', 'name = "lesion-classic"\nrule = "any"')
    )
    assert "All 8 measurements are done already" in tiny.run().stdout
    comparison = compare_runs(before, tiny.latest)
    assert comparison.settings == [{"setting": "source.lesion-classic.rule", "earlier": '"wei"', "later": '"any"'}]
    assert {row["cause"] for row in comparison.participants} == {"settings"}
    regions = read_table(tiny.latest / "tables" / "regions.parquet")
    any_rule = regions[(regions["source"] == "lesion-classic") & regions["fraction"].notna()]
    assert (any_rule["affected"] == (any_rule["fraction"] > 0)).all()
    changed = tiny.latest
    (tiny.folder / "cohort.toml").write_text(STUDY)
    tiny.run()
    assert tiny.latest not in (before, changed)
    assert digests(tiny.latest) == digests(before)
    assert digests(tiny.latest) != digests(changed)


def test_nights_with_a_new_patient_a_hook_and_no_change(tiny: TinyCohort, tmp_path: Path) -> None:
    hook = tmp_path / "hook.sh"
    hook.write_text(f"#!/bin/sh\ncp $1 {tmp_path}/told.json\n")
    hook.chmod(0o755)
    tiny.write_mask(9, (30, -4, 30), 12)
    tiny.write_tables(9, nihss={2: 21})
    tiny.aspects("nightly", str(tiny.folder), str(tiny.out), "--on-change", str(hook))
    night = json.loads((tmp_path / "told.json").read_text())
    assert night["changes"]["causes"] == {"new participant": 1, "clinical values (nihss)": 1}
    assert night["n_computed"] == 1
    assert night["exit_code"] == 0
    assert json.loads((tiny.latest / "changes.json").read_text())["participants"][1]["participant_id"] == "sub-09"
    (tmp_path / "told.json").unlink()
    tiny.aspects("nightly", str(tiny.folder), str(tiny.out), "--on-change", str(hook))
    assert json.loads((tiny.out / "summary.json").read_text())["status"] == "unchanged"
    assert not (tmp_path / "told.json").exists()


def test_a_night_with_a_broken_study_calls_the_failure_hook(tiny: TinyCohort, tmp_path: Path) -> None:
    hook = tmp_path / "hook.sh"
    hook.write_text(f"#!/bin/sh\ncp $1 {tmp_path}/told.json\n")
    hook.chmod(0o755)
    (tiny.folder / "cohort.toml").write_text(STUDY.replace("severity", "severty"))
    done = tiny.aspects("nightly", str(tiny.folder), str(tiny.out), "--on-failure", str(hook), expect=3)
    assert "severity" in done.stdout
    assert "severty" in json.loads((tmp_path / "told.json").read_text())["error"]


def test_a_participant_can_be_run_alone_without_touching_the_latest_results(tiny: TinyCohort) -> None:
    before = tiny.latest
    done = tiny.run("--participant-label", "04")
    assert tiny.latest == before
    assert "Only some participants were asked for" in done.stdout
    alone = max(path for path in (tiny.out / "results").iterdir() if not path.is_symlink())
    assert pd.read_parquet(alone / "tables" / "participants.parquet")["participant_id"].tolist() == ["sub-04"]
    wrong = tiny.run("--participant-label", "004", expect=2)
    assert "got sub-004. Nearest: sub-04" in wrong.stderr


def test_a_dry_run_does_nothing(tiny: TinyCohort, tmp_path: Path) -> None:
    done = tiny.aspects("run", str(tiny.folder), str(tmp_path / "none"), "--dry-run")
    assert "To measure              8 (8 new)" in done.stdout
    assert not (tmp_path / "none").exists()


def test_a_killed_run_is_resumed_to_the_same_tables_and_two_starts_exclude_each_other(tiny: TinyCohort) -> None:
    whole = digests(tiny.latest)
    shutil.rmtree(tiny.out)
    process = start(tiny)
    wait_for_record(tiny, process)
    busy = tiny.run(expect=75)
    assert "Busy:" in busy.stderr
    assert str(process.pid) in busy.stderr
    process.kill()
    process.wait()
    done = tiny.run(is_fresh=True)
    assert f"Taking over from process {process.pid}" in done.stdout
    assert digests(tiny.latest) == whole
    assert not living(str(tiny.out))
    with sqlite3.connect(tiny.out / "work" / "prefect" / "prefect.db") as connection:
        states = {state for (state,) in connection.execute("select state_type from flow_run")}
    assert states <= {"COMPLETED", "CRASHED"}


def test_sigterm_stops_everything_with_its_exit_code(tiny: TinyCohort) -> None:
    shutil.rmtree(tiny.out)
    process = start(tiny)
    wait_for_record(tiny, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "What is committed stays" in errors
    assert not living(str(tiny.out))
    assert not living(f"--parent {process.pid}")


NO_LINKS = """import errno, os
def symlink(source, target, *more, **options):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM), os.fspath(target))
os.symlink = symlink
"""


def test_nights_on_a_share_without_links_publish_once_and_verify(
    tiny: TinyCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_LINKS)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    )
    other = TinyCohort(tiny.folder, tmp_path / "out")
    for status in ("changed", "unchanged"):
        other.aspects("nightly", str(other.folder), str(other.out), is_fresh=True)
        assert json.loads((other.out / "summary.json").read_text())["status"] == status
    (run,) = (path for path in (other.out / "results").iterdir() if path.is_dir())
    assert (other.out / "results" / "latest.txt").read_text() == f"{run.name}\n"
    assert not (other.out / "results" / "latest").exists()
    lines = (other.out / "nightly.log").read_text().splitlines()
    assert [line.split("\t")[1:4] for line in lines] == [
        ["exit=0", "changed", f"run={run.name}"],
        ["exit=0", "unchanged", f"run={run.name}"],
    ]
    (run / "report.html").write_text("x")
    assert "1 damaged" in other.aspects("verify", str(other.out), expect=1).stdout
    why = other.aspects("status", str(other.folder), str(other.out)).stdout
    assert "Results up to date      no" in why


def start(tiny: TinyCohort) -> subprocess.Popen[str]:
    """Start a run in the background."""
    command = [sys.executable, "-m", "flows", "run", str(tiny.folder), str(tiny.out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_record(tiny: TinyCohort, process: subprocess.Popen[str]) -> None:
    """Wait for the first committed result."""
    deadline = time.monotonic() + 120
    while not list(tiny.out.glob("records/*/[!.]*.json")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)


def test_serve_runs_on_schedule_and_outlives_its_server(tiny: TinyCohort, tmp_path: Path) -> None:
    out, port = tmp_path / "out", free_port()
    command = [sys.executable, "-m", "flows", "serve", str(tiny.folder), str(out), "--cron", "* * * * *"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
    try:
        wait_until(lambda: "Scheduled:" in (tmp_path / "log").read_text(), process)
        api, password_file = f"http://127.0.0.1:{port}/api", out / "work" / "prefect-serve" / "password"
        assert str(password_file) in (tmp_path / "log").read_text()
        assert password_file.stat().st_mode & 0o777 == 0o600
        password = password_file.read_text().strip()
        assert password not in (tmp_path / "log").read_text()
        assert ask_prefect(f"{api}/deployments/filter", {})[0] == 401
        wait_until(lambda: bool(ask_prefect(f"{api}/deployments/filter", {}, password)[1]), process)
        served = ask_prefect(f"{api}/deployments/filter", {}, password)[1][0]
        assert served["parameters"] == {}
        foreign = {"parameters": {"cohort": str(tiny.folder), "out": str(tmp_path / "foreign")}}
        assert ask_prefect(f"{api}/deployments/{served['id']}/create_flow_run", foreign, password)[0] != 401
        subprocess.run(["pkill", "-9", "-f", f"flows.engine.prefect_server --port {port}"], check=True)
        wait_until((out / "results" / "latest").exists, process)  # the next full minute, and the run
        wait_until((out / "summary.json").exists, process)
        assert json.loads((out / "summary.json").read_text())["exit_code"] == 0
        assert read_table(out / "results" / "latest" / "tables" / "lesions.parquet")["status"].eq("ok").all()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, (tmp_path / "log").read_text()
    assert not living(str(out))
    assert not living(f"--port {port}")
    assert not (tmp_path / "foreign").exists()


def ask_prefect(url: str, body: dict[str, object], password: str = "") -> tuple[int, Any]:
    """Status and answer of a request to Prefect's API."""
    token = base64.b64encode(password.encode()).decode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Basic {token}"} if password else {})
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, None


def wait_until(is_true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for something to become true, while the process lives."""
    deadline = time.monotonic() + 240
    while not is_true():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
