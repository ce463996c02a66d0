"""Lets several processes that do one job go on together, or fail together."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

# JAX has no public interface to its coordination service. The public barrier, sync_global_devices, is a collective: on
# CPU it gives up when one process comes 30 seconds later than another, and shares of audio differ by more.
from jax._src import distributed

from nafp import errors
from nafp.jobs import endings, shown

_LONGEST_MS = 30 * 24 * 3600 * 1000  # A process that dies ends the wait; one that works does not.
_MOST_CHARACTERS = 2000
_POLL_S = 1.0  # How often a process asks whether another one failed.
_LEAVING_S = 15.0  # How long a process that failed waits until the others have heard of it.
_LOST_S = 3.0  # How long an error of a collective waits for the reason that another process may have.
_LAST_S = 1.0  # How much longer the first process is there, whose end JAX answers by aborting all that are left.
# What collectives of CPUs (Gloo), GPUs (NCCL) and the coordination service say when another process is gone. An error
# of this process itself, such as a lack of memory, is none of these.
_LOST = ("gloo", "nccl", "connection", "unavailable", "deadline", "heartbeat", "aborted", "peer")
_number = itertools.count()
_AGREED = "_nafp_agreed"  # An attribute of errors that every process raises at the same place.


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
        agreed(error)
        raise
    failed = [f"process {i} failed: {text}" for i, text in enumerate(_meet(key, "")) if text]
    if failed:
        raise agreed(errors.OtherProcessFailed(f"{what}: {'; '.join(failed)}"))


def require_same(what: str, facts: Mapping[str, Any]) -> None:
    """Compares facts that must be the same in every process, such as settings and files, by their names.

    Raises errors.Invalid in every process, naming the facts that differ and what each process has.
    """
    told = [json.loads(text) for text in _meet(f"nafp/{next(_number)}/{what}", json.dumps(dict(facts)))]
    differing = [name for name in facts if any(other.get(name) != told[0].get(name) for other in told)]
    if differing:
        lines = [
            f"{name} is {', '.join(f'{its.get(name)} in process {i}' for i, its in enumerate(told))}"
            for name in differing
        ]
        raise agreed(errors.Invalid(f"{what} must be the same in every process: {'; '.join(lines)}"))


def from_first(make: Callable[[], Any]) -> Any:
    """Returns in every process what `make` returns in process 0, where alone it is called. It must fit into JSON.

    The others wait for as long as it takes.
    """
    client, key = distributed.global_state.client, f"nafp/{next(_number)}/from first"
    if client is None:
        return make()
    if jax.process_index() == 0:
        client.key_value_set(key, json.dumps(make()))
    return json.loads(client.blocking_key_value_get(key, _LONGEST_MS))


@contextlib.contextmanager
def ended_together() -> Iterator[None]:
    """Runs a block of collectives, of which nobody can be left out: a process that fails ends the others at once.

    They say which one failed and why, and exit with 2. Where another process is gone without a word, this one raises
    errors.StartAgain as soon as a collective says so. After such an error nothing may wait for the others, as closing
    checkpoints and JAX's own end do: see `is_agreed` and `endings.leave`.
    """
    client = distributed.global_state.client
    if client is None:
        yield
        return
    over, mine = threading.Event(), jax.process_index()
    listening = threading.Thread(target=_listen, args=(client, mine, over), daemon=True, name="nafp hosts")
    listening.start()
    try:
        yield
    except BaseException as error:
        if is_agreed(error):  # All processes end in good order.
            raise
        if _is_loss(error):
            time.sleep(_LOST_S)  # If another process failed and said so, the thread ends this one.
            over.set()
            _let_others_go_first(mine)
            endings.wait_for_nobody()
            raise errors.StartAgain(f"another process of this job is gone: {_first_line(error)}") from error
        over.set()
        _tell(client, error)
        _let_others_go_first(mine)
        endings.wait_for_nobody(last=lambda: client.key_value_set(_LEFT, "1"))
        raise
    finally:
        over.set()
        listening.join(_LEAVING_S)


def agreed(error: Exception) -> Exception:
    """Notes that every process raises an error at the same place, and returns it."""
    setattr(error, _AGREED, True)
    return error


def is_agreed(error: BaseException | None) -> bool:
    """Returns whether all processes end for the same reason, or there is one alone, so that they can end in order."""
    return error is None or hasattr(error, _AGREED) or distributed.global_state.client is None


def _meet(key: str, text: str) -> list[str]:
    """Waits for all processes, each with a text. Returns the texts in the order of the processes."""
    client = distributed.global_state.client
    if client is None:
        return [text]
    client.key_value_set(f"{key}/{jax.process_index()}", text[:_MOST_CHARACTERS])
    client.wait_at_barrier(key, _LONGEST_MS)
    return [client.key_value_try_get(f"{key}/{i}") for i in range(jax.process_count())]


_FAILED, _HEARD, _LEFT = "nafp/failed", "nafp/heard", "nafp/left"


def _tell(client: Any, error: BaseException) -> None:
    """Lets the others know why this process fails, and waits until they have heard it."""
    text = f"process {jax.process_index()} failed: {_first_line(error)}"
    with contextlib.suppress(Exception):  # Another one failed first, or the first process is gone.
        client.key_value_set(_FAILED, text[:_MOST_CHARACTERS])
        others = [f"{_HEARD}/{i}" for i in range(jax.process_count()) if i != jax.process_index()]
        _wait_until(lambda: all(_read(client, key) for key in others))


def _listen(client: Any, mine: int, over: threading.Event) -> None:
    """Ends this process when another one fails. A collective that waits for it cannot be interrupted otherwise."""
    while not over.wait(_POLL_S):
        failed = _read(client, _FAILED)
        if failed and not over.is_set():
            with contextlib.suppress(Exception):
                client.key_value_set(f"{_HEARD}/{mine}", "1")
            print(shown.plain(failed), file=sys.stderr)
            if mine == 0:
                _wait_until(lambda: bool(_read(client, _LEFT)))
            _let_others_go_first(mine)
            endings.at_once(errors.OtherProcessFailed.code)


def _wait_until(is_so: Callable[[], bool]) -> None:
    """Waits until something is so, but no longer than the others wait for a process that failed."""
    until = time.monotonic() + _LEAVING_S
    while time.monotonic() < until and not is_so():
        time.sleep(_POLL_S / 4)


def _let_others_go_first(mine: int) -> None:
    """Keeps the first process, through which all talk, until the others have had time to end with their own codes."""
    if mine == 0:
        time.sleep(_LAST_S)


def _read(client: Any, key: str) -> str:
    """Returns the text of a key, "" if there is none, or nobody to ask."""
    try:
        return client.key_value_try_get(key)
    except Exception:
        return ""


def _is_loss(error: BaseException) -> bool:
    """Returns whether an error says that another process is gone."""
    return isinstance(error, jax.errors.JaxRuntimeError) and any(word in str(error).lower() for word in _LOST)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
