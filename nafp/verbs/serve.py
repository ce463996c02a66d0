"""`nafp serve`: a database answers over HTTP."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

from nafp import errors
from nafp.database import database, engine_check, engine_facts
from nafp.serving import server, service, settings
from nafp.weights import sources


def run(request: settings.ServeSettings, *, prepare: Callable[[], None] = lambda: None) -> int:
    """Serves until SIGTERM or Ctrl-C, and returns the exit code.

    prepare: called in each process before JAX is used; another process must be able to import it. Raises nafp.Error,
    before the server listens, for settings that cannot be right and a database that cannot be opened. A search engine
    of the database may be out of reach, and come back later.
    """
    settings.check(request)
    runtime = sources.chosen(request.runtime)
    with database.Database.open(request.database) as opened:
        n_tracks = len(opened)
        _check_engine(engine_facts.of(opened.about), request.workers)
        # What is wrong with the network is said here, in one line. JAX would make this process large.
        opened.network(runtime="numpy" if runtime == "jax" else runtime)

    def ready(host: str, port: int) -> None:
        name = f"[{host}]" if ":" in host else host
        print(
            f"serving {request.database} ({n_tracks} tracks) at http://{name}:{port}"
            f"{'' if request.token else ', read-only'}",
            file=sys.stderr,
            flush=True,
        )

    server.run(request, functools.partial(opened_service, prepare), ready=ready)
    return 0


def _check_engine(engine: engine_facts.Engine | None, workers: int) -> None:
    """Raises errors.Error for an engine that no waiting makes usable."""
    if engine is None:
        return
    engine_check.require_usable(engine)
    if engine.is_embedded and workers > 1:
        raise errors.Invalid(
            f"--workers={workers}: {engine.uri} is of milvus-lite, which one process at a time can use; "
            "leave --workers out, or start a Milvus server"
        )


def opened_service(prepare: Callable[[], None], request: settings.ServeSettings) -> service.Service:
    """Opens what a process of the server needs."""
    return service.Service(request, prepare=prepare)
