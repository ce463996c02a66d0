"""The settings of a server, each with its default and the reason for it."""

from __future__ import annotations

import hashlib
import hmac
import math
import os
from typing import NamedTuple

from nafp import errors
from nafp.identify import asking
from nafp.jobs import threads
from nafp.serving import clients

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MEGABYTE = 1 << 20
_MOST_TOKEN_BYTES = 4096
_LEAST_TOKEN = 16  # Characters. At a thousand guesses a second even random digits of this length outlive us all.


class ServeSettings(NamedTuple):
    """The settings of `nafp serve`, whose --help explains each. 0 stands for "as many as there are cores"."""

    database: str
    host: str = "127.0.0.1"
    port: int = 8765
    workers: int = 1
    runtime: str = "auto"
    hosts: tuple[str, ...] = ()  # Names by which the server may be addressed. None: those of this machine, or any.
    proxies: tuple[str, ...] = ("127.0.0.0/8", "::1")  # Whose X-Forwarded-For is believed.
    token: str | None = None  # Opens what changes the database. None: nothing does.

    play: bool = False  # Recordings are rarely anybody's to publish.

    jobs: int = 0  # Clips at once in each process.
    waiting: int = 64  # Requests that may wait for one of these. A clip takes some 50 ms, so this is a second or two.
    megabytes: float = 16.0  # A minute of CD audio has 10.
    waiting_megabytes: float = 256.0  # Of all requests at once: 64 of the largest would be a gigabyte.
    clip_s: float = asking.LONGEST_S  # Audio that is listened to of each clip.
    sending_s: float = 30.0  # For a request to arrive: 16 MB at 4.5 Mbit/s.
    decoding_s: float = 10.0  # A minute of any sane file takes under one.
    request_s: float = 30.0  # From the last byte of a request to its answer.
    track_megabytes: float = 256.0
    track_s: float = 3 * 3600.0  # A longer recording is not added.
    listeners: int = 4  # Streams at once in each process. One costs a thirtieth of a core.
    listen_s: float = 12 * 3600.0
    silent_s: float = 60.0  # A stream that sends nothing for so long is closed.
    connections: int = 512
    client_share: float = 0.5  # Of each kind of place, for one client: another one always finds some.
    header_s: float = 10.0  # For the head of a request to arrive.
    header_bytes: int = 16 * 1024

    @property
    def n_jobs(self) -> int:
        """Number of clips at once."""
        return self.jobs or threads.n_threads()

    @property
    def body_bytes(self) -> int:
        """Bytes of the largest body with a clip."""
        return round(self.megabytes * MEGABYTE)

    @property
    def room_bytes(self) -> int:
        """Bytes of all bodies with clips that are held at once. The largest one fits."""
        return max(self.body_bytes, round(self.waiting_megabytes * MEGABYTE))

    @property
    def client_bytes(self) -> int:
        """Bytes of all these bodies of one client."""
        return max(self.body_bytes, clients.share_of(self.room_bytes, self.client_share))

    @property
    def track_bytes(self) -> int:
        """Bytes of the largest body with a recording to add."""
        return round(self.track_megabytes * MEGABYTE)

    @property
    def track_sending_s(self) -> float:
        """Seconds for a recording to arrive, as many for each byte as a clip has."""
        return self.sending_s * max(1.0, self.track_bytes / self.body_bytes)

    @property
    def known_hosts(self) -> tuple[str, ...]:
        """Names that a Host header may have, without port. ("*",) for any.

        A server on the loopback that answered to any name could be reached by a page of somebody else in a browser of
        this machine: its name would first lead there, then here. The names of the loopback itself lead nowhere else, so
        checks of a server's health may always use them.
        """
        if self.hosts:
            return (*self.hosts, *LOOPBACK)
        return LOOPBACK if self.host in LOOPBACK else ("*",)

    @property
    def client_jobs(self) -> int:
        """Number of requests of one client that may be inside."""
        return clients.share_of(self.n_jobs + self.waiting, self.client_share)

    @property
    def client_listeners(self) -> int:
        """Number of streams of one client."""
        return clients.share_of(self.listeners, self.client_share)

    @property
    def client_connections(self) -> int:
        """Number of connections of one client."""
        return clients.share_of(self.connections, self.client_share)

    def opens(self, token: str) -> bool:
        """Returns whether a token is the right one, in a time that does not depend on it."""
        if self.token is None:
            return False
        given, right = (hashlib.sha256(text.encode(errors="replace")).digest() for text in (token, self.token))
        return hmac.compare_digest(given, right)


def token(file: str | None) -> str | None:
    """Reads the token from a file, else from the environment variable NAFP_TOKEN. None without either.

    A command line would show it to every user of the machine. Raises errors.Invalid for a short token.
    """
    if file:
        try:
            with open(file, "rb") as opened:  # It may be a pipe of the shell, or a device without an end.
                text = opened.read(_MOST_TOKEN_BYTES).decode().strip()
        except OSError as error:
            raise errors.Invalid(f"--token_file={file}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise errors.Invalid(f"--token_file={file}: is no text in UTF-8: {error}") from error
    elif "NAFP_TOKEN" in os.environ:
        text = os.environ["NAFP_TOKEN"].strip()
    else:
        return None
    if len(text) < _LEAST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
        raise errors.Invalid(
            f"the token must have {_LEAST_TOKEN} or more visible ASCII characters; openssl rand -hex 32 makes one"
        )
    return text


def check(settings: ServeSettings) -> None:
    """Raises errors.Invalid for settings that cannot be."""
    positive = (name for name in settings._fields if name.endswith(("_s", "megabytes", "_bytes")))
    for name in (*positive, "workers", "connections"):
        if not 0 < getattr(settings, name) < math.inf:
            raise errors.Invalid(f"--{name}={getattr(settings, name)}: must be more than 0, and finite")
    if not settings.host:  # The system would take it for all addresses of this machine.
        raise errors.Invalid("--host=: names no address; 127.0.0.1 is this machine alone, 0.0.0.0 all of its addresses")
    if not 0 < settings.client_share <= 1:
        raise errors.Invalid(f"--client_share={settings.client_share:g}: more than 0, and at most 1, for all places")
    clients.Clients(settings.proxies)
    if settings.clip_s > asking.LONGEST_S:
        raise errors.Invalid(f"--clip_s={settings.clip_s:g}: a clip is at most {asking.LONGEST_S:g} s")
