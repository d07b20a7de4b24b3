"""What an error means to the person or the timer that started the command: an exit code, one word, and what to do."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from cohorts.folder.manifest import CohortError
from cohorts.folder.problems import Problem
from flows.commands import screens
from flows.engine.cluster import ClusterError, ClusterOptionError
from flows.engine.environment import UnsafeFolderError
from flows.engine.lock import LockedError
from flows.engine.prefect_server import ServerFailedError
from flows.engine.signals import SignalReceived
from flows.run.measuring import ClusterLostError
from flows.run.publishing import RefusedReportError
from flows.run.request import PreflightError, UsageError
from flows.run.steps import STORAGE_ERRORS, StorageFailedError
from flows.run.storage import PythonFailedError, raise_as_storage_failure, remedy
from flows.run.withholding import NothingMeasuredError

EXIT_OK, EXIT_FAILED_CASES, EXIT_USAGE, EXIT_PREFLIGHT = 0, 1, 2, 3
EXIT_SOFTWARE, EXIT_IO, EXIT_LOCKED, EXIT_INTERRUPT, EXIT_TERMINATED = 70, 74, 75, 130, 143
STAYS = "What is committed stays; run again to go on."


@dataclass(frozen=True)
class Failure:
    """How a command that raised an error ends."""

    exit_code: int
    word: str
    text: str
    problems: tuple[Problem, ...] = ()

    def show(self, console: Console) -> None:
        """Print it."""
        if self.problems:
            screens.show_problems(self.problems, console)
        else:
            console.print(self.text, markup=False, highlight=False, soft_wrap=True)


def failure_of(error: BaseException) -> Failure:
    """Return how a command ends that raised ``error``; an unknown error keeps its traceback."""
    if isinstance(error, CohortError):
        return Failure(EXIT_PREFLIGHT, "study must be fixed", str(error), error.problems)
    if isinstance(error, (KeyboardInterrupt, SignalReceived)):
        is_interrupt = isinstance(error, KeyboardInterrupt) or error.number == signal.SIGINT
        return Failure(EXIT_INTERRUPT if is_interrupt else EXIT_TERMINATED, "stopped", f"Stopped. {STAYS}")
    for kind, say in _KNOWN:
        if isinstance(error, kind):
            return say(error)
    text = "".join(traceback.format_exception(error))
    return Failure(
        EXIT_SOFTWARE,
        "failed",
        f"{text}\nThis should not happen. What is committed stays. Please report the lines above.",
    )


def _of_system(error: BaseException) -> Failure:
    """Sort an error of the operating system by what it concerns."""
    if not isinstance(error, OSError):
        raise TypeError(f"error must be of the operating system, got {type(error).__name__}.")
    try:
        raise_as_storage_failure(error)
    except (StorageFailedError, PythonFailedError) as named:
        return failure_of(named)
    if error.errno in STORAGE_ERRORS:
        return Failure(EXIT_IO, "storage failed", f"Stopped: {error}. {remedy(error)}, then run again.")
    if isinstance(error, (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError)):
        return Failure(EXIT_PREFLIGHT, "failed", f"Error: {error}")
    text = "".join(traceback.format_exception(error))
    return Failure(EXIT_SOFTWARE, "failed", f"{text}\n{STAYS} Please report the lines above.")


def _as(exit_code: int, word: str, text: str) -> Callable[[BaseException], Failure]:
    """Say an error by a text that holds it."""
    return lambda error: Failure(exit_code, word, text.format(error))


#: The first kind that fits decides.
_KNOWN: tuple[tuple[type[BaseException], Callable[[BaseException], Failure]], ...] = (
    (LockedError, _as(EXIT_LOCKED, "busy", "Busy: {}")),
    (StorageFailedError, _as(EXIT_IO, "storage failed", "Stopped: {}")),
    (NothingMeasuredError, _as(EXIT_FAILED_CASES, "nothing measured", "Nothing measured: {}")),
    (RefusedReportError, _as(EXIT_SOFTWARE, "report refused", "{}")),
    (PythonFailedError, _as(EXIT_SOFTWARE, "failed", "Stopped: {}")),
    (ClusterLostError, _as(EXIT_LOCKED, "workers lost", "Stopped: {} " + STAYS)),
    (UnsafeFolderError, _as(EXIT_PREFLIGHT, "failed", "Error: {}")),
    (ClusterOptionError, _as(EXIT_USAGE, "wrong usage", "Error: {}")),
    (ClusterError, _as(EXIT_PREFLIGHT, "failed", "Error: {}")),
    (UsageError, _as(EXIT_USAGE, "wrong usage", "Error: {}")),
    (PreflightError, _as(EXIT_PREFLIGHT, "failed", "Error: {}")),
    (ServerFailedError, _as(EXIT_SOFTWARE, "failed", "Stopped: {} " + STAYS)),
    (OSError, _of_system),
)
