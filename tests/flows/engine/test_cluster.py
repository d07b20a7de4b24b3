"""Workers: what is refused, and what happens when one dies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.engine.cluster import ClusterError, check_address
from tests.flows.conftest import BOXES, TinyCohort

KILLER = Path(__file__).with_name("deadly_case.py")


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:8786", "localhost:8786", "tls://10.0.0.1:8786", "tcp://[::1]:8786"]
)
def test_loopback_and_tls_are_accepted(address: str) -> None:
    check_address(address, allow_insecure=False)


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:8786", "scheduler.example.org:8786", "ws://node7:8786"])
def test_clear_text_beyond_loopback_is_refused_unless_asked_for(address: str) -> None:
    with pytest.raises(ClusterError, match="must be a tls:// address or on loopback"):
        check_address(address, allow_insecure=False)
    check_address(address, allow_insecure=True)


def test_no_scheduler_at_the_address_is_one_clear_error(tiny: TinyCohort) -> None:
    done = tiny.run("--dask", "tcp://127.0.0.1:9", expect=3)
    assert "--dask must be a running scheduler, got none at tcp://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_case_that_kills_its_worker_fails_alone_and_a_hanging_one_times_out(tiny: TinyCohort, tmp_path: Path) -> None:
    arguments = [str(tiny.folder), str(tmp_path / "out"), "sub-03", "sub-06"]
    done = subprocess.run(
        [sys.executable, str(KILLER), *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    states = json.loads(done.stdout.splitlines()[-1])
    assert states.pop("sub-03") == ["failed", "worker_died"]
    assert states.pop("sub-06") == ["failed", "timed_out"]
    assert states == {f"sub-{n:02d}": ["ok", None] for n in range(1, len(BOXES) + 1) if n not in (3, 6)}
