"""Steps that are given to the devices before the last ones are done, so that the devices never wait for the host."""

from __future__ import annotations

import collections
from collections.abc import Iterator

import jax

from nafp import errors
from nafp.training import agreement

_ON_ACCELERATORS = 4  # Steps. The host then has three steps' time to read a batch or to write a line.


def most(asked: int) -> int:
    """Returns how many steps may be under way at once. asked: config.train.steps_in_flight, 0 to choose it.

    Raises errors.Invalid for several steps on several devices of one CPU, which would wait for each other for ever.
    """
    on_cpu = jax.default_backend() == "cpu"
    if asked > 1 and on_cpu and jax.device_count() > 1:
        raise errors.Invalid(
            f"config.train.steps_in_flight={asked} on {jax.device_count()} CPU devices: these wait for each other for "
            "ever; use 1, or one device with --config.train.cpu_shares=1"
        )
    return asked or (1 if on_cpu else _ON_ACCELERATORS)


class InFlight:
    """The scores of steps under way, oldest first. most: how many steps there may be at once."""

    def __init__(self, most: int):
        self._most = most
        self._steps: collections.deque[tuple[int, dict[str, jax.Array]]] = collections.deque()

    def add(self, number: int, scores: dict[str, jax.Array]) -> None:
        """Takes the scores of a step, which may not be computed yet, and begins to copy them to the host."""
        for x in scores.values():
            x.addressable_shards[0].data.copy_to_host_async()
        self._steps.append((number, scores))

    def landed(self, *, all_of_them: bool) -> Iterator[agreement.Outcome]:
        """Yields the steps that must be waited for before another may begin: the oldest, or all of them."""
        while self._steps and (all_of_them or len(self._steps) >= self._most):
            yield agreement.outcome(*self._steps.popleft())
