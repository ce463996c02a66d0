"""Several processes that do one job: go on together, or fail together."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import jax

# The coordination service has no public door. The public barrier, sync_global_devices, is a collective: on CPU it
# gives up when one process comes 30 seconds later than another, and shares of audio differ by more.
from jax._src import distributed

from nafp import errors

_LONGEST_MS = 30 * 24 * 3600 * 1000  # A process that dies ends the wait; one that works does not.
_MOST_CHARACTERS = 2000
_number = itertools.count()


@contextlib.contextmanager
def together(what: str) -> Iterator[None]:
    """Runs the block in every process and goes on when all are through it.

    Raises what the block raises; OtherFailed where it went well but went wrong in another process.
    Every process must enter the same blocks in the same order.
    """
    key = f"nafp/{next(_number)}/{what}"
    try:
        yield
    except Exception as error:  # The others wait: they must hear of it.
        _meet(key, str(error) or type(error).__name__)
        raise
    failed = _meet(key, "")
    if failed:
        raise errors.OtherProcessFailed(f"{what}: {'; '.join(failed)}")


def _meet(key: str, trouble: str) -> list[str]:
    """Waits for all; returns who is in trouble."""
    client = distributed.global_state.client
    if client is None:
        return []
    client.key_value_set(f"{key}/{jax.process_index()}", trouble[:_MOST_CHARACTERS])
    client.wait_at_barrier(key, _LONGEST_MS)
    said = [client.key_value_try_get(f"{key}/{i}") for i in range(jax.process_count())]
    return [f"process {i} failed: {text}" for i, text in enumerate(said) if text]
