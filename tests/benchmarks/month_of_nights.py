"""A month of nights: arrivals, replaced scans, changed rules, upgraded code, outages; and what was told of each.

    python -m tests.benchmarks.month_of_nights --work DIR [--nights 30]

Every night is the real command ``aspects nightly`` of a copy of the program, on synthetic patients with lesion masks.
Before it something happens, and after it the published tables are read and held against those that were told last, by
this script and not by the program: whoever has other numbers must have been told with a cause, and whoever was told
must have other numbers. A table shows the night, what happened, how it ended, and what was told; the script ends with 1
where any night was not as it must be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil

from tests.benchmarks.growth_nights import sizes_mb
from tests.flows.conftest import BOXES, STUDY, TinyCohort

ROOT = Path(__file__).parents[2]
PACKAGES = ("cohorts", "flows", "models", "reports", "tasks")
TABLES = ("participants", "exclusions", "scans", "lesions", "scores", "regions")
FIRST = 12  # patients of the first night
FULL_DISK_BYTES = 4096  # no file may become larger, as on a full disk
HOOK = """#!/bin/sh
cp "$1" "{folder}/{name}-$(date +%s%N).json"
test ! -e "{folder}/broken"
"""


@dataclass
class Site:
    """The cohort, the program's copy, and what its hooks were told."""

    folder: Path
    cohort: TinyCohort = field(init=False)
    n_patients: int = 0
    nihss: dict[int, object] = field(default_factory=dict)
    study: str = STUDY

    def __post_init__(self) -> None:
        self.cohort = TinyCohort(self.folder / "cohort", self.folder / "out")
        self.program, self.told_in = self.folder / "program", self.folder / "told"
        self.told_in.mkdir(parents=True)
        for name in PACKAGES:
            shutil.copytree(ROOT / name, self.program / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("change", "failure"):
            script = self.folder / f"{name}.sh"
            script.write_text(HOOK.format(folder=self.told_in, name=name))
            script.chmod(0o755)

    def arrive(self, n: int = 1) -> list[str]:
        """Patients come; their ids."""
        came = range(self.n_patients + 1, self.n_patients + n + 1)
        for number in came:
            self.mask(number, BOXES[number % len(BOXES)])
        self.n_patients += n
        self.write()
        return [f"sub-{number:02d}" for number in came]

    def mask(self, number: int, box: tuple[tuple[float, float, float], float]) -> None:
        """A patient's mask, new or another."""
        self.cohort.write_mask(number, *box)

    def write(self) -> None:
        """Tables and study as they are now."""
        self.cohort.write_tables(self.n_patients, nihss=self.nihss)
        (self.cohort.folder / "cohort.toml").write_text(self.study)

    def command(self, *more: str) -> list[str]:
        """The night's command."""
        hooks = [word for name in ("change", "failure") for word in (f"--on-{name}", str(self.folder / f"{name}.sh"))]
        words = ["nightly", str(self.cohort.folder), str(self.cohort.out), *hooks, *more]
        return [sys.executable, "-m", "flows", *words]

    def start(self, before: tuple[str, ...] = (), *, is_full: bool = False) -> subprocess.Popen[str]:
        """Start a night in a session of its own."""
        limit = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_DISK_BYTES,) * 2)) if is_full else None
        return subprocess.Popen(
            [*before, *self.command()], cwd=self.program, text=True, start_new_session=True, preexec_fn=limit,
            env={**os.environ, "PYTHONPATH": str(self.program), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def rows(self) -> dict[str, str]:
        """Participant -> all rows of the published tables as text."""
        folder = self.cohort.out / "results" / "latest" / "tables"
        found: dict[str, str] = {}
        for name in TABLES if folder.is_dir() else ():
            table = pd.read_parquet(folder / f"{name}.parquet", dtype_backend="numpy_nullable")
            for participant, part in table.groupby("participant_id"):
                found[str(participant)] = found.get(str(participant), "") + part.to_csv(index=False)
        return found

    def heard(self, name: str) -> list[dict]:
        """What a hook was told since this was asked last."""
        files = sorted(self.told_in.glob(f"{name}-*.json"))
        texts = [json.loads(one.read_text()) for one in files]
        for one in files:
            one.unlink()
        return texts


@dataclass(frozen=True)
class Night:
    """What happens before a night, how it must end, and whom it must tell: participant -> cause."""

    what: str
    happens: Callable[[Site], Mapping[str, str] | None] = lambda site: {}
    ends: int = 0
    is_failure: bool = False
    runs: Callable[[Site], tuple[int, str]] | None = None


def plain(site: Site) -> tuple[int, str]:
    """A night that nobody disturbs."""
    process = site.start()
    text, _ = process.communicate(timeout=600)
    return process.returncode, text


def full_disk(site: Site) -> tuple[int, str]:
    """A night in which no file of more than a page can be written."""
    process = site.start(is_full=True)
    text, _ = process.communicate(timeout=600)
    return process.returncode, text


def power_cut(site: Site) -> tuple[int, str]:
    """A night whose every process is killed once the first of its records is there."""
    records = site.cohort.out / "records"
    before = len(list(records.rglob("*.json")))
    process = site.start()
    until = time.monotonic() + 300
    while len(list(records.rglob("*.json"))) == before and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    for one in (*psutil.Process(process.pid).children(recursive=True), process):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.communicate()
    return process.returncode, "killed"


def two_at_once(site: Site) -> tuple[int, str]:
    """Two nights at the same time; the code is that of the second."""
    first = site.start()
    until = time.monotonic() + 300
    while not _holds(site.cohort.out, first.pid) and first.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    code, text = plain(site)
    first.communicate(timeout=600)
    return code, text


def _holds(out: Path, pid: int) -> bool:
    """Whether a process is at work in an output folder."""
    with contextlib.suppress(OSError, ValueError):
        return bool(json.loads((out / ".lock.json").read_text())["pid"] == pid)
    return False


def day_back(site: Site) -> tuple[int, str]:
    """A night on a clock that was set back by a day."""
    process = site.start(("faketime", "-f", "-1d"))
    text, _ = process.communicate(timeout=600)
    return process.returncode, text


def came(n: int) -> Callable[[Site], Mapping[str, str]]:
    """Patients come."""
    return lambda site: dict.fromkeys(site.arrive(n), "new participant")


def _everybody(site: Site, cause: str) -> dict[str, str]:
    return {f"sub-{number:02d}": cause for number in range(1, site.n_patients + 1)}


def replaced(site: Site) -> Mapping[str, str]:
    """Another lesion under the same name."""
    site.mask(3, BOXES[7])
    return {"sub-03": "input"}


def corrected(site: Site) -> Mapping[str, str]:
    """A clinical value is corrected."""
    site.nihss[5] = 7
    site.write()
    return {"sub-05": "clinical values (nihss)"}


def rule_changed(site: Site) -> Mapping[str, str]:
    """Another published rule decides which regions count."""
    site.study = STUDY.replace('kind = "mask"\n', 'kind = "mask"\nrule = "any"\n', 1)
    site.write()
    return {"?": "settings"}


def truncated(site: Site) -> Mapping[str, str]:
    """A file is cut off in the middle."""
    path = site.cohort.folder / "masks" / "sub-02.nii.gz"
    path.write_bytes(path.read_bytes()[:200])
    return {"sub-02": "input"}


def mended(site: Site) -> Mapping[str, str]:
    """The same file is whole again."""
    site.mask(2, BOXES[2])
    return {"sub-02": "input"}


def share_away(site: Site) -> None:
    """The cohort's folder is not there."""
    site.cohort.folder.rename(site.folder / "away")


def share_back(site: Site) -> Mapping[str, str]:
    """It is there again."""
    (site.folder / "away").rename(site.cohort.folder)
    return {}


def hook_broken(site: Site) -> Mapping[str, str]:
    """A patient comes while the mail server is down."""
    (site.told_in / "broken").touch()
    return came(1)(site)


def hook_mended(site: Site) -> Mapping[str, str]:
    """It is up again; who came last night must be told now."""
    (site.told_in / "broken").unlink()
    return {f"sub-{site.n_patients:02d}": "new participant"}


def server_damaged(site: Site) -> Mapping[str, str]:
    """Prefect's database is overwritten, and a patient comes."""
    for path in (site.cohort.out / "work").rglob("*.db"):
        path.write_bytes(b"not a database" * 100)
    return came(1)(site)


def upgraded(site: Site) -> Mapping[str, str]:
    """The program's code for masks changes, its numbers do not."""
    _edit(site, "tasks/lesion.py", lambda text: text + "\n\nUPGRADED = True\n")
    return {}


def other_numbers(site: Site) -> Mapping[str, str]:
    """The program's code changes, and volumes with it."""
    _edit(site, "tasks/space/affines.py", lambda text: text.replace("return float(abs(", "return 1.01 * float(abs("))
    return _everybody(site, "code")


def _edit(site: Site, name: str, change: Callable[[str], str]) -> None:
    path = site.program / name
    before = path.read_text()
    if (after := change(before)) == before:
        raise SystemExit(f"{name} must hold what this script changes. Mend the script.")
    path.write_text(after)


def left(site: Site) -> Mapping[str, str]:
    """The last patient withdraws consent."""
    gone = f"sub-{site.n_patients:02d}"
    site.n_patients -= 1
    site.write()
    return {gone: "participant removed"}


def source_added(site: Site) -> Mapping[str, str]:
    """A third source scores the same masks."""
    site.study = site.study.replace("[[clinical]]", '[[source]]\nname = "third"\nkind = "mask"\n\n[[clinical]]', 1)
    site.write()
    return {"?": "settings"}


def scratch_lost(site: Site) -> Mapping[str, str]:
    """What may be deleted between runs is deleted, and a patient comes."""
    shutil.rmtree(site.cohort.out / "work")
    return came(1)(site)


def record_damaged(site: Site) -> Mapping[str, str]:
    """A byte of a committed record changes."""
    path = sorted((site.cohort.out / "records").rglob("*.json"))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    return {}


def table_damaged(site: Site) -> Mapping[str, str]:
    """A published table is cut off."""
    path = site.cohort.out / "results" / "latest" / "tables" / "scores.parquet"
    path.write_bytes(path.read_bytes()[:100])
    return {}


def pruned(site: Site) -> Mapping[str, str]:
    """Old runs are deleted."""
    words = ["prune", str(site.cohort.out), "--keep", "7", "--yes"]
    subprocess.run(
        [sys.executable, "-m", "flows", *words], cwd=site.program, check=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(site.program)},
    )  # fmt: skip
    return {}


MONTH = (
    Night(f"first night, {FIRST} patients", came(FIRST)),
    Night("nothing"),
    Night("a patient comes", came(1)),
    Night("nothing"),
    Night("two patients come", came(2)),
    Night("a scan is replaced", replaced),
    Night("a clinical value is corrected", corrected),
    Night("a patient comes; power cut in the run", came(1), ends=-9, runs=power_cut),
    Night("nothing more", lambda site: {f"sub-{site.n_patients:02d}": "new participant"}),
    Night("a rule changes", rule_changed),
    Night("a scan is cut off", truncated),
    Night("the scan is whole again", mended),
    Night("the cohort's share is away", share_away, ends=3, is_failure=True),
    Night("the share is back", share_back),
    Night("a patient comes; disk full", lambda site: came(1)(site) and None, ends=74, is_failure=True, runs=full_disk),
    Night("the disk has room", lambda site: {f"sub-{site.n_patients:02d}": "new participant"}),
    Night("a patient comes; the hook fails", hook_broken),
    Night("the hook works", hook_mended),
    Night("Prefect's database is damaged, a patient comes", server_damaged),
    Night("upgrade, the same numbers", upgraded),
    Night("upgrade, other numbers", other_numbers),
    Night("a patient comes; two nights at once", came(1), ends=75, runs=two_at_once),
    Night("a patient withdraws", left),
    Night("a source is added", source_added),
    Night("a patient comes; the clock a day back", came(1), runs=day_back),
    Night("scratch folder deleted, a patient comes", scratch_lost),
    Night("a record is damaged", record_damaged),
    Night("a published table is damaged", table_damaged),
    Night("three patients come", came(3)),
    Night("pruned to seven runs", pruned),
)


def causes_told(told: list[dict]) -> dict[str, str]:
    """Participant -> cause, of what the change hook was given."""
    found: dict[str, str] = {}
    for one in told:
        path = Path(one["run_folder"]) / "changes.json"
        if one["changes"] is not None and path.is_file():
            found |= {row["participant_id"]: row["cause"] for row in json.loads(path.read_text())["participants"]}
    return found


def faults_of(night: Night, code: int, wanted: Mapping[str, str] | None, seen: Seen) -> list[str]:
    """In what a night was not as it must be."""
    faults = []
    if code != night.ends:
        faults.append(f"must end with {night.ends}, got {code}")
    if night.is_failure != bool(seen.failures):
        faults.append(f"failure hook called {len(seen.failures)} times")
    if seen.is_first:
        return faults
    for participant in sorted(seen.differing - set(seen.causes)):
        faults.append(f"{participant} has other numbers, and nobody was told")
    for participant in sorted(set(seen.causes) - seen.differing):
        faults.append(f"{participant} was told, and has the same numbers")
    for participant, cause in (wanted or {}).items():
        told = seen.causes.get(participant) if participant != "?" else next(iter(seen.causes.values()), None)
        if night.ends in (0, 1) and (told is None or cause not in told):
            faults.append(f"{participant} must be told by {cause}, got {told}")
    return faults


@dataclass(frozen=True)
class Seen:
    """What a night left: who differs from what was told last, who was told and why, and calls of the failure hook."""

    differing: set[str]
    causes: dict[str, str]
    failures: list[dict]
    is_first: bool


def main() -> None:
    """Play the month and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--nights", type=int, default=len(MONTH))
    asked = parser.parse_args()
    shutil.rmtree(asked.work, ignore_errors=True)
    site = Site(asked.work.resolve())
    told_rows: dict[str, str] = {}
    n_faults = 0
    print("night", "what happened", "exit", "seconds", "told", "MB", "faults", sep="\t", flush=True)
    for number, night in enumerate(MONTH[: asked.nights], start=1):
        if night.runs is day_back and shutil.which("faketime") is None:
            print(number, night.what, "-", "-", "not played: faketime is not installed", sep="\t", flush=True)
            continue
        wanted = night.happens(site)
        begun = time.monotonic()
        code, text = (night.runs or plain)(site)
        seconds = time.monotonic() - begun
        told, failures = site.heard("change"), site.heard("failure")
        is_killed, is_broken = code == -signal.SIGKILL, (site.told_in / "broken").exists()
        was_heard = told and not is_broken
        rows = site.rows()
        differing = {one for one in rows.keys() | told_rows.keys() if rows.get(one) != told_rows.get(one)}
        seen = Seen(set() if is_killed or is_broken else differing, causes_told(told) if was_heard else {}, failures,
                    is_first=not told_rows)  # fmt: skip
        faults = faults_of(night, code, None if is_killed or is_broken else wanted, seen)
        if was_heard or not told_rows:
            told_rows = rows
        n_faults += len(faults)
        counts: dict[str, int] = {}
        for cause in seen.causes.values():
            counts[cause] = counts.get(cause, 0) + 1
        words = ", ".join(f"{count} by {cause}" for cause, count in counts.items()) or ("first" if was_heard else "-")
        size = sum(sizes_mb(site.cohort.out).values())
        print(number, night.what, code, f"{seconds:.0f}", words, f"{size:.1f}", "; ".join(faults) or "none", sep="\t",
              flush=True)  # fmt: skip
        if faults:
            print("\n".join(f"    {line}" for line in text.splitlines()[-12:]), flush=True)
    print(f"{n_faults} faults in {asked.nights} nights")
    sys.exit(bool(n_faults))


if __name__ == "__main__":
    main()
