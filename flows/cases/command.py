"""Running somebody else's program on a patient's files: in a folder of its own, within its time, never by a shell."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cohorts.folder.problems import printable
from flows.cases.cancelled import is_cancelled

GUARD = Path(__file__).with_name("command_guard.py")
PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_.-]+)\}")
VERSION_LIMIT_S = 120.0  # programs that load PyTorch take half a minute to say their name
LONGEST_VERSION, LONGEST_WORDS = 200, 600
POLL_S = 0.1
#: Of our own workers, and nobody else's business.
_OWN = ("PREFECT_", "DASK_", "DISTRIBUTED_", "PYTHONPATH")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class CommandFailedError(RuntimeError):
    """A command that did not do its work; ``reason`` is the code of its case."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class Scratch:
    """The folder of one command: what it reads, what it writes, what it says."""

    folder: Path

    @property
    def inputs(self) -> Path:
        """What it reads."""
        return self.folder / "in"

    @property
    def out(self) -> Path:
        """What it writes."""
        return self.folder / "out"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "log"

    @property
    def errors(self) -> Path:
        """What it says on standard error, where that is kept apart."""
        return self.folder / "errors"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Scratch]:
    """A folder for the length of a block, readable by nobody else."""
    with tempfile.TemporaryDirectory(prefix="aspects-command-", ignore_cleanup_errors=True) as name:
        scratch = Scratch(Path(name))
        scratch.inputs.mkdir()
        scratch.out.mkdir()
        yield scratch


def filled(command: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Arguments with their placeholders filled; each stays one argument, whatever is in it.

    >>> filled(("run", "--dwi={dwi}", "{out}/a b; c"), {"dwi": "/in/x.nii.gz", "out": "/out"})
    ['run', '--dwi=/in/x.nii.gz', '/out/a b; c']
    """
    return [PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), part) for part in command]


def run_command(
    command: Sequence[str], scratch: Scratch, wall_limit_s: float, n_cpus: int, *, keeps_apart: bool = False
) -> None:
    """Run a command to its end.

    Parameters
    ----------
    command : program and arguments
    scratch : its folder, in which it runs
    wall_limit_s : after which it is ended
    n_cpus : threads that it may use, told in the usual variables
    keeps_apart : standard error is not mixed into what it says

    Raises
    ------
    CommandFailedError
        ``command_not_started``, ``command_timed_out``, ``command_failed`` (its words are in the detail) or
        ``command_stopped``, where the run is being stopped.
    """
    asked = {
        "command": list(command),
        "folder": str(scratch.out),
        "scratch": str(scratch.folder),
        "log": str(scratch.log),
        "errors": str(scratch.errors if keeps_apart else scratch.log),
        "wall_limit_s": wall_limit_s,
    }
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARD), json.dumps(asked)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(n_cpus),
        start_new_session=True,
    )
    with guard:
        while (code := _wait(guard)) is None:
            if is_cancelled() and guard.stdin is not None and not guard.stdin.closed:
                guard.stdin.close()  # the guard ends the command
        told = json.loads(guard.stdout.read() or b"{}") if guard.stdout is not None else {}
    name = printable(command[0])
    match told.get("ended"):
        case "exit" if told["code"] == 0:
            return
        case "exit":
            how = f"exit code {told['code']}" if told["code"] > 0 else f"signal {-told['code']}"
            detail = f"{name} must end with exit code 0, got {how}. {_words(scratch)}"
            raise CommandFailedError("command_failed", detail)
        case "limit":
            detail = f"{name} must end within wall_limit_s = {wall_limit_s:g} s, and was ended. {_words(scratch)}"
            raise CommandFailedError("command_timed_out", detail)
        case "not_started":
            detail = f"{name} must start, got: {told['detail']}. Install it where the workers are, or correct its path."
            raise CommandFailedError("command_not_started", detail)
        case "owner":
            raise CommandFailedError("command_stopped", f"{name} was ended with the run. Run again.")
    raise CommandFailedError(
        "command_failed", f"the guard of {name} must tell its end, got exit code {code}. Run again."
    )


def _wait(guard: subprocess.Popen[bytes]) -> int | None:
    """Exit code of the guard; None where it is at work after a moment."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return guard.wait(POLL_S)
    return None


@lru_cache(maxsize=64)
def version_of_command(command: tuple[str, ...]) -> str:
    """What a program calls itself, on one line; asked once per process.

    Raises
    ------
    CommandFailedError
        It does not answer.
    """
    with scratch_folder() as scratch:
        run_command(command, scratch, VERSION_LIMIT_S, 1, keeps_apart=True)  # warnings are no version
        said = (path.read_text(errors="replace").split() for path in (scratch.log, scratch.errors))
        text = " ".join(next(filter(None, said), []))
    if not text:
        detail = f"version must be a command that prints a version, got nothing from {printable(' '.join(command))}."
        raise CommandFailedError("command_failed", detail)
    return printable(text[:LONGEST_VERSION])


def one_file(scratch: Scratch, pattern: str) -> Path:
    """The one file that a command wrote under a name or pattern.

    Raises
    ------
    CommandFailedError
        ``command_output_missing``: there is none, or several, or it leads out of the folder.
    """
    root = scratch.out.resolve()
    found = [path for path in sorted(scratch.out.glob(pattern)) if path.is_file()]
    inside = [path for path in found if path.resolve().is_relative_to(root)]
    if len(inside) == 1:
        return inside[0]
    there = sorted(str(path.relative_to(scratch.out)) for path in scratch.out.rglob("*"))
    shown = ", ".join(map(printable, there[:5])) + (", ..." if len(there) > 5 else "") or "nothing"
    got = f"{len(inside)} files" if inside else "a link out of it" if found else shown
    detail = f"the command must write one file {printable(pattern)} into {{out}}, got {got}. {_words(scratch)}"
    raise CommandFailedError("command_output_missing", detail)


def _environment(n_cpus: int) -> dict[str, str]:
    """What the command inherits: all but what is our workers' own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    return kept | dict.fromkeys(_THREADS, str(n_cpus))


def _words(scratch: Scratch) -> str:
    """What a command said last, on one line."""
    tails = []
    for path in (scratch.log, scratch.errors):
        with contextlib.suppress(OSError):
            tails.append(path.read_bytes()[-4 * LONGEST_WORDS :].decode(errors="replace"))
    text = " ".join(" ".join(tails).split())
    said = "".join(letter if letter.isprintable() else "?" for letter in text)[-LONGEST_WORDS:]
    return f"It said: {said}" if said else "It said nothing."
