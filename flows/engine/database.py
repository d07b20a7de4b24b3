"""Prefect's database, a file of ours that may be thrown away: what is done is said by committed records alone."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

NAME = "prefect.db"
BUSY_S = 10.0


def is_sound(database: Path) -> bool:
    """Whether SQLite can read all of it and write to it; one that is not there yet is sound."""
    if not database.exists():
        return True
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=BUSY_S, isolation_level=None)) as connection:
            connection.execute("begin immediate")
            connection.execute("rollback")
            return bool(connection.execute("pragma quick_check").fetchone() == ("ok",))
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode == sqlite3.SQLITE_BUSY  # at work elsewhere, which is no damage
    except sqlite3.Error:
        return False


def set_aside(database: Path) -> Path | None:
    """Rename it, with what SQLite keeps beside it, so that the next start makes a new one; None if there is none."""
    if not database.exists():
        return None
    aside = database.with_name(f"{NAME}.aside-{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{database}{suffix}").rename(f"{aside}{suffix}")
    return aside
