"""``aspects serve``: the nightly run as a Prefect deployment with a schedule, on a server and pages of our own.

The command supervises two children, the Prefect server and the process that waits for scheduled runs, and starts either
again when it dies. Prefect's database stays in the work folder, so that past runs survive a restart. A scheduled run is
the same as ``aspects nightly``: idempotent, one at a time, catching up by content. What a night runs is fixed when the
command starts: a run that is made in Prefect's pages has no parameters.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from flows.engine import prefect_server
from flows.engine.environment import private_folder
from flows.engine.reconcile import crash_stale_runs_on
from flows.run.request import RunRequest, UsageError
from flows.schedule.hooks import Hooks

N_CRON_FIELDS = 5
POLL_S = 1.0
RESTART_PAUSE_S = 2.0


def serve_nightly(request: RunRequest, hooks: Hooks, *, cron: str, port: int, console: Console) -> None:
    """Serve until stopped.

    Parameters
    ----------
    request : what each night runs
    hooks : what each night starts at its end
    cron : five fields, local time
    port : loopback port of Prefect's pages
    console : where plain lines go
    """
    request.work.mkdir(parents=True, exist_ok=True)
    folder = private_folder(request.work / "prefect-serve")
    try:
        server = prefect_server.PrefectServer(folder, port=port, with_ui=True)
    except OSError as error:
        raise UsageError(f"--port must be free, got {port} ({error.strerror}). Give another one.") from error
    waiting: subprocess.Popen[bytes] | None = None
    try:
        check_cron(cron)
        hooks.check(console)
        n_stale = crash_stale_runs_on(server)
        if n_stale:
            console.print(f"{n_stale} runs of a dead process are now marked Crashed.", highlight=False)
        password = _write_password(folder, server.credentials)
        console.print(f"Scheduled: {cron}. Pages: {server.url}. Stop with Ctrl-C.", highlight=False, soft_wrap=True)
        console.print(
            f"The pages ask for a password: it is in {password}, for you alone.", highlight=False, soft_wrap=True
        )
        waiting = _start_waiting(request, hooks, cron, server.home)
        while True:
            time.sleep(POLL_S)
            if waiting.poll() is not None:
                console.print("The waiting process ended; starting it again.", highlight=False)
                time.sleep(RESTART_PAUSE_S)
                waiting = _start_waiting(request, hooks, cron, server.home)
    finally:
        if waiting is not None:
            prefect_server.end(waiting)
        server.stop()


def _write_password(folder: Path, credentials: str) -> Path:
    """Write what the pages ask for, so that it stands in no log."""
    path = folder / "password"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(credentials + "\n")
    return path


def check_cron(cron: str) -> None:
    """Refuse a schedule that Prefect would refuse later.

    Raises
    ------
    UsageError
        Not five fields of cron.
    """
    prefect_server.read_no_settings_files()
    from prefect.client.schemas.schedules import CronSchedule

    try:
        if len(cron.split()) != N_CRON_FIELDS:
            raise ValueError("not five fields")
        CronSchedule(cron=cron)
    except ValueError as error:
        raise UsageError(f'--cron must be five fields such as "0 2 * * *", got {cron!r}. See crontab(5).') from error


def _start_waiting(request: RunRequest, hooks: Hooks, cron: str, home: Path) -> subprocess.Popen[bytes]:
    """Start the process that waits for scheduled runs and runs them."""
    night = {
        "cohort": str(request.cohort.resolve()),
        "out": str(request.out.resolve()),
        "n_cpus": request.n_cpus,
        "work_dir": str(request.work),
        "gpu": request.gpu,
        "allow_commands": request.allow_commands,
        "on_failure": hooks.on_failure,
        "on_change": hooks.on_change,
        "busy_limit_h": hooks.busy_limit_h,
        "log": None if hooks.log is None else str(hooks.log.resolve()),
    }
    command = [sys.executable, "-m", "flows.schedule.deployment", json.dumps(night), cron]
    with (request.work / "serve.log").open("ab") as out:
        return prefect_server.start_python(command, out=out, cwd=home, env=prefect_server.child_environment())
