"""The processes of a server: sockets, workers, signals. With `connections`, the only file that imports uvicorn."""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing as processes
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import uvicorn
from uvicorn.supervisors import multiprocess

from nafp import errors
from nafp.serving import app, clients, connections, guard, metrics
from nafp.serving.service import Service
from nafp.serving.settings import ServeSettings

_MESSAGE_BYTES = 1 << 20  # Of a WebSocket: three minutes of Opus, or six seconds of float32 at 44.1 kHz.
_MESSAGES = 16
_STARTUP_FAILURE = 3  # The exit code of a worker of uvicorn.
_CLOSING_S = 10.0  # Beyond the longest request, for its answer to be sent.


def configuration(settings: ServeSettings, open_service: Callable[[ServeSettings], Service]) -> uvicorn.Config:
    """Returns what uvicorn needs to know. open_service: a function that another process can import."""
    longest_s = settings.track_sending_s if settings.token else settings.sending_s
    limits = connections.ConnectionLimits(
        settings.header_s,
        settings.sending_s,
        longest_s,
        settings.connections,
        settings.client_connections,
        clients.Clients(settings.proxies),
    )
    return uvicorn.Config(
        functools.partial(_application, settings, open_service),
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=functools.partial(connections.Connection, limits),  # type: ignore[arg-type]  # It makes a protocol.
        ws="websockets-sansio",
        ws_max_size=_MESSAGE_BYTES,
        ws_max_queue=_MESSAGES,
        ws_per_message_deflate=False,  # Audio is compressed already.
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=list(settings.proxies),
        h11_max_incomplete_event_size=settings.header_bytes,
        timeout_graceful_shutdown=round(settings.request_s + _CLOSING_S),
        timeout_worker_healthcheck=60,
    )


def run(
    settings: ServeSettings,
    open_service: Callable[[ServeSettings], Service],
    *,
    ready: Callable[[str, int], None] = lambda host, port: None,
) -> None:
    """Serves until SIGTERM or Ctrl-C, and then finishes the requests that it has.

    open_service: opens what the server needs, in each process. ready: called with host and port, in another thread,
    once the server listens. Raises errors.Invalid for an address that cannot be bound, and if `open_service` fails.
    """
    config = configuration(settings, open_service)
    bound = _bound(settings)
    ended = threading.Event()
    threading.Thread(target=_tell_when_ready, args=(bound.getsockname()[:2], ready, ended), daemon=True).start()
    try:
        with bound:
            has_begun = _served(settings, config, bound)
    finally:
        ended.set()
    if not has_begun:
        raise errors.Invalid(f"{settings.database}: could not be opened to be served, for the reason above")


def _served(settings: ServeSettings, config: uvicorn.Config, bound: socket.socket) -> bool:
    """Serves to the end. Returns False if it could not begin."""
    if settings.workers > 1:
        with tempfile.TemporaryDirectory(prefix="nafp-metrics-") as folder:
            os.environ[metrics.SHARED] = folder
            try:
                workers = multiprocess.Multiprocess(config, sockets=[bound])
                workers.run()
            finally:
                del os.environ[metrics.SHARED]
        return all(worker.process.exitcode != _STARTUP_FAILURE for worker in workers.processes)
    # uvicorn raises a signal again after it has ended in good order. Then it has done its work.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        serving = uvicorn.Server(config)
        serving.run(sockets=[bound])
        return not serving.lifespan.should_exit
    except SystemExit:  # How newer versions tell.
        return False
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _application(settings: ServeSettings, open_service: Callable[[ServeSettings], Service]) -> guard.Guard:
    """Returns the application of this process."""
    for name in ("uvicorn.error", "python_multipart"):  # They warn of every request that is no HTTP, or no form.
        logging.getLogger(name).setLevel(logging.ERROR)
    parent = processes.parent_process()
    if parent is not None:  # A worker would outlive a parent that was killed, and hold the port.
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    return app.create(settings, open_service)


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _tell_when_ready(address: tuple[str, int], ready: Callable[[str, int], None], ended: threading.Event) -> None:
    host, port = address
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    while True:
        with contextlib.suppress(OSError), socket.create_connection((reached, port), timeout=1.0):
            break
        if ended.wait(0.05):
            return
    ready(host, port)


def _bound(settings: ServeSettings) -> socket.socket:
    """Returns a socket that is bound, and does not listen yet."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        raise errors.Invalid(
            f"--host={settings.host} --port={settings.port}: cannot be bound: {error.strerror or error}"
        ) from error
    bound.set_inheritable(True)
    return bound
