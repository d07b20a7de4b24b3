"""One loopback Prefect server per run, started and reaped by the command.

Run as ``python -m flows.engine.prefect_server --port P --parent PID``, it serves Prefect's API and ends with its
parent, however that one ends: without ``PREFECT_API_URL`` every worker would start a server of its own, and a killed
run would leave it behind. Nothing listens beyond loopback; telemetry is off; Prefect's files stay in the work folder.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

LOOPBACK = "127.0.0.1"
START_LIMIT_S = 120.0
STOP_LIMIT_S = 10.0
PARENT_POLL_S = 0.5
MOST_RESTARTS = 20


class ServerFailedError(RuntimeError):
    """The Prefect server did not start or has died."""


def set_environment(home: Path, api_url: str | None = None) -> None:
    """Set what must be set before ``import prefect``, here and in every process started from here.

    Parameters
    ----------
    home : folder for Prefect's database and settings
    api_url : the server's address; None leaves a given ``PREFECT_API_URL`` as it is
    """
    home.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(home)
    os.environ["DO_NOT_TRACK"] = "1"  # the Amplitude client starts on import
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    os.environ["PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY"] = "false"
    os.environ["PREFECT_RESULTS_PERSIST_BY_DEFAULT"] = "false"  # results are pickles: ours are files
    os.environ["PREFECT_RESULTS_DEFAULT_SERIALIZER"] = "json"
    os.environ["PREFECT_FLOWS_DEFAULT_RETRIES"] = "0"
    os.environ["PREFECT_LOGGING_LEVEL"] = os.environ.get("ASPECTS_PREFECT_LOGGING_LEVEL", "WARNING")
    os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"
    os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
    os.environ["PREFECT_CLIENT_MAX_RETRIES"] = "5"  # waits of 2, 4, 8, 16 and 32 s outlast a restart of the server
    if api_url is not None:
        os.environ["PREFECT_API_URL"] = api_url


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nothing listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) != 0


def is_healthy(api_url: str, *, timeout_s: float = 1.0) -> bool:
    """Whether a Prefect API answers at ``api_url``."""
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=timeout_s) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class PrefectServer:
    """A server process of ours, with its files in ``home``: start it early, wait for it when it is needed.

    A server that dies is started again on the same port, where Prefect's clients try again for about a minute.
    """

    def __init__(self, home: Path, *, port: int | None = None, with_ui: bool = False) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.log = home / "server.log"
        self.n_restarts = 0
        self._with_ui = with_ui
        self._stopping = threading.Event()
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
        """Block until the API answers.

        Raises
        ------
        ServerFailedError
            It ended again and again, or did not answer in time.
        """
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and self._supervisor.is_alive():
            if is_healthy(self.api_url):
                return
            time.sleep(0.05)
        raise ServerFailedError(f"the Prefect server must answer within {START_LIMIT_S:.0f} s. See {self.log}.")

    def stop(self) -> None:
        """End the server and wait for it."""
        self._stopping.set()
        self._supervisor.join()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the process."""
        shown = "true" if self._with_ui else "false"
        environment = os.environ | {
            "PREFECT_UI_ENABLED": shown,
            "PREFECT_SERVER_UI_ENABLED": shown,
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_UI_API_URL": self.api_url,
        }
        environment.pop("PREFECT_API_URL", None)
        command = [
            sys.executable,
            "-m",
            "flows.engine.prefect_server",
            "--port",
            str(self.port),
            "--parent",
            str(os.getpid()),
        ]
        with self.log.open("ab") as out:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True
            )

    def _supervise(self) -> None:
        """Start the server again when it dies, a few times."""
        while not self._stopping.wait(PARENT_POLL_S):
            if self._process.poll() is not None:
                if self.n_restarts >= MOST_RESTARTS:
                    return
                self.n_restarts += 1
                self._process = self._start()


@contextlib.contextmanager
def embedded_server(home: Path) -> Iterator[PrefectServer]:
    """Run a server for the length of a block; it is started at once and not waited for."""
    set_environment(home)
    server = PrefectServer(home)
    set_environment(home, server.api_url)
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
    arguments = parser.parse_args()
    end_with_parent(arguments.parent)
    import uvicorn  # after the watchdog: importing takes seconds

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host=LOOPBACK,
        port=arguments.port,
        log_level="warning",
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
