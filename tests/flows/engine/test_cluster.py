"""Workers: what is refused, and what happens when one dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client, LocalCluster
from distributed.security import Security

from flows.__main__ import app, guarded
from flows.engine import forking
from flows.engine.certificates import make_certificates
from flows.engine.cluster import (
    WORKERLESS_S,
    ClusterError,
    ClusterOptionError,
    TlsFiles,
    check_address,
    connect,
    resources_offered,
)
from flows.engine.limits import ONE_THREAD
from tests.flows.conftest import BOXES, TinyCohort

KILLER = Path(__file__).with_name("deadly_case.py")


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:8786", "localhost:8786", "tls://10.0.0.1:8786", "tcp://[::1]:8786"]
)
def test_loopback_and_tls_are_accepted(address: str) -> None:
    check_address(address, allow_insecure=False)


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:8786", "scheduler.example.org:8786", "ws://node7:8786"])
def test_clear_text_beyond_loopback_is_refused_unless_asked_for(address: str) -> None:
    with pytest.raises(ClusterOptionError, match="must be a tls:// address or on loopback"):
        check_address(address, allow_insecure=False)
    check_address(address, allow_insecure=True)


@pytest.mark.processes
def test_no_scheduler_at_the_address_is_one_clear_error(tiny: TinyCohort) -> None:
    done = tiny.run("--dask", "tcp://127.0.0.1:9", expect=3)
    assert "--dask must be a running scheduler, got none at tcp://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.processes
@pytest.mark.slow
def test_a_case_that_kills_its_worker_fails_alone_and_one_without_end_times_out(
    tiny: TinyCohort, tmp_path: Path
) -> None:
    arguments = [str(tiny.folder), str(tmp_path / "out"), "sub-03", "sub-06", "sub-07"]
    done = subprocess.run(
        [sys.executable, str(KILLER), *arguments], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    states = json.loads(done.stdout.splitlines()[-1])
    assert states.pop("sub-03")[:2] == ["failed", "worker_died"]
    assert states["sub-06"][:2] == states["sub-07"][:2] == ["failed", "timed_out"]
    assert "it was in spoilt (deadly_case.py, line " in states.pop("sub-06")[2]
    assert "it was in spoilt (deadly_case.py, line " in states.pop("sub-07")[2]
    assert states == {f"sub-{n:02d}": ["ok", None, None] for n in range(1, len(BOXES) + 1) if n not in (3, 6, 7)}


@pytest.mark.processes
def test_a_worker_comes_back_whose_nanny_ended(tmp_path: Path) -> None:
    """A nanny ends for good where the worker that it starts again cannot start, as on a loaded machine."""
    with connect(n_cpus=1, address=None, work_dir=str(tmp_path)) as client:
        before = client.submit(os.getpid, pure=False).result(timeout=60)
        client.cluster.sync(client.cluster.workers["cpu-0"].close)
        _wait_until(lambda: before not in _pids(client))
        after = client.submit(os.getpid, pure=False).result(timeout=120)
        assert _pids(client) == {after}
        assert {worker["name"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()} == {"cpu-0"}


@pytest.mark.processes
def test_workers_come_back_whose_fork_server_was_killed(tmp_path: Path) -> None:
    """They are copies of one process, which has imported what they need; without it they end and are made again."""
    with connect(n_cpus=1, address=None, work_dir=str(tmp_path)) as client:
        before = client.submit(os.getpid, pure=False).result(timeout=60)
        assert client.submit(lambda: "flows.run.steps" in sys.modules).result(timeout=60)
        worker = psutil.Process(before)
        server = worker.parent()
        assert server.parent().pid == os.getpid()
        (address,) = client.scheduler_info(n_workers=-1)["workers"]
        server.kill()
        _wait_until(lambda: address not in client.scheduler_info(n_workers=-1)["workers"])
        after = client.submit(os.getpid, pure=False).result(timeout=120)
        assert psutil.Process(after).parent() != server
        _wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_the_fork_server_counts_one_thread_and_imports_nothing_of_the_working_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, str] = {}
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    monkeypatch.setattr(forking.forkserver, "ensure_running", lambda: seen.update(os.environ))
    before = dict(os.environ)
    forking.begin_to_import()
    assert {name: seen[name] for name in ONE_THREAD} == ONE_THREAD
    assert seen["PYTHONSAFEPATH"] == "1"
    assert dict(os.environ) == before


@pytest.mark.processes
def test_a_worker_that_died_may_take_minutes_to_come_back(tmp_path: Path) -> None:
    """Dask's own limit is 15 s, after which its cluster closes the nanny."""
    with connect(n_cpus=1, address=None, work_dir=str(tmp_path)):
        assert dask.config.get("distributed.deploy.lost-worker-timeout") == "240s"
        assert dask.config.get("distributed.scheduler.no-workers-timeout") == "660s"  # after the run has given up
        assert WORKERLESS_S == 600


