"""Measuring on a cluster: chunks, what is shared, polls, GPUs that workers declare, and a cluster that is lost."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client
from rich.console import Console

from flows.cases import native_scan
from flows.cases.case import Case, CaseFile
from flows.engine.cluster import connect
from flows.engine.progress import CaseProgress
from flows.run import measuring
from flows.run.measuring import Chunk, Measuring, chunks_of
from flows.run.methods import STEP_METHODS
from flows.run.plan import make_plan, with_records
from flows.run.steps import run_chunk
from tests.flows import scan_phantom
from tests.flows.conftest import BOXES, TinyCohort, free_port


def _cases(n_participants, *measurements):
    return [
        (measurement, Case(f"sub-{n}", measurement, (CaseFile("ncct", "a", "b"),)))
        for measurement in measurements
        for n in range(n_participants)
    ]


def test_the_cases_of_a_participant_stand_in_one_chunk():
    chunks = chunks_of(_cases(40, "ratio", "core", "mask"), n_workers=2)
    assert sorted(pair for chunk in chunks for pair in _named(chunk)) == sorted(
        _named(Chunk(tuple(_cases(40, "ratio", "core", "mask"))))
    )
    for chunk in chunks:
        order = [case.participant_id for _, case in chunk.cases]
        assert order == sorted(order, key=order.index)  # together, not here and there
        assert set(Counter(order).values()) == {3}
    assert len(chunks) > 8  # both workers have something to do until the end


def _named(chunk):
    return [(measurement, case.participant_id) for measurement, case in chunk.cases]


def test_what_goes_to_a_gpu_has_chunks_of_its_own():
    chunks = chunks_of(_cases(10, "ratio", "net"), n_workers=2, on_gpu=["net"])
    assert {chunk.wants_gpu for chunk in chunks} == {True, False}
    for chunk in chunks:
        assert {measurement for measurement, _ in chunk.cases} == ({"net"} if chunk.wants_gpu else {"ratio"})


@pytest.fixture
def measured(tiny: TinyCohort, tmp_path: Path) -> Measuring:
    """The tiny cohort, planned into a folder of its own; no client yet."""
    plan = make_plan(tiny.folder, tmp_path / "out")
    return Measuring(plan, tmp_path / "out", None, CaseProgress(0, Console(file=io.StringIO())), threading.Event(), {})


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.processes
def test_every_poll_of_six_hundred_is_right(
    measured: Measuring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A poll that gave up inside the transfer of a result lost every later result of the run."""
    monkeypatch.setattr(measuring, "POLL_S", 0.0002)
    (measurement, case), *_ = measured.plan.pending
    chunk = Chunk(((measurement, case),))
    settings = {measurement: measured.plan.settings[measurement].to_json()}
    run_chunk([(measurement, case.to_json())], settings, str(measured.out))
    with connect(n_cpus=1, address=None, work_dir=str(tmp_path / "dask")) as client, ThreadPoolExecutor(8) as pool:
        measured.client = client
        done = list(pool.map(lambda _: measuring._submit_and_wait(measured, chunk), range(600)))
    assert len(done) == 600


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("devices", [(), ("GPU-nowhere",)])
def test_work_for_a_gpu_goes_to_a_worker_that_declares_one(
    measured: Measuring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, devices: tuple[str, ...]
) -> None:
    """No device is needed: the worker declares the resource. Without such a worker the same step runs on a CPU."""
    monkeypatch.setitem(STEP_METHODS, "mask", replace(STEP_METHODS["mask"], wants_gpu=True))
    monkeypatch.setattr(measuring, "run_chunk", _note_worker)
    measured.out.mkdir()
    with connect(n_cpus=1, address=None, work_dir=str(tmp_path / "dask"), devices=devices) as client:
        measured.client = client
        n_workers, offered = measuring._workers(client)
        chunks = chunks_of(measured.plan.pending, n_workers, measuring._on_gpu(measured, offered))
        assert {chunk.wants_gpu for chunk in chunks} == {bool(devices)}
        for chunk in chunks:
            measuring._submit_and_wait(measured, chunk)
    seen = {path.read_text() for path in measured.out.glob("*.txt")}
    assert seen == {",".join(devices)}


