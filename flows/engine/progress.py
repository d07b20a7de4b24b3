"""Progress for people: a bar with rate, remaining time and failures on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0


class CaseProgress:
    """Counts finished cases; safe to call from several threads."""

    def __init__(self, total: int, console: Console, title: str = "Measuring", done: str = "measured") -> None:
        self._total = total
        self._title, self._word = title, done
        self._console = console
        self._done = self._failed = 0
        self._started = self._last_line = time.monotonic()
        self._lock = threading.Lock()
        self._bar: Progress | None = None

    def following(self, total: int, title: str, done: str) -> CaseProgress:
        """Progress of what comes next, on the same console."""
        return CaseProgress(total, self._console, title, done)

    @contextlib.contextmanager
    def shown(self) -> Iterator[CaseProgress]:
        """Show the progress for the length of a block."""
        if not self._total or not self._console.is_terminal:
            yield self
            return
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failures]}"),
            console=self._console,
        ) as bar:
            self._bar = bar
            self._task = bar.add_task(self._title, total=self._total, rate="", failures="")
            yield self
        self._bar = None

    def advance(self, n_done: int, n_failed: int) -> None:
        """Report some finished cases."""
        with self._lock:
            self._done += n_done
            self._failed += n_failed
            now = time.monotonic()
            rate = self._done / max(now - self._started, 1e-9)
            failures = f"{self._failed} failed" if self._failed else ""
            if self._bar is not None:
                self._bar.update(self._task, completed=self._done, rate=rate_text(rate), failures=failures)
            elif now - self._last_line >= LINE_EVERY_S or self._done == self._total:
                self._last_line = now
                remaining = (self._total - self._done) / rate if rate else 0
                self._console.print(
                    f"{self._done} of {self._total} {self._word}, {rate_text(rate)}, {remaining:.0f} s left"
                    + (f", {failures}" if failures else ""),
                    highlight=False,
                )


def rate_text(per_s: float) -> str:
    """How fast cases are finished, in the unit that shows it."""
    return f"{per_s:.0f}/s" if per_s >= 1 else f"{60 * per_s:.0f}/min"
