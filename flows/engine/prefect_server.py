"""One loopback Prefect server per run, started and reaped by the command.

Run as ``python -m flows.engine.prefect_server --port P --parent PID --socket FD``, it serves Prefect's API and ends
with its parent, however that one ends: without ``PREFECT_API_URL`` every worker would start a server of its own, and a
killed run would leave it behind. Nothing listens beyond loopback, and there only who knows the credentials of this
start is answered; telemetry is off. Settings come from here alone: an empty home, and no variable, profile or file of
the user's. Prefect's database stays in the work folder; one that cannot be used is set aside.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from flows.engine import database
from flows.engine.environment import NO_PROXY, PREFECT, drop_variables, private_folder
from flows.engine.guard import guarded, own_origins
from flows.engine.limits import SERVER_OOM_SCORE, be_ended_first
from flows.engine.lock import LockedError

LOOPBACK = "127.0.0.1"
#: Fits a loaded machine: a server that ends is noticed at once, only a slow one is waited for.
START_LIMIT_S = 600.0
STOP_LIMIT_S = 10.0
PARENT_POLL_S = 0.5
HEALTH_LIMIT_S = 2.0
MOST_RESTARTS = 20
#: Before the first answer: with a new database, and once more.
MOST_FIRST_RESTARTS = 2
#: What a database takes at least, and so the folder must have room for.
PROBE_BYTES = 2**19
ROOT = Path(__file__).parents[2]

CLIENT_SETTINGS = {
    "DO_NOT_TRACK": "1",  # the Amplitude client starts on import
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",  # results are pickles: ours are files
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_FLOWS_DEFAULT_RETRIES": "0",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_CLIENT_MAX_RETRIES": "5",  # waits of 2, 4, 8, 16 and 32 s outlast a restart of the server
}


class ServerFailedError(RuntimeError):
    """The Prefect server did not start or has died."""


def set_environment(home: Path, api_url: str, credentials: str) -> None:
    """Set what must be set before ``import prefect``, here and in every process started from here.

    Parameters
    ----------
    home : empty folder of this start
    api_url : the server's address
    credentials : ``name:password`` that the server asks for
    """
    drop_variables(PREFECT)
    os.environ.update(NO_PROXY)
    os.environ.update(CLIENT_SETTINGS)
    os.environ["PREFECT_HOME"] = str(home)
    os.environ["PREFECT_PROFILES_PATH"] = str(home / "profiles.toml")
    os.environ["PREFECT_LOGGING_SETTINGS_PATH"] = str(home / "logging.yml")  # not there: Prefect's own is used
    os.environ["PREFECT_LOGGING_LEVEL"] = os.environ.get("ASPECTS_PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ["PREFECT_API_URL"] = api_url
    os.environ["PREFECT_API_AUTH_STRING"] = credentials


def read_no_settings_files() -> None:
    """Keep Prefect in this process from reading ``.env``, ``prefect.toml`` and ``pyproject.toml`` of its folder."""
    from prefect.settings import sources

    def nothing(*_: object) -> dict[str, str]:
        return {}

    readers: Any = sources
    readers.TomlConfigSettingsSourceBase._read_file = nothing
    readers.FilteredDotEnvSettingsSource._load_env_vars = nothing
    readers._get_profiles_path = lambda: Path(os.environ["PREFECT_PROFILES_PATH"])


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect API answers at ``api_url``; no proxy is asked."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{api_url}/health", timeout=HEALTH_LIMIT_S) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def child_environment() -> dict[str, str]:
    """Environment of a child that starts in another folder and imports this code."""
    path = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(entry).resolve()) for entry in path)}


class PrefectServer:
    """A server process of ours, with its files in ``folder``: start it early, wait for it when it is needed.

    A server that dies is started again on the same socket, which this process holds: no other program can take its
    place, and Prefect's clients try again for about a minute.
    """

    def __init__(self, folder: Path, *, port: int = 0, with_ui: bool = False) -> None:
        self._folder = private_folder(folder.absolute())
        self._lock = FileLock(self._folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise LockedError(f"{folder} must be free, but another server is at work there. Stop it first.") from None
        for left in self._folder.glob("home-*"):
            shutil.rmtree(left, ignore_errors=True)
        self.home = Path(tempfile.mkdtemp(prefix="home-", dir=self._folder))
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((LOOPBACK, port))
        self._socket.listen(128)
        self.port = int(self._socket.getsockname()[1])
        self.log = self._folder / "server.log"
        self.credentials = f"aspects:{secrets.token_urlsafe(24)}"
        self.n_restarts = 0
        self._with_ui = with_ui
        self._was_healthy = False
        self._stopping = threading.Event()
        self._storage_error: OSError | None = None
        set_environment(self.home, self.api_url, self.credentials)
        self._process = self._start()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()

    @property
    def url(self) -> str:
        """Address of Prefect's own pages."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def api_url(self) -> str:
        """Address of the API."""
        return f"{self.url}/api"

    def wait_until_healthy(self) -> None:
        """Block until the API answers; from then on Prefect may be imported.

        Raises
        ------
        ServerFailedError
            It ended again and again, or did not answer in time.
        OSError
            Its folder cannot be written.
        """
        read_no_settings_files()
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and self._supervisor.is_alive():
            if is_healthy(self.api_url):
                self._was_healthy = True
                return
            time.sleep(0.05)
        if self._storage_error is not None:
            raise self._storage_error
        with tempfile.TemporaryFile(dir=self._folder) as probe:  # a quota is no matter of free space
            probe.write(bytes(PROBE_BYTES))
        rule = f"answer within {START_LIMIT_S:.0f} s" if self._supervisor.is_alive() else "start"
        got = "" if self._supervisor.is_alive() else f", got {self.n_restarts + 1} that ended"
        raise ServerFailedError(f"the Prefect server must {rule}{got}. See {self.log}.")

    def start_afresh(self) -> None:
        """Start again with a new database: the old one is of no use, as with tables of another version."""
        self._was_healthy = False
        self._process.kill()
        self._process.wait()
        self.wait_until_healthy()

    def stop(self) -> None:
        """End the server and wait for it."""
        self._stopping.set()
        self._supervisor.join()
        end(self._process)
        self._socket.close()
        shutil.rmtree(self.home, ignore_errors=True)
        self._lock.release()

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the process, in its own home: no settings file of the working folder is read."""
        shown = "true" if self._with_ui else "false"
        environment = child_environment() | {
            "PREFECT_UI_ENABLED": shown,
            "PREFECT_SERVER_UI_ENABLED": shown,
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_UI_API_URL": self.api_url,
            "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",  # none is used, and it takes time
            "PREFECT_SERVER_API_AUTH_STRING": self.credentials,
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(own_origins(self.port)),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///../{database.NAME}",
        }
        environment.pop("PREFECT_API_URL")
        options = {"--port": self.port, "--parent": os.getpid(), "--socket": self._socket.fileno()}
        command = [sys.executable, "-m", "flows.engine.prefect_server"]
        command += [str(part) for option in options.items() for part in option]
        command += ["--serves-pages"] if self._with_ui else []
        kept = self._folder / database.NAME
        if not database.is_sound(kept):
            self._set_aside()
        if not kept.exists():
            database.lay(kept)
        environment["PREFECT_API_DATABASE_MIGRATE_ON_START"] = str(database.needs_migrations(kept)).lower()
        with self.log.open("ab") as out:
            return start_python(command, out=out, env=environment, cwd=self.home, pass_fds=(self._socket.fileno(),))

    def _set_aside(self) -> None:
        """Begin with a new database; it holds nothing that a run needs."""
        aside = database.set_aside(self._folder / database.NAME)
        if aside is not None:
            with self.log.open("a") as log:
                log.write(f"The server could not use its database, which is now {aside.name}.\n")

    def _supervise(self) -> None:
        """Keep the server running, until nobody needs it or it cannot be."""
        try:
            self._start_again()
        except OSError as error:
            self._storage_error = error
            self._socket.close()  # nobody waits for an answer any more

    def _start_again(self) -> None:
        """Start the server again when it dies, a few times; one that never answered gets a new database."""
        while not self._stopping.wait(PARENT_POLL_S):
            if self._process.poll() is None:
                continue
            if self.n_restarts >= (MOST_RESTARTS if self._was_healthy else MOST_FIRST_RESTARTS):
                self._socket.close()
                return
            if not self._was_healthy:
                self._set_aside()
            self.n_restarts += 1
            self._process = self._start()


def start_python(command: list[str], *, out: Any, **options: Any) -> subprocess.Popen[bytes]:
    """Start a Python process of ours, apart from this one's terminal.

    Raises
    ------
    ServerFailedError
        The interpreter cannot be started.
    """
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, **options
        )
    except OSError as error:
        raise ServerFailedError(f"the Python interpreter must start, got {error}. Fix the installation.") from error


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and wait for it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def embedded_server(folder: Path) -> Iterator[PrefectServer]:
    """Run a server for the length of a block; it is started at once and not waited for."""
    server = PrefectServer(folder)
    try:
        yield server
    finally:
        server.stop()


def end_with_parent(parent: int) -> None:
    """Watch from a thread, and leave at once when the process ``parent`` that started this one is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Serve Prefect's API until told to stop or the parent is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--serves-pages", action="store_true")
    arguments = parser.parse_args()
    end_with_parent(arguments.parent)
    be_ended_first(SERVER_OOM_SCORE)
    gc.disable()  # all that importing makes stays: looking for garbage meanwhile is a fifth of the start
    import uvicorn  # after the watchdog: importing takes seconds
    from prefect.server.api.server import create_app

    # a run needs no pages, and none of the services for schedules and work pools
    app = create_app(ephemeral=not arguments.serves_pages)
    gc.freeze()
    gc.enable()
    config = uvicorn.Config(
        guarded(app, arguments.port),
        log_level="warning",
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    with socket.socket(fileno=arguments.socket) as listener:
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
