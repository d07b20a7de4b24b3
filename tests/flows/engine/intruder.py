"""What another user of this machine can do to a run: everything is tried, and what came of it is printed. For a test.

python intruder.py UID '{"ports": [...], "scheduler": ..., "api": ..., "folders": [...]}'
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.security import Security

PAGES = ("", "health", "metrics", "info/main/workers.html", "json/identity.json", "api/v1/get_workers")


def asked(url: str, **headers: str) -> int:
    """Answer's status; 0 without an answer."""
    request = urllib.request.Request(url, headers=headers, data=b"{}" if url.endswith("filter") else None)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError, http.client.HTTPException):
        return 0


def ran(address: str, security: Security | None) -> Any:
    """Run code in a worker: the user id it ran as, or the error's name."""
    try:
        with Client(address, security=security, timeout="5s", set_as_default=False) as client:
            return client.submit(os.getuid, pure=False).result(timeout=10)
    except Exception as error:
        return type(error).__name__


def spoke(port: int) -> bool:
    """Whether a port greets in clear text, as Dask does there; behind TLS nothing comes before the client's hello."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return bool(connection.recv(8))
    except OSError:
        return False


def listed(folder: str) -> Any:
    """Names in a folder, or the error's name."""
    try:
        return [path.name for path in Path(folder).iterdir()]
    except OSError as error:
        return type(error).__name__


def main() -> None:
    uid, target = int(sys.argv[1]), json.loads(sys.argv[2])
    security = Security.temporary()
    for address in ("tcp://127.0.0.1:9", "tls://127.0.0.1:9"):  # what is imported late is imported as root
        with contextlib.suppress(Exception):
            ran(address, security if address.startswith("tls") else None)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    place = target["scheduler"].removeprefix("tls://")
    found = {
        "uid": os.getuid(),
        "scheduler, clear text": ran(f"tcp://{place}", None),
        "scheduler, certificates of one's own": ran(f"tls://{place}", security),
        "pages": sum(asked(f"http://127.0.0.1:{port}/{page}") == 200 for port in target["ports"] for page in PAGES),
        "ports in clear text": sum(spoke(port) for port in target["ports"]),
        "api": asked(f"{target['api']}/flows/filter"),
        "api, guessed": asked(f"{target['api']}/flows/filter", Authorization="Basic YXNwZWN0czo="),
        "folders": [listed(folder) for folder in target["folders"]],
    }
    print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
