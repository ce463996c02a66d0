"""What a compiled part of training has to do, and how near it comes to what the hardware allows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Ceilings(NamedTuple):
    """What the hardware gives: operations a second of a large matrix product, and bytes a second of a copy."""

    flop_per_s: float
    byte_per_s: float


class Part(NamedTuple):
    """One part of a step. seconds: its median time.

    flop: operations as XLA counts them before it compiles, on any backend in the same way; 0 if it does not say.
    bytes: read and written by the compiled program, as the backend estimates them. least_bytes: of its arguments and
    results, which no program can avoid, or of its results twice if it picks them out of more.
    """

    name: str
    seconds: float
    flop: float
    bytes: float
    least_bytes: float

    def bound_s(self, ceilings: Ceilings) -> float:
        """Returns the seconds that the hardware needs at least: the roofline of operations and unavoidable bytes."""
        return max(self.flop / ceilings.flop_per_s, self.least_bytes / ceilings.byte_per_s)

    def bound_by(self, ceilings: Ceilings) -> str:
        """Returns which of the two binds."""
        computes = self.flop / ceilings.flop_per_s > self.least_bytes / ceilings.byte_per_s
        return "operations" if computes else "bytes"

    def told(self, ceilings: Ceilings, n_segments: int) -> dict[str, Any]:
        """Returns all that is known of it, for a table."""
        return {
            "seconds": self.seconds,
            "segments_per_s": n_segments / self.seconds,
            "flop": self.flop,
            "bytes": self.bytes,
            "least_bytes": self.least_bytes,
            "flop_per_s": self.flop / self.seconds,
            "byte_per_s": self.bytes / self.seconds,
            "bound_by": self.bound_by(ceilings),
            "share_of_roofline": self.bound_s(ceilings) / self.seconds,
        }


def measured(
    name: str, work: Callable[..., Any], *arguments: Any, axis: str, repeats: int, picks: bool = False
) -> Part:
    """Compiles `work` for one device, with a mapped axis of size 1 around it, and times it.

    arguments: as `work` takes them. picks: whether it reads no more of them than it returns.
    """
    device = jax.local_devices()[:1]
    program = jax.pmap(work, axis_name=axis, devices=device)
    given = jax.device_put(jax.tree.map(lambda x: jnp.asarray(x)[None], arguments), device[0])
    lowered = program.lower(*given)
    compiled = lowered.compile()
    seconds = median_s(lambda: jax.block_until_ready(compiled(*given)), repeats)
    results = jax.tree.leaves(jax.eval_shape(program, *given))
    read = results if picks else jax.tree.leaves(given)
    least = sum(x.size * x.dtype.itemsize for x in (*read, *results))
    flop = _cost(lowered, "flops") or _cost(compiled, "flops")
    return Part(name, seconds, flop, _cost(compiled, "bytes accessed"), float(least))


def median_s(work: Callable[[], object], repeats: int) -> float:
    """Returns the median of the seconds that `work` takes, after two runs to warm up. It must wait for its result."""
    return statistics.median(times_s(work, repeats))


def times_s(work: Callable[[], object], repeats: int) -> list[float]:
    """Returns the seconds that `work` takes each time, after two runs to warm up. It must wait for its result."""
    work(), work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times


def ceilings(dtype: Any, *, n: int, n_bytes: int, repeats: int) -> Ceilings:
    """Measures a product of n x n random numbers of a type, and a copy that reads and writes n_bytes each.

    The best of the repeats counts.
    """
    a, b = (jax.random.normal(jax.random.key(i), (n, n)).astype(dtype) for i in (0, 1))
    product = jax.jit(lambda a, b: a @ b)
    flop_per_s = 2 * n**3 / min(times_s(lambda: product(a, b).block_until_ready(), repeats))
    held = [jax.random.normal(jax.random.key(0), (n_bytes // 4,))]
    add = jax.jit(lambda x: x + 1, donate_argnums=0)  # In place: fresh memory costs a CPU more than the copy.

    def copy() -> None:
        held[0] = add(held[0])
        held[0].block_until_ready()

    return Ceilings(flop_per_s, 2 * n_bytes / min(times_s(copy, repeats)))


def _cost(program: Any, what: str) -> float:
    """Returns an entry of a program's cost analysis, 0 where the backend has none."""
    try:
        costs = program.cost_analysis() or {}
    except NotImplementedError:
        return 0.0
    value = (costs[0] if isinstance(costs, list) else costs).get(what, 0.0)
    return float(value) if np.isfinite(value) and value > 0 else 0.0
