"""A SLURM of one node on loopback, for tests: Debian's ``slurm-wlm`` and ``munge`` as plain processes.

Two GPUs are declared on ``/dev/null`` and ``/dev/zero``, so that jobs may ask for one. Users without these packages
skip the tests; ``ASPECTS_REQUIRE_SLURM=1`` makes their absence an error.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
WAIT_S = 30.0
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
MinJobAge=300
KillWait=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:2 State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=60 State=UP OverSubscribe=FORCE:4
"""


@dataclass(frozen=True)
class SlurmNode:
    """The node; commands of SLURM find it with ``environment``."""

    folder: Path
    environment: dict[str, str]

    def call(self, *command: str) -> str:
        """What a command of SLURM prints."""
        return subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, check=True, timeout=30
        ).stdout


@contextlib.contextmanager
def slurm_node(folder: Path) -> Iterator[SlurmNode]:
    """Run the node for the length of a block; the test is skipped, or fails where CI requires it, without packages."""
    found = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for name in NEEDED}
    if missing := [name for name, path in found.items() if path is None] or (["root"] if os.geteuid() else []):
        if os.environ.get("ASPECTS_REQUIRE_SLURM") == "1":
            pytest.fail(f"ASPECTS_REQUIRE_SLURM=1 but there is no {', '.join(missing)}. Install slurm-wlm and munge.")
        pytest.skip(f"there is no {', '.join(missing)}")
    for name in ("state", "spool", "log"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    host = socket.gethostname().split(".")[0]
    facts = {"host": host, "folder": folder, "controller": _free_port(), "daemon": _free_port()}
    facts |= {"cpus": os.cpu_count(), "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20 // 2}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**facts))
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
    node = SlurmNode(folder, {"SLURM_CONF": str(folder / "slurm.conf")})
    munge = [f"--{name}={folder}/munge.{ending}" for name, ending in (("key-file", "key"), ("socket", "socket"))]
    munge += [f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"]
    commands = (
        [found["munged"], "--foreground", "--force", *munge],
        [found["slurmctld"], "-D"],
        [found["slurmd"], "-D"],
    )
    processes = []
    try:
        for command in commands:
            processes.append(
                subprocess.Popen(
                    command,
                    env=os.environ | node.environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
            if command is commands[0]:
                _wait_for(lambda: (folder / "munge.socket").exists(), "munged")
        _wait_for(lambda: _is_idle(node), f"slurmd ({folder}/slurmctld.log, slurmd.log)")
        yield node
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(20)


def _is_idle(node: SlurmNode) -> bool:
    """Whether the node takes jobs."""
    with contextlib.suppress(subprocess.SubprocessError):
        return node.call("sinfo", "-h", "-o", "%T").split() == ["idle"]
    return False


def _wait_for(is_there, what: str) -> None:
    """Wait until something holds."""
    until = time.monotonic() + WAIT_S
    while not is_there():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} must answer within {WAIT_S:.0f} s")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