def _note_worker(cases, settings, root):
    """Stands for the work: writes which devices the worker sees."""
    for _, case in cases:
        (Path(root) / f"{case['participant_id']}.txt").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    return [(case["participant_id"], name, "ok") for name, case in cases]


def test_brain_and_registration_are_made_once_per_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Affine and refined regions of one CT, side by side: one reading, one brain, one registration, one refinement."""
    calls = Counter()
    for name in ("register", "extract_ct_brain", "refine"):
        made = getattr(native_scan, name)
        monkeypatch.setattr(native_scan, name, _counted(calls, name, made))
    case = scan_phantom.ct_case(tmp_path / "cases")
    settings = {
        "ratio:affine": scan_phantom.ratio_settings(registration="affine"),
        "ratio:refined": scan_phantom.ratio_settings(registration="refined"),
    }
    states = run_chunk(
        [(name, case.to_json()) for name in settings],
        {name: one.to_json() for name, one in settings.items()},
        str(tmp_path / "out"),
    )
    assert [status for _, _, status in states] == ["ok", "ok"]
    assert calls == {"register": 1, "extract_ct_brain": 1, "refine": 1}


def _counted(calls, name, function):
    def counting(*arguments, **options):
        calls[name] += 1
        return function(*arguments, **options)

    return counting


STUCK = """
import time
from flows.run import steps

examine = getattr(steps, "whole_examine", steps.examine)  # a preload is run twice
steps.whole_examine = examine


def stuck(case, settings, shared=None):
    if case.participant_id > "sub-04":
        time.sleep(600)
    return examine(case, settings, shared)


steps.examine = stuck
"""


@pytest.mark.slow
@pytest.mark.processes
def test_a_lost_scheduler_stops_the_run_and_costs_nothing_that_was_committed(tiny: TinyCohort, tmp_path: Path) -> None:
    """Half of the cases are done when the scheduler is killed: exit 75, nothing published, no scan blamed."""
    (tmp_path / "stuck.py").write_text(STUCK)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(Path.cwd())])}
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"], **quiet
    )
    worker = subprocess.Popen(
        [*dask, "worker", address, "--nthreads", "1", "--nworkers", "2", "--preload", str(tmp_path / "stuck.py"),
         "--local-directory", str(tmp_path / "dask"), "--no-dashboard"], **quiet
    )  # fmt: skip
    out = TinyCohort(tiny.folder, tmp_path / "out")
    try:
        with Client(address, timeout="60s", set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
        run = subprocess.Popen(
            [sys.executable, "-m", "flows", "run", str(out.folder), str(out.out), "--dask", address],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip
        _wait_for(lambda: len(_committed(out)) >= 4)
        before = _committed(out)
        scheduler.send_signal(signal.SIGKILL)
        output, _ = run.communicate(timeout=240)
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()
    assert run.returncode == 75, output
    assert "Stopped: the Dask scheduler must answer, got none" in output
    after = _committed(out)  # what was being written at the kill may have been committed since, and is whole
    assert before.items() <= after.items()
    assert all(b'"status":"ok"' in record for record in after.values())
    assert not (out.out / "results" / "latest").exists()
    out.run()
    plan = make_plan(out.folder, out.out)
    records = with_records(plan, out.out, with_failed=True).records
    assert [record.status for record in records.values()] == ["ok"] * len(BOXES)


def _committed(cohort: TinyCohort) -> dict[Path, bytes]:
    """The records under their own names; one that is being written is hidden, and may be gone before it is read."""
    return {path: path.read_bytes() for path in (cohort.out / "records").glob("sub-*/[!.]*.json")}


def _wait_for(is_there, limit_s=240.0):
    deadline = time.monotonic() + limit_s
    while not is_there():
        assert time.monotonic() < deadline, "it did not come so far"
        time.sleep(0.1)
