"""Connections that cannot be kept open by doing nothing, and that say in words what is wrong with a request.

uvicorn waits for ever for a request that has begun, whether its head or its body. Here both have a time.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, NamedTuple

import h11
from uvicorn.protocols.http import h11_impl

from nafp.serving import clients, guard, refusals
from nafp.serving.clients import Clients
from nafp.serving.refusals import Refusal

_GRACE_S = 5.0  # Beyond the longest time of a body, which the application itself refuses in words.


class ConnectionLimits(NamedTuple):
    """Seconds and numbers that a connection has.

    header_s: for the head of a request. sending_s: for the rest of a body after its answer. longest_s: for any body.
    connections: how many at once. each: how many of one client. clients: tells them apart.
    """

    header_s: float
    sending_s: float
    longest_s: float
    connections: int
    each: int
    clients: Clients


class Connection(h11_impl.H11Protocol):
    """An HTTP connection with limits. The other arguments are those of uvicorn."""

    def __init__(self, limits: ConnectionLimits, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._waits_for_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self.app = _full
        if self._is_one_too_many():
            self._refuse(clients.too_many(f"{self._limits.each} connections of this client are open already"))
            return
        self._set_deadline(self._limits.header_s)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None:
            self._set_deadline(self._limits.header_s)
        super().data_received(data)
        if self.transport.get_protocol() is not self:  # A WebSocket now.
            self._end_deadline()
        elif self.conn.their_state is h11.SEND_BODY and not self._waits_for_body:
            self._set_body_deadline(self._limits.longest_s + _GRACE_S)
        elif self.conn.their_state not in (h11.SEND_BODY, h11.IDLE):
            self._end_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:  # It was refused. Its client may still be sending, and read later.
            self._set_body_deadline(self._limits.sending_s)

    def send_400_response(self, msg: str) -> None:
        """Says what is wrong with a request that is no HTTP. uvicorn calls this where it handles the error."""
        status = getattr(sys.exc_info()[1], "error_status_hint", 400)
        most_bytes = self.config.h11_max_incomplete_event_size or 0
        self._refuse(guard.too_large(most_bytes) if status == 431 else Refusal(status, "this is no HTTP request"))

    def timeout_keep_alive_handler(self) -> None:
        """Ends a connection that is done. One whose client does not read its last response is cut after a while."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(self._limits.sending_s, self.transport.abort)

    def _is_one_too_many(self) -> bool:
        """Returns whether the client had its share of connections before this one."""
        client = self._limits.clients.of(self.client)
        if not client:
            return False
        of_each = (self._limits.clients.of(getattr(other, "client", None)) for other in self.connections)
        return sum(other == client for other in of_each) > self._limits.each

    def _set_deadline(self, seconds: float) -> None:
        self._end_deadline()
        self._deadline = self.loop.call_later(seconds, self._is_late)

    def _set_body_deadline(self, seconds: float) -> None:
        self._set_deadline(seconds)
        self._waits_for_body = True

    def _end_deadline(self) -> None:
        self._waits_for_body = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_late(self) -> None:
        if self._waits_for_body:
            self.transport.abort()
        else:
            self._refuse(Refusal(408, f"the head of the request did not arrive within {self._limits.header_s:g} s"))

    def _refuse(self, refusal: Refusal) -> None:
        """Answers without the application, and closes the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": refusal.text}).encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            response = h11.Response(status_code=refusal.status, headers=guard.guarded(headers))
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


async def _full(scope: guard.Scope, receive: guard.Receive, send: guard.Send) -> None:
    refusal = refusals.busy("too many connections")
    refusal.headers["Connection"] = "close"

    async def send_guarded(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = guard.guarded(message["headers"])
        await send(message)

    await guard.respond(send_guarded, refusal)
