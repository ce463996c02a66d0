"""A request that is not done: the status that says so, and the reason in words."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):
    """Ends a request with this HTTP status.

    text: what was wrong, what is allowed. It must name no path of this machine. headers: of the response.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None):
        super().__init__(text)
        self.status, self.text, self.headers = status, text, dict(headers or {})


class ClientGone(Exception):
    """The client has left, so nobody waits for the answer."""


def busy(text: str) -> Refusal:
    """Returns the refusal of a request that may well be done a second later."""
    return Refusal(503, f"{text}; try again", {"Retry-After": "1"})
