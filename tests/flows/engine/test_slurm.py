"""Jobs of SLURM as workers: what the file may say, and a real SLURM of one node."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.engine.cluster import ClusterOptionError
from flows.engine.slurm import SlurmProfile, read_profile
from flows.engine.worker_check import SEEN_AS, Checked, project_digest
from tests.flows.conftest import BOXES, STUDY, TinyCohort
from tests.slurm_node import SlurmNode, slurm_node

TEMPLATE = Path("cohorts/templates/example_cluster.toml")
N_PATIENTS = 40


def write(folder: Path, *lines: str) -> Path:
    path = folder / "cluster.toml"
    path.write_text("\n".join(["[cluster]", 'kind = "slurm"', *lines]))
    return path


def test_the_example_is_a_profile_of_eight_workers() -> None:
    profile = read_profile(TEMPLATE)
    assert (profile.n_workers, profile.memory_gib, profile.queue_limit_s) == (8, 16, 86_400)
    assert [profile.jobs_for(n) for n in (0, 1, 4, 5, 800)] == [1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("wall_time = 4", "wall_time: Input should be a valid string, got 4"),
        ('wall_time = "four hours"', "wall_time: String should match pattern"),
        ("jobs = 0", "jobs: Input should be greater than or equal to 1, got 0"),
        ("gpus = 1\nworkers = 2", "workers must be 1 where gpus is 1, got 2: a GPU serves one worker"),
        ('queue = "a; rm -rf"', "queue: String should match pattern"),
        ('prologue = ["module load x\\nrm y"]', "prologue.0: String should match pattern"),
        ('host = "a"\ninterface = "b"', "host and interface must not both be given"),
        ("memory = 4", "memory: Extra inputs are not permitted, got 4"),
    ],
)
def test_each_fault_of_the_file_is_named(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ClusterOptionError, match=r"See example_cluster\.toml") as raised:
        read_profile(write(tmp_path, line))
    assert words in str(raised.value)


@pytest.mark.parametrize("text", ["", "[cluster", "[slurm]\njobs = 2", "cluster = 2"])
def test_a_file_without_the_section_is_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    with pytest.raises(ClusterOptionError, match=r"must be a TOML file that can be read|must hold one section"):
        read_profile(path)


def test_the_project_is_told_apart_by_every_file_that_a_worker_runs(tmp_path: Path) -> None:
    (tmp_path / "tasks" / "__pycache__").mkdir(parents=True)
    (tmp_path / "tasks" / "one.py").write_text("x = 1")
    first = project_digest(tmp_path)
    (tmp_path / "tasks" / "__pycache__" / "one.pyc").write_bytes(b"0")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text("x = 1")
    assert project_digest(tmp_path) == first
    (tmp_path / "tasks" / "weights.safetensors").write_bytes(b"0")
    assert project_digest(tmp_path) != first


def test_a_worker_that_sees_another_folder_or_runs_another_project_takes_no_case(tmp_path: Path) -> None:
    worker, digest = SimpleNamespace(address="tls://node7:1"), project_digest()
    (tmp_path / SEEN_AS).write_text("abc")
    Checked((tmp_path,), "abc", digest).setup(worker)
    with pytest.raises(RuntimeError, match=f"worker tls://node7:1 must see {tmp_path} as this command does"):
        Checked((tmp_path,), "abd", digest).setup(worker)
    with pytest.raises(RuntimeError, match=r"must see /nowhere as this command does, got another folder or none"):
        Checked((Path("/nowhere"),), "abc", digest).setup(worker)
    with pytest.raises(RuntimeError, match=rf"must run this project and its weights \(0000\), got {digest[:12]} in "):
        Checked((tmp_path,), "abc", "0000").setup(worker)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmNode]:
    with slurm_node(tmp_path_factory.mktemp("slurm") / "node") as running:
        yield running


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """Forty participants with the lesions of eight."""
    folder = tmp_path_factory.mktemp("forty")
    made = TinyCohort(folder / "cohort", folder / "out")
    for number in range(1, N_PATIENTS + 1):
        made.write_mask(number, *BOXES[number % len(BOXES)])
    made.write_tables(N_PATIENTS)
    (made.folder / "cohort.toml").write_text(STUDY)
    return made


def start(cohort: TinyCohort, out: Path, node: SlurmNode, *options: str) -> subprocess.Popen[str]:
    """Start the command beside the node."""
    command = [sys.executable, "-m", "flows", "run", str(cohort.folder), str(out), *options]
    environment = os.environ | node.environment | {"COLUMNS": "120"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def tables(out: Path) -> dict[str, str]:
    """Digest of every table of the latest results but the seconds that the steps took."""
    paths = sorted((out / "results" / "latest").resolve().rglob("*.parquet"))
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.stem != "timings"}
    assert len(found) > 5
    return found


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.processes
def test_jobs_of_which_one_is_cancelled_give_the_tables_of_a_local_run(cohort: TinyCohort, node: SlurmNode) -> None:
    file = write(cohort.out.parent, "jobs = 2", "memory_gib = 1", "gpus = 1", 'wall_time = "10"')
    out = cohort.out.with_name("by-jobs")
    running = start(cohort, out, node, "--cluster", str(file))
    until, cancelled = time.monotonic() + 240, ""
    records = out / "records"
    while running.poll() is None and time.monotonic() < until:
        jobs = node.call("squeue", "--noheader", "--states=R", "--format=%A").split()
        if not cancelled and len(jobs) == 2 and records.is_dir() and any(records.rglob("*.json")):
            node.call("scancel", cancelled := jobs[0])
        time.sleep(0.1)
    printed, errors = running.communicate(timeout=60)
    assert running.returncode == 0, printed + errors
    listed = node.call("squeue", "--noheader", "--states=all", "--format=%A %T").splitlines()
    states = dict(line.split() for line in listed)
    assert states[cancelled] == "CANCELLED"
    assert not {"RUNNING", "PENDING"} & set(states.values())
    cohort.run()
    assert tables(out) == tables(cohort.out)


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.processes
def test_a_partition_that_is_not_there_is_one_clear_error(cohort: TinyCohort, node: SlurmNode) -> None:
    file = write(cohort.out.parent, 'queue = "nowhere"')
    ended = start(cohort, cohort.out.with_name("refused"), node, "--cluster", str(file))
    _, errors = ended.communicate(timeout=120)
    assert ended.returncode == 3, errors
    assert "SLURM must take the jobs of --cluster, got: sbatch: error: invalid partition specified: nowhere" in errors
    assert "Traceback" not in errors


def test_without_slurm_the_commands_that_are_missing_are_named(
    tiny: TinyCohort, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profile = SlurmProfile(kind="slurm")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    from flows.engine.cluster import ClusterError, connect

    with (
        pytest.raises(ClusterError, match=r"got no sbatch, squeue, scancel\. Run on a login node"),
        connect(n_cpus=1, address=None, work_dir=str(tmp_path), profile=profile),
    ):
        pass
