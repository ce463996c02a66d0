"""What every request and response passes: the name of the host, headers that bind browsers, counts, and errors as JSON.

It speaks ASGI and stands around the application, so that nothing gets past it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from nafp.serving.metrics import Metrics
from nafp.serving.refusals import Refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# An answer is data: a browser must not run it, guess at its type, show it in a frame of somebody else, or keep it. An
# endpoint that returns a page brings a Content-Security-Policy of its own.
HEADERS = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}


_NOT_THIS_HOST = "Host: not a name of this server; nafp serve --hosts gives it others"


class Guard:
    """An application around another one.

    hosts: names that a request may address, ("*",) for any. head_bytes: of a request's head at most. find_metrics:
    returns the counts, None before the start.
    """

    def __init__(
        self, app: App, *, hosts: tuple[str, ...], head_bytes: int, find_metrics: Callable[[], Metrics | None]
    ):
        self._app, self._hosts, self._head_bytes, self._find_metrics = app, hosts, head_bytes, find_metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A page of another site may open a socket to any server, so the server must ask where the page is from. One in
        # a frame without rights says "null". A program says nothing.
        origin = _header(scope, b"origin")
        is_ours = not origin or origin.partition("://")[1:] == ("://", _header(scope, b"host"))
        if self._is_known(scope) and is_ours:
            await self._app(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": "not from here"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s, status = time.monotonic(), 0

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = guarded(message.get("headers", []))
            await send(message)

        try:
            if _head_bytes(scope) > self._head_bytes:
                await respond(send_guarded, too_large(self._head_bytes))
            elif self._is_known(scope):
                await self._app(scope, receive, send_guarded)
            else:
                await respond(send_guarded, Refusal(421, _NOT_THIS_HOST))
        except Exception:
            logging.getLogger(__name__).exception("a defect: %s %r", scope["method"], scope["path"])
            if status != 500:  # No answer, or half of one: the connection is cut, so that nobody takes it for whole.
                raise
        metrics = self._find_metrics()
        if metrics:
            endpoint = getattr(scope.get("endpoint"), "__name__", "none")
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "DELETE") else "other"
            metrics.answered(endpoint, method, status, time.monotonic() - started_s)

    def _is_known(self, scope: Scope) -> bool:
        return "*" in self._hosts or host_name(_header(scope, b"host")) in self._hosts


async def respond(send: Send, refusal: Refusal) -> None:
    """Sends a refusal as JSON."""
    body = json.dumps({"error": refusal.text}).encode()
    headers = [(name.lower().encode(), value.encode()) for name, value in refusal.headers.items()]
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def too_large(most_bytes: int) -> Refusal:
    """Returns what a request is told whose head is larger. h11 lets one pass that arrives at once."""
    return Refusal(431, f"the head of the request, or of a chunk of its body, is too large; at most {most_bytes} bytes")


def guarded(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Returns the headers of a response with those of HEADERS that it lacks."""
    present = {name.lower() for name, _ in headers}
    return [*headers, *((name, value) for name, value in HEADERS.items() if name not in present)]


def host_name(host: str) -> str:
    """Returns the name in a Host header, without port and without the brackets of an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _head_bytes(scope: Scope) -> int:
    """Returns the size of a request's head, but for the few bytes around its names and values."""
    target = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    return target + sum(len(name) + len(value) for name, value in scope["headers"])


def _header(scope: Scope, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return ""
