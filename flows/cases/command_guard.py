"""Run one command in a session of its own and outlive whoever asked for it: ended by its limit or with its owner.

Started as a script, not imported: only the standard library is there. What to run comes as JSON in the one argument.
Standard input is a pipe that the owner holds open: where it closes, as by the owner's death, the command is ended, with
its process group, and its folder is removed. What became of it goes to standard output as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time

POLL_S = 0.05
GRACE_S = 5.0  # between asking a process group to end and ending it
LARGEST_LOG = 4 * 2**20  # bytes; a command that says more begins its log again


def end_group(group: int, is_over: object) -> None:
    """Ask a process group to end, and end it."""
    for number, wait_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
        until = time.monotonic() + wait_s
        while not is_over() and time.monotonic() < until:  # type: ignore[operator]
            time.sleep(POLL_S)


def main() -> None:
    """Run the command that the argument names."""
    asked = json.loads(sys.argv[1])
    told: dict[str, object]
    with open(asked["log"], "ab") as log, open(asked["errors"], "ab") as errors:  # noqa: PTH123
        try:
            running = subprocess.Popen(
                asked["command"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                cwd=asked["folder"],
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            told = {"ended": "not_started", "detail": getattr(error, "strerror", None) or str(error)}
        else:
            told = _follow(running, asked["wall_limit_s"], (log.fileno(), errors.fileno()))
            end_group(running.pid, lambda: True)  # what it left behind in its group
    if told["ended"] == "owner":
        shutil.rmtree(asked["scratch"], ignore_errors=True)
    with contextlib.suppress(OSError):
        print(json.dumps(told), flush=True)


def _follow(running: subprocess.Popen[bytes], wall_limit_s: float, logs: tuple[int, int]) -> dict[str, object]:
    """Wait for the end of the command, of its owner or of its time."""
    until = time.monotonic() + wall_limit_s
    while running.poll() is None:
        if select.select([sys.stdin], [], [], POLL_S)[0] and not os.read(sys.stdin.fileno(), 1):
            end_group(running.pid, lambda: running.poll() is not None)
            return {"ended": "owner"}
        if time.monotonic() > until:
            end_group(running.pid, lambda: running.poll() is not None)
            return {"ended": "limit"}
        for log in logs:
            if os.fstat(log).st_size > LARGEST_LOG:
                os.ftruncate(log, 0)  # it is written at its end, wherever that is
    return {"ended": "exit", "code": running.returncode}


if __name__ == "__main__":
    main()
