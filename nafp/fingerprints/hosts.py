"""Lets several processes that do one job go on together, or fail together."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import jax

# JAX has no public interface to its coordination service. The public barrier, sync_global_devices, is a collective: on
# CPU it gives up when one process comes 30 seconds later than another, and shares of audio differ by more.
from jax._src import distributed

from nafp import errors

_LONGEST_MS = 30 * 24 * 3600 * 1000  # A process that dies ends the wait; one that works does not.
_MOST_CHARACTERS = 2000
_number = itertools.count()


@contextlib.contextmanager
def together(what: str) -> Iterator[None]:
    """Runs the block in every process, and leaves it when all processes are through.

    what: names the block in messages. Every process must enter the same blocks in the same order. Raises the error of
    the block, or errors.OtherProcessFailed if the block succeeded here and failed in another process.
    """
    key = f"nafp/{next(_number)}/{what}"
    try:
        yield
    except Exception as error:  # The others wait for this process, and must hear of it.
        _meet(key, str(error) or type(error).__name__)
        raise
    failed = _meet(key, "")
    if failed:
        raise errors.OtherProcessFailed(f"{what}: {'; '.join(failed)}")


def _meet(key: str, failure: str) -> list[str]:
    """Waits for all processes. Returns a line for each that failed.

    failure: the error of this process in words, "" if it succeeded.
    """
    client = distributed.global_state.client
    if client is None:
        return []
    client.key_value_set(f"{key}/{jax.process_index()}", failure[:_MOST_CHARACTERS])
    client.wait_at_barrier(key, _LONGEST_MS)
    failures = [client.key_value_try_get(f"{key}/{i}") for i in range(jax.process_count())]
    return [f"process {i} failed: {text}" for i, text in enumerate(failures) if text]
