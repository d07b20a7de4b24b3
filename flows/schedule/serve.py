"""``aspects serve``: the nightly run as a Prefect deployment with a schedule, on a server and pages of our own.

The command supervises two children, the Prefect server and the process that waits for scheduled runs, and starts either
again when it dies. Prefect's database stays in the work folder, so that past runs survive a restart. A scheduled run is
the same as ``aspects nightly``: idempotent, one at a time, catching up by content.
"""

from __future__ import annotations

import subprocess
import sys
import time

from rich.console import Console

from flows.engine import prefect_server
from flows.run.plan import UsageError
from flows.run.running import RunRequest

N_CRON_FIELDS = 5
POLL_S = 1.0
RESTART_PAUSE_S = 2.0


def serve_nightly(request: RunRequest, *, cron: str, port: int, console: Console) -> None:
    """Serve until stopped.

    Parameters
    ----------
    request : what each night runs
    cron : five fields, local time
    port : loopback port of Prefect's pages
    console : where plain lines go
    """
    if not prefect_server.is_free(port):
        raise UsageError(f"--port must be free, got {port}, where something listens already. Give another one.")
    home = request.work / "prefect-serve"
    prefect_server.set_environment(home, f"http://{prefect_server.LOOPBACK}:{port}/api")
    check_cron(cron)
    server = prefect_server.PrefectServer(home, port=port, with_ui=True)
    waiting: subprocess.Popen[bytes] | None = None
    try:
        server.wait_until_healthy()
        from flows.engine.reconcile import crash_stale_runs

        n_stale = crash_stale_runs()
        if n_stale:
            console.print(f"{n_stale} runs of a dead process are now marked Crashed.", highlight=False)
        console.print(f"Scheduled: {cron}. Pages: {server.url}. Stop with Ctrl-C.", highlight=False)
        waiting = _start_waiting(request, cron)
        while True:
            time.sleep(POLL_S)
            if waiting.poll() is not None:
                console.print("The waiting process ended; starting it again.", highlight=False)
                time.sleep(RESTART_PAUSE_S)
                waiting = _start_waiting(request, cron)
    finally:
        if waiting is not None:
            _end(waiting)
        server.stop()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the waiting process and wait for it."""
    process.terminate()
    try:
        process.wait(prefect_server.STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def check_cron(cron: str) -> None:
    """Refuse a schedule that Prefect would refuse later.

    Raises
    ------
    UsageError
        Not five fields of cron.
    """
    from prefect.client.schemas.schedules import CronSchedule

    try:
        if len(cron.split()) != N_CRON_FIELDS:
            raise ValueError("not five fields")
        CronSchedule(cron=cron)
    except ValueError as error:
        raise UsageError(f'--cron must be five fields such as "0 2 * * *", got {cron!r}. See crontab(5).') from error


def _start_waiting(request: RunRequest, cron: str) -> subprocess.Popen[bytes]:
    """Start the process that waits for scheduled runs and runs them."""
    command = [
        sys.executable,
        "-m",
        "flows.schedule.deployment",
        str(request.cohort.resolve()),
        str(request.out.resolve()),
        cron,
        str(request.n_cpus),
        str(request.work),
    ]
    log = request.work / "serve.log"
    with log.open("ab") as out:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
