"""What stands before Prefect's API: requests for another host name, or sent by a page of another site, are refused.

Any page that the person has open may send requests to loopback, and a name that its owner points to 127.0.0.1 (DNS
rebinding) makes such a page look like one of ours. The credentials, which Prefect itself asks for, keep out other users
of this machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NAMES = ("127.0.0.1", "localhost")


def own_origins(port: int) -> tuple[str, ...]:
    """Origins of our own pages."""
    return tuple(f"http://{name}:{port}" for name in NAMES)


def guarded(app: App, port: int) -> App:
    """Let only requests through that were sent to this server by its name, and by no foreign page."""
    hosts = {f"{name}:{port}".encode() for name in NAMES}
    origins = {origin.encode() for origin in own_origins(port)}

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            headers = scope["headers"]
            named = [value for name, value in headers if name == b"host"]
            senders = {value for name, value in headers if name == b"origin"}
            if len(named) != 1 or named[0] not in hosts or not senders <= origins:
                await _refuse(scope, send)
                return
        await app(scope, receive, send)

    return guard


async def _refuse(scope: Scope, send: Send) -> None:
    """Answer 403, or close a socket before it opens."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"Only this machine's own pages may ask this."})
