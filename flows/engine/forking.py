"""One process that has imported what local workers need, and of which each worker is a copy.

To import it takes seconds of a core, for every worker and for every one that is started again; here it is done once for
a command. It is the fork server of Python's ``multiprocessing``, which Dask's nannies ask for workers, and itself a
copy of the command, which has nearly all of it already. One that died, or beside PyTorch, whose threads do not outlive
a copy, is started as a Python of its own.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from flows.engine.cluster import ONE_THREAD, START_METHOD
from flows.engine.prefect_server import ROOT, child_environment

#: What a worker of a run imports; one of a training, too, needs nearly all of it.
PRELOADED = ("distributed.nanny", "flows.engine.worker_start", "flows.run.steps")
#: Python's own: the arrays of circles that a worker makes are not kept for long.
LOOKS_FOR_GARBAGE = (700, 10, 10)


def begin_to_import() -> None:
    """Start the process, if it does not run yet; it imports while this one goes on."""
    if START_METHOD != "forkserver":
        return
    multiprocessing.set_forkserver_preload(list(PRELOADED))
    # libraries count threads when they are loaded; and no module of the user's working folder may be imported
    wanted = {**child_environment(), **ONE_THREAD, "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in wanted if os.environ.get(name) != wanted[name]}
    os.environ.update(wanted)
    try:
        resource_tracker.ensure_running()
        with _as_a_copy() if _can_be_copied() else contextlib.nullcontext():
            forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _can_be_copied() -> bool:
    """Whether a copy of this process works: what runs is its first thread, and no library has threads at work."""
    return threading.current_thread() is threading.main_thread() and "torch" not in sys.modules


@contextlib.contextmanager
def _as_a_copy() -> Iterator[None]:
    """Let ``multiprocessing`` copy this process where it would start a Python, for the length of a block."""
    internals: Any = util
    start_python = internals.spawnv_passfds
    internals.spawnv_passfds = _copy
    try:
        yield
    finally:
        internals.spawnv_passfds = start_python


def _copy(_executable: object, _arguments: object, kept: Sequence[int]) -> int:
    """Copy this process into the fork server; give back its pid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the other threads here are our own and wait
        pid = os.fork()
    if pid:
        return pid
    try:
        _be_fork_server(kept)
    except SystemExit:
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)


def _be_fork_server(kept: Sequence[int]) -> None:
    """Serve, with nothing left of what the command holds: its lock, its sockets, how it takes signals."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = sys.__unraisablehook__
    first = 3
    for number in sorted(kept):
        os.closerange(first, number)
        first = number + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
    internals: Any = forkserver
    internals._forkserver._lock = threading.Lock()  # this copy's is held for ever
    here = Path.cwd()
    sys.path[:] = [str(ROOT), *(entry for entry in sys.path if entry and Path(entry).resolve() != here)]
    threadpool_limits(1)
    gc.set_threshold(*LOOKS_FOR_GARBAGE)
    gc.freeze()
    listener, is_alive = kept
    internals.main(listener, is_alive, list(PRELOADED))
