"""Break runs on purpose, run again, and compare with an undisturbed run, byte by byte.

    python -m tests.benchmarks.faults COHORT WORK [--kills 20]

For each fault: the run is disturbed; then one plain rerun must give the same tables (all but ``timings``), leave no
process behind and no Prefect run unfinished. Prints one line per fault; ends with 1 if any of them failed. Words in
capitals in a line are a broken agreement. The full disks need the right to mount a small file system and are left out
without it. Linux only.
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

from flows.run.latest import latest_folder
from tests.flows.conftest import free_port

SETTLE_S = 3.0
LIMIT_S = 600
SMALL_DISK = "300m"


@dataclass
class Scene:
    """A cohort, an output folder and the tag that every process started here carries."""

    cohort: Path
    out: Path
    tag: str = field(default_factory=lambda: uuid.uuid4().hex)
    options: tuple[str, ...] = ()  # of every run of this scene
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *options: str, command: str = "run") -> subprocess.Popen[bytes]:
        """Start a run."""
        arguments = [command, str(self.cohort), str(self.out), *self.options, *options]
        return self.spawn([sys.executable, "-m", "flows", *arguments])

    def spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a process of this scene."""
        return subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **self.environment, "ASPECTS_FAULT_TAG": self.tag},
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
        """Prefect flow and task runs that are not in a final state; -1 where the database cannot be read."""
        database = self.out / "work" / "prefect" / "prefect.db"
        if not database.is_file():
            return 0
        query = "select count(*) from {} where state_type in ('RUNNING', 'PENDING', 'CANCELLING')"
        with (
            contextlib.suppress(sqlite3.DatabaseError),
            sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection,
        ):
            return sum(connection.execute(query.format(table)).fetchone()[0] for table in ("flow_run", "task_run"))
        return -1

    def digests(self) -> dict[str, str]:
        """sha256 of every table but the timings."""
        latest = latest_folder(self.out)
        if latest is None:
            return {}
        folder = latest / "tables"
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
    scene.out.mkdir(parents=True, exist_ok=True)
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
    records = sorted(scene.out.glob("records/*/[!.]*.json"))[::50]
    for path in records:
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 8] = b"\0garbage"
        path.write_bytes(bytes(content))
    return f"exit code {code}, {len(records)} records damaged"


def full_work_folder(scene: Scene) -> str:
    """Fill the file system of the work folder alone; then make room."""
    work = scene.out.with_name("small-work")
    work.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(work)]
    if subprocess.run(mount, check=False).returncode:
        return "left out: no right to mount"
    try:
        process = scene.start("--work-dir", str(work))
        scene.wait_for_records(5, process)
        with contextlib.suppress(OSError), (work / "ballast").open("wb", buffering=0) as handle:
            while True:
                handle.write(bytes(2**16))
        _, errors = process.communicate(timeout=LIMIT_S)
        is_agreed = process.returncode in (0, 74) and b"Traceback" not in errors
        state = "as agreed" if is_agreed else f"BUT 74 IS AGREED: {errors.decode()[-300:]}"
        return f"exit code {process.returncode}, {state}, {scene.n_records()} committed"
    finally:
        subprocess.run(["umount", str(work)], check=False)


def killed_scheduler(scene: Scene) -> str:
    """SIGKILL the site's own Dask scheduler in the middle; nothing of that is a fault of the scans."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    scheduler = scene.spawn([*dask, "--no-dashboard"])
    worker = scene.spawn(
        [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nworkers", "2", "--nthreads", "1"]
    )
    try:
        time.sleep(10)
        process = scene.start("--dask", address)
        scene.wait_for_records(5, process)
        scheduler.kill()
        scheduler.wait()
        process.communicate(timeout=LIMIT_S)
        failed = [path for path in scene.out.glob("records/*/[!.]*.json") if b'"status":"failed"' in path.read_bytes()]
        state = "as agreed" if process.returncode == 75 else "BUT 75 IS AGREED"
        state += f", {len(failed)} SCANS BLAMED" if failed else ""
        return f"exit code {process.returncode}, {state}, {scene.n_records()} committed"
    finally:
        for started in (worker, scheduler):
            started.terminate()
            started.communicate(timeout=60)


def damaged_database(scene: Scene) -> str:
    """Overwrite Prefect's database in the middle of a killed run."""
    process = scene.start()
    scene.wait_for_records(5, process)
    process.kill()
    process.wait()
    time.sleep(SETTLE_S)
    found = sorted((scene.out / "work" / "prefect").glob("prefect.db*"))
    for path in found:
        path.write_bytes(b"garbage" * 1000)
    return f"{len(found)} files of the database overwritten" if found else "NO DATABASE"


