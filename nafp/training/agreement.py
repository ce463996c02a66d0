"""What the hosts of a run agree on after each step: whether it ends, and why.

Every host puts a vote into the step, and the step sums them. So all hosts know the same of the same step, without a
message of its own. Nothing else that one host alone sees, such as its clock or a signal, may decide what a run does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nafp.fingerprints import hosts
from nafp.training import pipeline, step

Stepped = Callable[[step.State, pipeline.Batch, step.Banks, np.ndarray], tuple[step.State, dict[str, jax.Array]]]


class Votes(NamedTuple):
    """What at least one host says: it was told to end by a scheduler, or by a person, or the time is over."""

    terminated: bool = False
    interrupted: bool = False
    late: bool = False


class Outcome(NamedTuple):
    """What a step gave, the same on every host. finite: whether loss and gradients are numbers on every device."""

    number: int
    scores: dict[str, float]
    votes: Votes
    finite: bool


_VOTES, _UNFINITE = "votes", "not_finite"


def mapped(recipe: step.Recipe) -> Stepped:
    """Maps the step over the devices of all processes, with the votes of the hosts: int32 [devices, votes]."""

    def stepped(
        state: step.State, batch: step.Batch, banks: step.Banks, votes: jax.Array
    ) -> tuple[step.State, dict[str, jax.Array]]:
        state, scores = step.train_step(recipe, state, batch, banks)
        finite = jnp.isfinite(scores["loss"]) & jnp.isfinite(scores["grad_norm"])
        return state, {**scores, **counted(votes, finite)}

    return begun_together(jax.pmap(stepped, axis_name=step.AXIS, donate_argnums=0))


def begun_together(program: Any) -> Callable[..., Any]:
    """Returns a mapped program that no host begins before all have compiled it.

    Collectives of CPUs give up when one host comes 30 seconds later than another, and compiling on a busy host takes
    longer than on an idle one.
    """
    if jax.process_count() == 1:
        return program
    compiled: list[Any] = []

    def begun(*arguments: Any) -> Any:
        if not compiled:
            with hosts.together("compiling the step"):
                compiled.append(program.lower(*arguments).compile())  # Which JAX calls below, with several hosts.
        return program(*arguments)

    return begun


def counted(votes: jax.Array, finite: jax.Array) -> dict[str, jax.Array]:
    """Sums the votes of a device, and whether its numbers are none, over the devices of all hosts."""
    return {_VOTES: jax.lax.psum(votes, step.AXIS), _UNFINITE: jax.lax.psum((~finite).astype(jnp.int32), step.AXIS)}


def ballots(votes: Votes) -> np.ndarray:
    """Returns this host's votes for each of its devices: int32 [devices, votes]."""
    return np.tile(np.array(votes, np.int32), (jax.local_device_count(), 1))


def outcome(number: int, scores: dict[str, jax.Array]) -> Outcome:
    """Waits for the step `number` and returns what came of it."""
    local = {name: np.asarray(x.addressable_shards[0].data)[0] for name, x in scores.items()}
    votes, unfinite = local.pop(_VOTES), local.pop(_UNFINITE)
    numbers = {name: float(x) for name, x in local.items()}
    return Outcome(number, numbers, Votes(*(bool(vote) for vote in votes)), not unfinite)
