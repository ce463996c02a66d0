"""Who asks, and which share of the places one client may take, so that no client takes all of them."""

from __future__ import annotations

import collections
import contextlib
import ipaddress
import math
from collections.abc import Callable, Iterator, Sequence

from nafp import errors
from nafp.serving import refusals
from nafp.serving.refusals import Refusal

# A home or a machine gets a network of this many bits (RFC 6177). The rest of an address is its own choice.
_IPV6_BITS = 64


class Clients:
    """Tells clients apart by their addresses.

    proxies: addresses and networks whose requests come from others, and name these in X-Forwarded-For. Raises
    errors.Invalid for what is no address and no network.
    """

    def __init__(self, proxies: Sequence[str]):
        try:
            self._proxies = [ipaddress.ip_network(proxy) for proxy in proxies]
        except ValueError as error:
            raise errors.Invalid(f"--proxies: {error}; addresses and networks such as 10.0.0.0/8 are needed") from None

    def of(self, client: object) -> str:
        """Returns who an address belongs to: "" for a proxy, which asks for many, and for one that is not known.

        client: `client` of an ASGI scope, (host, port) or None. Of an IPv6 address its network counts.
        """
        host = str(client[0]) if isinstance(client, (list, tuple)) and client else ""
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return host
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        if any(address in network for network in self._proxies):
            return ""
        if address.version == 6:
            return str(ipaddress.ip_network((address, _IPV6_BITS), strict=False))
        return str(address)


class Shares:
    """Counts the places that each client has taken.

    each: how many one client may take.
    """

    def __init__(self, *, each: int):
        self.each = each
        self._taken: collections.Counter[str] = collections.Counter()

    @contextlib.contextmanager
    def taken(self, client: str) -> Iterator[None]:
        """Counts a place as taken by a client during the block. Raises Refusal 429 if it has its share already."""
        if client and self._taken[client] >= self.each:
            raise too_many(f"{self.each} requests of this client are being answered already")
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]  # So that what is kept does not grow with all who ever asked.


class Room:
    """Counts the bytes of bodies that are held at once.

    most_bytes: in all. each_bytes: of one client.
    """

    def __init__(self, *, most_bytes: int, each_bytes: int):
        self._most_bytes, self._each_bytes, self.n_bytes = most_bytes, each_bytes, 0
        self._held: collections.Counter[str] = collections.Counter()

    @contextlib.contextmanager
    def held(self, client: str) -> Iterator[Callable[[int], None]]:
        """Yields a function that takes room for so many bytes more, until the block ends.

        It raises Refusal 503 where there is none, and 429 where a client has its share already.
        """
        n_held = 0

        def grow(n_bytes: int) -> None:
            nonlocal n_held
            if self.n_bytes + n_bytes > self._most_bytes:
                raise refusals.busy("too many bytes are being received already")
            if client and self._held[client] + n_bytes > self._each_bytes:
                raise too_many("too many bytes of this client are being received already")
            n_held += n_bytes
            self.n_bytes += n_bytes
            self._held[client] += n_bytes

        try:
            yield grow
        finally:
            self.n_bytes -= n_held
            self._held[client] -= n_held
            if not self._held[client]:
                del self._held[client]


def share_of(places: int, share: float) -> int:
    """Returns how many of the places are the share of one client, 1 at least."""
    return max(1, math.ceil(places * share))


def too_many(text: str) -> Refusal:
    """Returns the refusal of a client that has taken its share."""
    return Refusal(429, f"{text}; wait for an answer, then try again", {"Retry-After": "1"})
