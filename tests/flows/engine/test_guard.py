"""What stands before Prefect's API lets through what was sent here, by a page of ours or by no page."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from flows.engine.guard import guarded

PORT = 4200
OWN = (b"host", b"127.0.0.1:4200")


def answer(kind: str, headers: list[tuple[bytes, bytes]]) -> Any:
    """First message that comes back; ``passed`` is the guarded application's own."""
    sent: list[MutableMapping[str, Any]] = []

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "passed"})

    async def receive() -> MutableMapping[str, Any]:
        return {}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(guarded(application, PORT)({"type": kind, "headers": headers}, receive, send))
    return sent[0].get("status", sent[0]["type"])


@pytest.mark.parametrize(("kind", "refusal"), [("http", 403), ("websocket", "websocket.close")])
def test_foreign_hosts_and_origins_are_refused(kind: str, refusal: object) -> None:
    assert answer(kind, [OWN]) == "passed"
    assert answer(kind, [(b"host", b"localhost:4200"), (b"origin", b"http://127.0.0.1:4200")]) == "passed"
    for origin in (b"http://evil.example", b"null", b"", b"http://127.0.0.1:4201", b"https://127.0.0.1:4200"):
        assert answer(kind, [OWN, (b"origin", origin)]) == refusal
    assert answer(kind, [OWN, (b"origin", b"http://localhost:4200"), (b"origin", b"http://evil.example")]) == refusal
    for hosts in ([], [b"evil.example:4200"], [b"127.0.0.1"], [b"127.0.0.1:4200", b"evil.example:4200"], [b""]):
        assert answer(kind, [(b"host", host) for host in hosts]) == refusal


def test_starting_and_stopping_pass() -> None:
    assert answer("lifespan", []) == "passed"
