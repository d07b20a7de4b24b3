"""Break runs on purpose, run again, and compare with an undisturbed run, byte by byte.

    python -m tests.benchmarks.faults COHORT WORK [--kills 20]

For each fault: the run is disturbed; then one plain rerun must give the same tables (all but ``timings``), leave no
process behind and no Prefect run unfinished. Prints one line per fault; ends with 1 if any of them failed. The full
disk needs the right to mount a small file system and is left out without it. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SETTLE_S = 3.0
LIMIT_S = 600
SMALL_DISK = "300m"


@dataclass
class Scene:
    """A cohort, an output folder and the tag that every process started here carries."""

    cohort: Path
    out: Path
    tag: str = field(default_factory=lambda: uuid.uuid4().hex)

    def start(self) -> subprocess.Popen[bytes]:
        """Start a run."""
        return subprocess.Popen(
            [sys.executable, "-m", "flows", "run", str(self.cohort), str(self.out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "ASPECTS_FAULT_TAG": self.tag},
        )

    def run(self) -> int:
        """Run to the end and give the exit code."""
        process = self.start()
        _, errors = process.communicate(timeout=LIMIT_S)
        if process.returncode:
            print(errors.decode()[-1500:], file=sys.stderr)
        return process.returncode

    def n_records(self) -> int:
        """Committed records so far."""
        return len(list(self.out.glob("records/*/[!.]*.json")))

    def wait_for_records(self, n: int, process: subprocess.Popen[bytes]) -> None:
        """Wait until the run has committed some results."""
        deadline = time.monotonic() + LIMIT_S
        while self.n_records() < n and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)

    def processes(self, word: str = "") -> list[int]:
        """Living processes of this scene whose command line holds ``word``."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                tagged = self.tag.encode() in (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except (OSError, IndexError):
                continue
            if tagged and word in command and not zombie:
                found.append(int(entry.name))
        return found

    def unfinished(self) -> int:
        """Prefect flow and task runs that are not in a final state."""
        database = self.out / "work" / "prefect" / "prefect.db"
        if not database.is_file():
            return 0
        query = "select count(*) from {} where state_type in ('RUNNING', 'PENDING', 'CANCELLING')"
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            return sum(connection.execute(query.format(table)).fetchone()[0] for table in ("flow_run", "task_run"))

    def digests(self) -> dict[str, str]:
        """sha256 of every table but the timings."""
        folder = self.out / "results" / "latest" / "tables"
        if not folder.is_dir():
            return {}
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir())
            if not path.name.startswith("timings")
        }


def kill_at(moment_s: float) -> Callable[[Scene], str]:
    """SIGKILL the run after some seconds."""

    def disturb(scene: Scene) -> str:
        process = scene.start()
        try:
            process.wait(moment_s)
            return f"ended by itself before {moment_s:.1f} s"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return f"killed at {moment_s:.1f} s with {scene.n_records()} committed"

    return disturb


def signal_at(number: signal.Signals, expected: int) -> Callable[[Scene], str]:
    """Ctrl-C or SIGTERM in the middle; the exit code must be the agreed one."""

    def disturb(scene: Scene) -> str:
        process = scene.start()
        scene.wait_for_records(5, process)
        process.send_signal(number)
        process.communicate(timeout=60)
        state = "as agreed" if process.returncode == expected else f"BUT {expected} IS AGREED"
        return f"exit code {process.returncode}, {state}, {scene.n_records()} committed"

    return disturb


def kill_child(word: str) -> Callable[[Scene], str]:
    """SIGKILL one of the run's children in the middle."""

    def disturb(scene: Scene) -> str:
        process = scene.start()
        scene.wait_for_records(5, process)
        victims = scene.processes(word)
        if not victims:
            process.kill()
            return f"NO PROCESS WITH {word}"
        os.kill(victims[-1], signal.SIGKILL)
        process.communicate(timeout=LIMIT_S)
        return f"exit code {process.returncode}, {scene.n_records()} committed"

    return disturb


