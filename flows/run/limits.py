"""Limits of a worker: a case that computes without end, or stands still, ends its process: nothing else stops C code.

*CPU seconds* are counted by the kernel, so a loaded machine makes no case too slow. *Standing still* is no CPU time
used by the case's thread for a while, as on a share that does not answer. Either writes where the case was to a note
below ``OUT/work/limits`` before the process ends; by the note the parent knows that the case, not the machine, ended
it.
"""

from __future__ import annotations

import faulthandler
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from cohorts.store.records import StepKey

NOTES = Path("work") / "limits"
#: Without any progress for this long a case is ended; a share may take a minute to answer.
STANDSTILL_S = 300.0
POLL_S = 5.0
PROGRESS_CPU_S = 0.05
_FRAME = re.compile(r'File "([^"]+)", line ([0-9]+) in (\S+)')


def note_path(root: Path, participant_id: str, key: StepKey) -> Path:
    """Where the note of one case stands while it is measured."""
    return root / NOTES / f"{participant_id}-{key.step}-{key.digest[:20]}.txt"


def ended_by_limit(root: Path, participant_id: str, key: StepKey) -> str | None:
    """Where a case was when it reached a limit, as ``function (file, line)``; None where no limit ended it.

    The note is taken away.
    """
    path = note_path(root, participant_id, key)
    try:
        text = path.read_text(errors="replace")
        path.unlink()
    except OSError:
        return None
    threads = [block for block in text.split("\n\n") if " in run_case" in block] or [text]
    if not (frames := _FRAME.findall(threads[0])):
        return None
    file, line, function = frames[0]
    return f"{function} ({Path(file).name}, line {line})"


class Watch:
    """Watches the cases of one chunk on a worker's thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._note: int | None = None
        self._may_wait_s = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._follow, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    @contextmanager
    def limiting(
        self, key: StepKey, participant_id: str, cpu_limit_s: float, may_wait_s: float = 0.0
    ) -> Iterator[None]:
        """End this process where the block takes more CPU seconds, or stands still.

        ``may_wait_s`` is how long it may wait for another program, whose own limit ends that.
        """
        self._may_wait_s = may_wait_s
        path = note_path(self._root, participant_id, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            note = path.open("w")
        except OSError:  # the storage fails in the step itself, where it is told from the case
            yield
            return
        with note:
            faulthandler.register(signal.SIGPROF, file=note, chain=True)  # chain: then the process ends
            signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)
            self._watch(note.fileno())
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
                self._watch(None)
                faulthandler.unregister(signal.SIGPROF)
        path.unlink(missing_ok=True)

    def _watch(self, note: int | None) -> None:
        """Begin or end to ask for progress."""
        with self._lock:
            self._note = note
            if note is None:
                faulthandler.cancel_dump_traceback_later()
            else:
                faulthandler.dump_traceback_later(STANDSTILL_S + self._may_wait_s, exit=True, file=note)

    def _follow(self) -> None:
        """Put the end off again as long as the case makes progress."""
        used = time.clock_gettime(self._clock)
        while not self._ended.wait(min(POLL_S, STANDSTILL_S / 4)):
            now = time.clock_gettime(self._clock)
            if now - used >= PROGRESS_CPU_S:
                used = now
                with self._lock:
                    if self._note is not None:
                        faulthandler.dump_traceback_later(STANDSTILL_S + self._may_wait_s, exit=True, file=self._note)
