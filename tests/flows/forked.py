"""The command without its start: forked from a process that has its imports, beside a Prefect server that runs.

A command that people start spends most of its CPU time on imports, on those of its workers and on a Prefect server of
its own. Here one process has made all that, once for a run of the tests, and each command is a copy of it: arguments,
environment, folder, output and exit code are its own, its flow runs on a real Prefect server, its cases on a real Dask
cluster. What a test says of the start itself, of a signal or of a kill, it says of ``python -m flows``.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

SERVER = """
import json, os, sys
from pathlib import Path
from flows.engine.prefect_server import embedded_server
before = dict(os.environ)
with embedded_server(Path(sys.argv[1])) as server:
    server.wait_until_healthy()
    print(json.dumps(dict(os.environ.items() - before.items())), flush=True)
    sys.stdin.read()
"""
#: What the commands import on their way.
IMPORTED = (
    "flows.__main__",
    "flows.commands.compare",
    "flows.commands.screens",
    "flows.commands.verify",
    "flows.run.measuring",
    "flows.run.pages",
    "flows.schedule.nightly",
    "distributed.nanny",
    "prefect.task_runners",
    "reports.document.document",
    "reports.lint.lint",
    "reports.statistics.analysis",
)
LIMIT_S = 900
ROOT = Path(__file__).parents[2]
#: Before any test changed it.
ENVIRONMENT = dict(os.environ)


class Forker:
    """The process of which commands are copies, and the Prefect server beside it."""

    def __init__(self, folder: Path) -> None:
        self._server = _started("-c", SERVER, str(folder))
        self._prefect = json.loads(_line_of(self._server))
        self._process = _started("-m", "tests.flows.forked", **self._prefect)

    def run(self, arguments: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        command = [sys.executable, "-m", "flows", *arguments]
        sys.audit("subprocess.Popen", command[0], command, None, None)  # it counts as one for the marks
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder, name)) for name in ("out", "errors")]
            assert self._process.stdin is not None
            print(
                json.dumps([arguments, environment | self._prefect, str(Path.cwd()), paths]),
                file=self._process.stdin,
                flush=True,
            )
            code = int(_line_of(self._process))
            return subprocess.CompletedProcess(command, code, *(Path(path).read_text() for path in paths))

    def close(self) -> None:
        """End both."""
        for process in (self._process, self._server):
            process.communicate(timeout=60)


def _started(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A Python process that ends with its standard input."""
    command, pipe = [sys.executable, *arguments], subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=ENVIRONMENT | environment, cwd=ROOT)


def _line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"{process.args} ended with {process.wait()}"
    return line


@contextlib.contextmanager
def _on_the_server_that_runs(_request: object) -> Iterator[Callable[[], object]]:
    from flows.engine.reconcile import crash_stale_runs

    yield crash_stale_runs


def _import_everything() -> None:
    """What every command has when it is forked; its workers are copies of one process as well."""
    from flows.engine.prefect_server import read_no_settings_files

    read_no_settings_files()
    for name in IMPORTED:
        importlib.import_module(name)
    from flows.engine.forking import begin_to_import
    from flows.run import running

    running.prefect_started = _on_the_server_that_runs  # a training, imported later, finds it there
    _run_once()
    begin_to_import()
    forkserver.ensure_running = forkserver._forkserver.ensure_running = resource_tracker.ensure_running
    gc.freeze()


def _run_once() -> None:
    """Load maps, compile templates, read code: what each command and each worker would do for itself."""
    from flows.run.plan import make_plan, with_records
    from flows.run.publishing import RunFacts, publish_results
    from flows.run.steps import run_case
    from tests.flows.conftest import write_tiny_cohort

    with tempfile.TemporaryDirectory() as folder:
        tiny = write_tiny_cohort(Path(folder))
        plan = make_plan(tiny.folder, tiny.out)
        for measurement, case in plan.pending:
            run_case(case, plan.settings[measurement], tiny.out)
        publish_results(
            with_records(plan, tiny.out), tiny.out, RunFacts("once", "2026-12-01T02:00:00+00:00", "aspects")
        )


def main() -> None:
    """Fork a command for each line of standard input, and say its exit code."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        _import_everything()
        for line in sys.stdin:
            pid = os.fork()
            if not pid:
                _become_a_command(*json.loads(line))
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=answers, flush=True)


def _become_a_command(arguments: list[str], environment: dict[str, str], cwd: str, paths: list[str]) -> None:
    """Be what ``python -m flows`` is after its imports, to its end."""
    from flows import __main__ as command

    signal.alarm(LIMIT_S)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(paths, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.argv = [command.__file__, *arguments]
    sys.modules["__main__"] = command
    command.main()


if __name__ == "__main__":
    main()