def without_links(scene: Scene) -> str:
    """Run on a share without symbolic links, twice: the second night must do nothing."""
    hooks = scene.out.with_name("without-links")
    hooks.mkdir(parents=True, exist_ok=True)
    (hooks / "sitecustomize.py").write_text(WITHOUT_LINKS)
    path = os.pathsep.join([str(hooks), *filter(None, [os.environ.get("PYTHONPATH"), os.getcwd()])])  # noqa: PTH109
    scene.environment["PYTHONPATH"] = path
    codes = [scene.run(), scene.run()]
    runs = [path for path in (scene.out / "results").iterdir() if path.is_dir()]
    scene.environment.clear()
    state = "as agreed" if codes == [0, 0] and len(runs) == 1 else "BUT ONE RUN AND CODES 0 ARE AGREED"
    return f"exit codes {codes}, {len(runs)} run folders, {state}"


WITHOUT_LINKS = """import errno, os
plain = os.symlink
def symlink(source, target, *more, **options):
    if "/results/" in os.path.abspath(os.fspath(target)):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), os.fspath(target))
    return plain(source, target, *more, **options)
os.symlink = symlink
"""


def copied_links(scene: Scene) -> str:
    """Copy the output folder with its links followed: latest becomes a folder."""
    code = scene.run()
    link = scene.out / "results" / "latest"
    run = link.resolve()
    link.unlink()
    shutil.copytree(run, link)
    record = next(iter(sorted(scene.out.glob("records/*/[!.]*.json"))))
    record.unlink()  # something is due
    return f"exit code {code}, latest is a folder"


def future_lock(scene: Scene) -> str:
    """Leave the lock of another host whose clock is a year ahead."""
    scene.out.mkdir(parents=True, exist_ok=True)
    path = scene.out / ".lock.json"
    owner = {"pid": 1, "host": "elsewhere", "started_at": "2999-01-01T00:00:00+00:00", "command": "aspects run"}
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() + 365 * 86400,) * 2)
    return "a lock dated next year"


def killed_before_its_hook(scene: Scene) -> str:
    """Kill the first night inside its hook, and another between publication and hook; each change is told."""
    calls = scene.out.with_name("calls")
    calls.unlink(missing_ok=True)
    hook = scene.out.with_name("hook.sh")
    hook.parent.mkdir(parents=True, exist_ok=True)
    hook.write_text(f"#!/bin/sh\n[ -e {calls}.let ] && echo told >> {calls} || kill -9 $PPID\n")
    hook.chmod(0o755)
    Path(f"{calls}.let").unlink(missing_ok=True)
    process = scene.start("--on-change", str(hook), command="nightly")
    process.communicate(timeout=LIMIT_S)
    Path(f"{calls}.let").touch()
    code = scene.start("--on-change", str(hook), command="nightly").wait(LIMIT_S)
    told = calls.read_text().count("told") if calls.exists() else 0
    state = "as agreed" if told == 1 and code == 0 else "BUT ONE CALL IS AGREED"
    return f"killed with {process.returncode}; the next night ended with {code} and told {told} times, {state}"


def swapped_records(scene: Scene) -> str:
    """Lay one participant's record at another's address, and change a table without changing its size."""
    code = scene.run()
    paths = sorted(scene.out.glob("records/*/[!.]*.json"))
    shutil.copy(paths[0], paths[-1])
    latest = latest_folder(scene.out)
    assert latest is not None
    table = latest / "tables" / "scores.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(bytes(content))
    found = scene.spawn([sys.executable, "-m", "flows", "verify", str(scene.out)]).wait(LIMIT_S)
    return f"exit code {code}, verify ended with {found}, " + ("as agreed" if found == 1 else "BUT 1 IS AGREED")


def dead_share(scene: Scene) -> str:
    """Make every mask unreadable for one night after a whole one: the results must stay."""
    code = scene.run()
    before = scene.digests()
    masks = sorted(scene.cohort.glob("**/*.nii.gz"))
    places = {path.parent for path in masks}
    for place in places:
        place.rename(place.with_name(f"{place.name}-unmounted"))
        place.mkdir()
    try:
        second = scene.start().wait(LIMIT_S)
    finally:
        for place in places:
            place.rmdir()
            place.with_name(f"{place.name}-unmounted").rename(place)
    state = "as agreed" if second == 1 and scene.digests() == before else "BUT 1 AND THE SAME RESULTS ARE AGREED"
    return f"exit codes {code} and {second}, {state}"


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
    length_s = max(5.0, time.monotonic() - started)
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
        ("full work folder", full_work_folder),
        ("SIGKILL of the scheduler of --dask", killed_scheduler),
        ("damaged prefect.db", damaged_database),
        ("no symbolic links", without_links),
        ("copy that followed links", copied_links),
        ("lock from the future", future_lock),
        ("killed before its hook", killed_before_its_hook),
        ("swapped record, changed table", swapped_records),
        ("images not mounted", dead_share),
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