def full_disk(scene: Scene) -> str:
    """Fill the file system in the middle of a run; then make room."""
    scene.out.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(scene.out)]
    if subprocess.run(mount, check=False).returncode:
        return "left out: no right to mount"
    process = scene.start()
    scene.wait_for_records(5, process)
    ballast = scene.out / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as handle:
        while True:
            handle.write(bytes(2**16))
    process.communicate(timeout=LIMIT_S)
    ballast.unlink()
    state = "as agreed" if process.returncode == 74 else "BUT 74 IS AGREED"
    return f"exit code {process.returncode}, {state}, {scene.n_records()} committed"


def truncated_mask(scene: Scene) -> str:
    """Cut a mask for one night; the next night it is whole again."""
    mask = sorted(scene.cohort.glob("**/sub-*.nii.gz"))[-1]
    content = mask.read_bytes()
    mask.unlink()  # the file may be a hard link: never write through it
    mask.write_bytes(content[: len(content) // 2])
    code = scene.run()
    mask.write_bytes(content)
    return f"exit code {code} with {mask.name} cut"


def damaged_record(scene: Scene) -> str:
    """Overwrite the middle of some commit records after a whole run."""
    code = scene.run()
    records = sorted(scene.out.glob("records/*/*.json"))[::50]
    for path in records:
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 8] = b"\0garbage"
        path.write_bytes(bytes(content))
    return f"exit code {code}, {len(records)} records damaged"


def main() -> None:
    """Run every fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    reference = Scene(arguments.cohort, arguments.work / "reference")
    started = time.monotonic()
    if not reference.digests():
        assert reference.run() == 0, "the undisturbed run must succeed"
    length_s = json.loads((reference.out / "results/latest/summary.json").read_text()).get("seconds", {}).get("total")
    length_s = length_s or time.monotonic() - started
    print(f"undisturbed run: {length_s:.1f} s, {reference.n_records()} records")
    wanted = reference.digests()
    rng = random.Random(arguments.seed)
    faults: list[tuple[str, Callable[[Scene], str]]] = [
        (f"SIGKILL {number + 1}", kill_at(rng.uniform(0.3, length_s))) for number in range(arguments.kills)
    ]
    faults += [
        ("SIGKILL of a worker", kill_child("multiprocessing")),
        ("SIGKILL of the Prefect server", kill_child("flows.engine.prefect_server")),
        ("SIGINT", signal_at(signal.SIGINT, 130)),
        ("SIGTERM", signal_at(signal.SIGTERM, 143)),
        ("full disk", full_disk),
        ("truncated mask", truncated_mask),
        ("damaged records", damaged_record),
    ]
    n_failed = 0
    for name, disturb in faults:
        if arguments.only not in name:
            continue
        scene = Scene(arguments.cohort, arguments.work / "disturbed")
        what = disturb(scene)
        time.sleep(SETTLE_S)
        left = scene.processes()
        code = scene.run()
        problems = [f"orphans {left}"] if left else []
        problems += [f"rerun ended with {code}"] if code else []
        changed = sorted(key for key, digest in wanted.items() if scene.digests().get(key) != digest)
        problems += [f"tables differ: {', '.join(changed)}"] if changed else []
        problems += [f"{scene.unfinished()} Prefect runs unfinished"] if scene.unfinished() else []
        problems += [what] if any(word.isupper() and len(word) > 3 for word in what.split()) else []
        print(
            f"{name}: {what}; after one rerun {'FAILED: ' + '; '.join(problems) if problems else 'identical'}",
            flush=True,
        )
        n_failed += bool(problems)
        subprocess.run(["umount", scene.out], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(scene.out, ignore_errors=True)
    print(f"{n_failed} of {len(faults)} faults failed")
    sys.exit(bool(n_failed))


if __name__ == "__main__":
    main()
