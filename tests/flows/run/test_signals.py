"""A signal ends a run wherever Python is when it comes."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time

import pytest

from flows.engine.signals import SignalReceived, ends_on_signals


class Dying:
    """Its destructor is where the signal comes."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)
        time.sleep(0.2)


def in_a_destructor(number):
    dying = Dying(number)
    del dying


def in_a_callback_of_the_garbage_collector(number):
    def callback(phase, _info):
        if phase == "start":
            gc.callbacks.remove(callback)
            os.kill(os.getpid(), number)
            time.sleep(0.2)

    gc.callbacks.append(callback)
    gc.collect()


def in_plain_code(number):
    os.kill(os.getpid(), number)


def _wait(where, number):
    where(number)
    time.sleep(5)
    pytest.fail("the signal was lost")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", [in_a_destructor, in_a_callback_of_the_garbage_collector, in_plain_code])
def test_no_signal_is_lost(where, number):
    hook = sys.unraisablehook
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(SignalReceived) as received, ends_on_signals():
        _wait(where, number)
    assert received.value.number == number
    assert sys.unraisablehook is hook
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_other_exceptions_that_go_nowhere_are_still_told(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: told.append(lost.exc_value))

    class Failing:
        def __del__(self):
            raise ValueError("told")

    with ends_on_signals():
        failing = Failing()
        del failing
    assert [str(one) for one in told] == ["told"]
