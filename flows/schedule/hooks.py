"""A site's own commands, started at the end of a night; what they print is shown and kept, their failure tolerated."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from flows.engine.environment import user_environment
from flows.run.request import UsageError

HOOK_LIMIT_S = 300
BUSY_LIMIT_H = 12.0
#: What hooks printed, one after the other, in the output folder.
OUTPUT_LOG = "hooks.log"
NOT_STARTED, TIMED_OUT = 127, 124
_SHOWN_BYTES = 4000


@dataclass(frozen=True)
class Hooks:
    """What a night does at its end.

    Attributes
    ----------
    on_failure, on_change : str or None
        Commands, started with the path of a summary as their last argument and in ``ASPECTS_SUMMARY``.
    busy_limit_h : float
        Hours for which another run may be at work before that is a failure, told once a night; 0 is never.
    log : Path or None
        A second file for the night's line.
    """

    on_failure: str | None = None
    on_change: str | None = None
    busy_limit_h: float = BUSY_LIMIT_H
    log: Path | None = None

    def check(self, console: Console) -> None:
        """Refuse commands that cannot be read, and warn of those not found, before the night's work.

        Raises
        ------
        UsageError
            A command is empty or its quotes do not match.
        """
        for option, command in (("--on-failure", self.on_failure), ("--on-change", self.on_change)):
            if command is None:
                continue
            try:
                words = shlex.split(command)
            except ValueError as error:
                raise UsageError(f"{option} must be a command, got {command!r} ({error}). Fix its quotes.") from error
            if not words:
                raise UsageError(f"{option} must be a command, got {command!r}. Write it, or leave the option out.")
            if shutil.which(words[0]) is None:
                text = f"Warning: {option} must name a program that can be started, got {words[0]}. Fix it in time."
                console.print(text, markup=False, highlight=False, soft_wrap=True)


def run_hook(name: str, command: str, summary: Path, out: Path, console: Console) -> int:
    """Start a site's command, wait for it, and show and keep what it printed.

    Parameters
    ----------
    name : ``on_failure`` or ``on_change``
    command : as given
    summary : its last argument
    out : output folder, where its words are kept
    console : where they are shown

    Returns
    -------
    Its exit code; 127 where it could not be started, 124 where it took too long and was ended.
    """
    with tempfile.TemporaryFile() as output:  # a pipe would be held open by what the command leaves behind
        code, why = _run(command, summary, output.fileno())
        output.seek(0)
        words = output.read().decode(errors="replace").strip() + why
    state = "ended with 0" if code == 0 else f"must end with 0, got {code}"
    text = f"Hook {name} {state}: {command}" + (f"\n{words[-_SHOWN_BYTES:]}" if words else "")
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    with contextlib.suppress(OSError), (out / OUTPUT_LOG).open("a", encoding="utf-8") as log:
        log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {name} exit={code} {command}\n{words}\n")
    return code


def _run(command: str, summary: Path, output: int) -> tuple[int, str]:
    """Run a command with all that it starts; its exit code, and why it is not its own."""
    try:
        process = subprocess.Popen(
            [*shlex.split(command), str(summary)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**user_environment(), "ASPECTS_SUMMARY": str(summary)},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return NOT_STARTED, f"could not be started: {error}"
    try:
        return process.wait(HOOK_LIMIT_S), ""
    except subprocess.TimeoutExpired:
        return TIMED_OUT, f"\nended after {HOOK_LIMIT_S} s"
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
