"""What a run takes from its user's environment, and what it leaves: settings of Prefect and Dask, and proxies.

Prefect and Dask read variables, files of the working folder and files of the home folder. A value meant for another
program there would change a run, or send it to another database. So every such variable is dropped, here and thus in
every process started from here; commands of the site (hooks) still get the environment as the user gave it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

#: Variables whose name begins so, in either case, as pydantic reads them.
PREFECT = ("PREFECT", "UVICORN", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS")
DASK = ("DASK",)
#: Nothing here talks to anything but loopback. With "*" httpx does not even look at a proxy that it cannot use.
NO_PROXY = {"NO_PROXY": "*", "no_proxy": "*"}

_as_given: dict[str, str] = {}


class UnsafeFolderError(RuntimeError):
    """A folder of ours belongs to somebody else."""


def user_environment() -> dict[str, str]:
    """Environment as the user gave it, for a command of the site."""
    return _as_given or dict(os.environ)


def drop_variables(prefixes: tuple[str, ...]) -> None:
    """Drop every variable whose name begins with one of ``prefixes``, in upper or lower case."""
    if not _as_given:
        _as_given.update(os.environ)
    for name in list(os.environ):
        if name.upper().startswith(prefixes):
            del os.environ[name]


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user may enter, or take one that is already this user's.

    Raises
    ------
    UnsafeFolderError
        It is a link, or another user's: what lies there could have been laid there to be run.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UnsafeFolderError(
            f"{folder} must be a folder of this user, got a link or another user's. Remove it, or use --work-dir."
        )
    with contextlib.suppress(PermissionError):  # a file system without modes
        folder.chmod(0o700)
    return folder
