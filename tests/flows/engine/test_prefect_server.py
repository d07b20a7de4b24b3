"""The Prefect server of a run: a database that it cannot use, an interpreter that does not start."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from flows.engine import prefect_server
from flows.engine.database import NAME, SCHEMA, is_sound, lay, needs_migrations, schema_of, set_aside
from flows.engine.environment import UnsafeFolderError, private_folder
from flows.engine.lock import LockedError

ROOT = Path(__file__).parents[3]
START = """
import json, sys
from pathlib import Path
from flows.engine.prefect_server import embedded_server
from flows.engine.reconcile import crash_stale_runs, crash_stale_runs_on
with embedded_server(Path(sys.argv[1])) as server:
    stale = crash_stale_runs_on(server)
    print(json.dumps([server.n_restarts, stale, crash_stale_runs()]))
"""

MIGRATE = """
import asyncio, os, sys
os.environ["PREFECT_HOME"] = sys.argv[1]
os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{sys.argv[1]}/prefect.db"
from prefect.server.database import provide_database_interface
asyncio.run(provide_database_interface().create_db())
"""


def started(folder: Path) -> list[int]:
    """Start a server: how often it was started again, and the stale runs found at first and then."""
    command = [sys.executable, "-c", START, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found: list[int] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database that a server of ours made and left whole."""
    folder = tmp_path_factory.mktemp("used")
    assert started(folder) == [0, 0, 0]
    with contextlib.closing(sqlite3.connect(folder / NAME)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    return (folder / NAME).read_bytes()


@pytest.mark.processes
def test_a_new_database_is_laid_as_the_migrations_of_prefect_leave_it(tmp_path: Path) -> None:
    environment = {**os.environ, "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    subprocess.run([sys.executable, "-c", MIGRATE, str(tmp_path)], check=True, timeout=600, cwd=ROOT, env=environment)
    laid = SCHEMA.read_text(encoding="utf-8")
    assert _parts(laid) == _parts(schema_of(tmp_path / NAME))  # if not: another Prefect was pinned; write it again
    lay(tmp_path / "laid.db")
    assert schema_of(tmp_path / "laid.db") == laid


def _parts(schema: str) -> list[list[str]]:
    """The statements as sorted lines: migrations give the constraints of a table in any order."""
    return sorted(sorted(line.strip(" \t,") for line in part.splitlines()) for part in schema.split(";\n"))


def test_only_a_database_that_has_all_migrations_needs_none(tmp_path: Path) -> None:
    database = tmp_path / NAME
    assert needs_migrations(database)
    lay(database)
    assert not needs_migrations(database)
    other_version(database)
    assert needs_migrations(database)
    database.write_bytes(b"no database" * 1000)
    assert needs_migrations(database)


def test_another_prefect_makes_its_own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path / NAME)
    monkeypatch.setattr("flows.engine.database.importlib.metadata.version", lambda _: "4.0.0")
    assert needs_migrations(tmp_path / NAME)
    lay(tmp_path / "other.db")
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def other_version(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("update alembic_version set version_num = 'ffffffffffff'")


def lost_table(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("pragma foreign_keys = off")
        connection.execute("drop table task_run")


def overwritten(database: Path) -> None:
    whole = bytearray(database.read_bytes())
    whole[4096 : len(whole) // 2] = os.urandom(len(whole) // 2 - 4096)
    database.write_bytes(whole)


@pytest.mark.processes
@pytest.mark.parametrize(("spoil", "n_restarts"), [(other_version, 1), (lost_table, 1), (overwritten, 0)])
def test_a_database_that_cannot_be_used_is_set_aside(
    used: bytes, tmp_path: Path, spoil: Callable[[Path], None], n_restarts: int
) -> None:
    (tmp_path / NAME).write_bytes(used)
    spoil(tmp_path / NAME)
    assert started(tmp_path) == [n_restarts, 0, 0]
    assert len(list(tmp_path.glob(f"{NAME}.aside-*"))) >= 1
    assert "could not use its database" in (tmp_path / "server.log").read_text()


@pytest.mark.processes
def test_soundness_is_told_of_every_kind_of_file(used: bytes, tmp_path: Path) -> None:
    database = tmp_path / NAME
    assert is_sound(database)
    assert set_aside(database) is None
    whole = ((used, True), (b"", True))
    spoilt = (b"x" * 5000, b"not a database" * 1000, used[: len(used) // 2])
    for content, expected in (*whole, *((one, False) for one in spoilt)):
        database.write_bytes(content)
        assert is_sound(database) is expected
        aside = set_aside(database)
        assert aside is not None
        aside.unlink()
    database.mkdir()
    assert not is_sound(database)


@pytest.mark.processes
def test_a_database_at_work_elsewhere_is_no_damage(
    used: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.engine.database.BUSY_S", 0.1)
    database = tmp_path / NAME
    database.write_bytes(used)
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("begin exclusive")
        assert is_sound(database)


@pytest.mark.processes
def test_a_second_server_in_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home-of-the-first").mkdir()
    with FileLock(tmp_path / ".lock"), pytest.raises(LockedError, match="another server is at work there"):
        prefect_server.PrefectServer(tmp_path)
    assert (tmp_path / "home-of-the-first").exists()


@pytest.mark.processes
@pytest.mark.parametrize("interpreter", ["no/such/python", "/"])
def test_an_interpreter_that_cannot_start_is_named_and_no_matter_of_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpreter: str
) -> None:
    monkeypatch.setattr(prefect_server, "set_environment", lambda *_: None)
    monkeypatch.setenv("PREFECT_API_URL", "")
    monkeypatch.setattr(sys, "executable", interpreter)
    with pytest.raises(prefect_server.ServerFailedError, match="the Python interpreter must start"):
        prefect_server.PrefectServer(tmp_path)


@pytest.mark.processes
def test_a_folder_that_has_no_room_is_the_error_and_not_the_time(tmp_path: Path) -> None:
    """A quota, which free space does not show: no file may become larger than a page."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    done = subprocess.run(
        [sys.executable, "-c", f"{limit}\n{START}", str(tmp_path)],
        capture_output=True, text=True, timeout=600, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "OSError: [Errno 27] File too large"
    assert "_bootstrap_inner" not in done.stderr  # no thread of ours ends with a traceback


def test_a_folder_of_somebody_else_or_a_link_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir(mode=0o777)
    assert private_folder(own).stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(own)
    with pytest.raises(UnsafeFolderError, match="got a link or another user's"):
        private_folder(tmp_path / "link")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(UnsafeFolderError, match="got a link or another user's"):
        private_folder(own)
