"""Prefect's database, a file of ours that may be thrown away: what is done is said by committed records alone.

Prefect makes a new one by some hundred migrations, which take five seconds of a core. What they come to for the pinned
version stands in ``prefect_schema.sql``, and is laid at once. Another version of Prefect migrates as ever. To write the
file again for a new one, let that version make a database and print ``schema_of`` it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sqlite3
import time
import uuid
from pathlib import Path

NAME = "prefect.db"
BUSY_S = 10.0
SCHEMA = Path(__file__).with_name("prefect_schema.sql")


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


def lay(database: Path) -> None:
    """Make a new database as Prefect's migrations would; where that fails, or for another Prefect, they will."""
    draft = database.with_name(f".{database.name}-{uuid.uuid4().hex}")
    try:
        _make(draft)
        draft.rename(database)
    except (sqlite3.Error, OSError):
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def needs_migrations(database: Path) -> bool:
    """Whether Prefect must look for migrations: the database does not say that it has all those of the schema."""
    try:
        with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return not _schema().endswith(_at_version(connection))
    except (sqlite3.Error, OSError, ValueError):
        return True


def schema_of(database: Path) -> str:
    """What makes a database like this one, as SQL: its tables and indexes, and the version of its migrations."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        made = connection.execute("select sql from sqlite_master where sql is not null order by type desc, name")
        return "".join([_of_version(), *(f"{sql};\n" for (sql,) in made), _at_version(connection)])


def _at_version(connection: sqlite3.Connection) -> str:
    """The SQL that says which migrations a database has."""
    ((version,),) = connection.execute("select version_num from alembic_version").fetchall()
    return f"insert into alembic_version values ('{version}');\n"


def _make(database: Path) -> None:
    """Run the SQL of the schema on a new file."""
    schema = _schema()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript(f"begin;{schema}commit;")


def _schema() -> str:
    """The SQL that is laid.

    Raises
    ------
    OSError
        It is that of another version of Prefect.
    """
    schema = SCHEMA.read_text(encoding="utf-8")
    if not schema.startswith(_of_version()):
        raise OSError(f"{SCHEMA.name} must be of the Prefect that is installed")
    return schema


def _of_version() -> str:
    """The line that begins the schema."""
    return f"-- What Prefect {importlib.metadata.version('prefect')} (Apache-2.0) makes of a new SQLite database.\n"
