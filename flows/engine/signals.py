"""Ends of a command by a signal, which leave nothing behind that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

SIGNAL_AGAIN_S = 0.05  # after which a signal that went nowhere is sent again


class SignalReceived(BaseException):
    """SIGINT or SIGTERM: leave by way of every ``finally``."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def ends_on_signals() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into an exception, so that everything started here is stopped.

    A signal may come while Python runs something whose exceptions go nowhere, as a destructor or a callback of the
    garbage collector (Dask has one): then it is sent again.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SignalReceived(number)

    def again(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, SignalReceived):
            timers.append(threading.Timer(SIGNAL_AGAIN_S, os.kill, (os.getpid(), lost.exc_value.number)))
            timers[-1].start()
        else:
            unraisable(lost)

    timers: list[threading.Timer] = []
    unraisable = sys.unraisablehook
    previous = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    sys.unraisablehook = again
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        sys.unraisablehook = unraisable
        for number, handler in previous.items():
            signal.signal(number, handler)