def _pids(client: Client) -> set[int]:
    return set(client.run(os.getpid).values())


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_so()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, TlsFiles, Path]]:
    """A site's scheduler with certificates and one worker that declares a GPU: address, certificates, folder."""
    folder = tmp_path_factory.mktemp("site")
    tls = make_certificates(folder / "site", 1)
    security = Security(
        tls_ca_file=str(tls.ca),
        tls_scheduler_cert=str(tls.cert),
        tls_scheduler_key=str(tls.key),
        tls_worker_cert=str(tls.cert),
        tls_worker_key=str(tls.key),
        tls_client_cert=str(tls.cert),
        tls_client_key=str(tls.key),
        require_encryption=True,
    )
    with LocalCluster(
        n_workers=1,
        processes=False,
        protocol="tls://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        security=security,
        resources={"GPU": 1},
        silence_logs=50,
    ) as cluster:
        yield cluster.scheduler_address, tls, folder


@pytest.mark.processes
def test_a_scheduler_with_certificates_is_used_with_ours(site: tuple[str, TlsFiles, Path]) -> None:
    address, tls, folder = site
    with connect(n_cpus=1, address=address, work_dir=str(folder), tls=tls) as client:
        assert client.submit(sum, [20, 22]).result(timeout=30) == 42
        assert resources_offered(client) == {"GPU"}


@pytest.mark.processes
def test_an_error_of_the_run_itself_is_not_laid_to_the_scheduler(site: tuple[str, TlsFiles, Path]) -> None:
    address, tls, folder = site
    for error in (OSError(28, "No space left on device"), TypeError("of a table"), ValueError("of a table")):
        with (
            pytest.raises(type(error)) as raised,
            connect(n_cpus=1, address=address, work_dir=str(folder), tls=tls),
        ):
            raise error
        assert raised.value is error


@pytest.mark.processes
def test_certificates_that_do_not_fit_are_one_clear_error(site: tuple[str, TlsFiles, Path]) -> None:
    address, tls, folder = site
    others = make_certificates(folder / "others", 1)
    for wrong in (others, TlsFiles(tls.ca, others.cert, others.key), TlsFiles(others.ca, tls.cert, tls.key)):
        with (
            pytest.raises(ClusterError, match=f"--dask must be a running scheduler, got none at {address}"),
            connect(n_cpus=1, address=address, work_dir=str(folder), tls=wrong),
        ):
            pass
    for wrong, rule in (
        (TlsFiles(folder / "none.pem", tls.cert, tls.key), "--tls-ca must be a PEM file"),
        (TlsFiles(tls.ca, folder, tls.key), "--tls-cert must be a PEM file"),
        (TlsFiles(tls.ca, tls.cert, tls.ca), "certificates must be PEM files that fit together"),
        (TlsFiles(tls.key, tls.cert, tls.key), "certificates must be PEM files that fit together"),
        (None, "needs --tls-ca, --tls-cert and --tls-key"),
    ):
        with (
            pytest.raises(ClusterOptionError, match=rule),
            connect(n_cpus=1, address=address, work_dir=str(folder), tls=wrong),
        ):
            pass
    with (
        pytest.raises(ClusterOptionError, match="must be a tls:// address where certificates are given"),
        connect(n_cpus=1, address="tcp://127.0.0.1:9", work_dir=str(folder), tls=tls),
    ):
        pass


@pytest.mark.parametrize("options", [["--tls-ca", "ca.pem"], ["--tls-ca", "a", "--tls-cert", "b", "--tls-key", "c"]])
def test_certificates_are_given_together_and_for_a_scheduler(options: list[str]) -> None:
    assert guarded(lambda: app(["run", "cohort", "out", *options], standalone_mode=False)) == 2


@pytest.mark.processes
def test_a_required_gpu_that_no_worker_declares_is_one_clear_error(
    tiny: TinyCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = tiny.run("--gpu", "require", expect=3)
    assert "--gpu require must find a CUDA device, got none on this machine" in done.stderr
    assert "Traceback" not in done.stderr
