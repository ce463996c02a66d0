"""Runs all layers on a CPU, in micro-batches whose activations stay in the cache. It serves the form "gemm".

Measured on 2 Zen 5 cores (full network, CPU time per segment of a training step):
- 16.0 ms by autodiff of the mapped layers. It multiplies with transposed operands, which XLA:CPU does at 60 to 80 % of
  the rate of plain ones, it turns padded slices into padded adds, and it computes the exponential of the activation
  again for its gradient.
- 13.5 ms with `by_hand`, three quarters of it in matrix products at the machine's full rate.
Saving the activations of a batch instead of computing them again gained nothing: writing them causes page faults, and
reading them misses the cache.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nafp.models import by_hand, layers

# (Number of layers, segments that go through them together). In the first two blocks, the activations of one segment
# are twice the size of the L2 cache. In the next two, four segments keep the matrix products large. The remaining
# layers take the whole batch, because their kernels are larger than their activations.
GROUPS = ((4, 1), (4, 4))
# x, parameters, and the activations that were kept, if any.
_Residuals = tuple[jax.Array, list[layers.Parameters], list[by_hand.LayerActivation] | None]


def stack(
    x: jax.Array,
    plan: Sequence[layers.Layer],
    parameters: Sequence[layers.Parameters],
    style: layers.Style,
    statistics: Sequence[layers.Statistics] | None = None,
    *,
    groups: Sequence[tuple[int, int]] = GROUPS,
) -> jax.Array:
    """Applies all layers to x [B,F,T,1]. Results and gradients equal those of `layers.stack`.

    statistics: one per layer, of norms that keep running ones. groups: pairs as GROUPS. A micro-batch is the largest
    common divisor of the batch and what its group allows.
    """
    first = 0
    for n_layers, largest in (*groups, (len(plan), x.shape[0])):
        part = slice(first, first + n_layers)
        first += n_layers
        if not plan[part]:
            break
        work = _Work(tuple(plan[part]), style, math.gcd(largest, x.shape[0]))
        if by_hand.covers(work.plan, style, x.dtype):
            x = _by_hand(work, x, list(parameters[part]))
        else:
            x = _by_autodiff(work, x, parameters[part], statistics and statistics[part])
    return x


class _Work(NamedTuple):
    """Layers, and the number of segments that go through them together."""

    plan: tuple[layers.Layer, ...]
    style: layers.Style
    micro_batch: int


def _by_autodiff(
    work: _Work,
    x: jax.Array,
    parameters: Sequence[layers.Parameters],
    statistics: Sequence[layers.Statistics] | None,
) -> jax.Array:
    def run(part: jax.Array) -> jax.Array:
        return layers.stack(part, work.plan, parameters, work.style, statistics)

    if work.micro_batch == x.shape[0]:
        return run(x)
    return _joined(jax.lax.map(jax.checkpoint(run), _split(x, work.micro_batch)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _by_hand(work: _Work, x: jax.Array, parameters: list[layers.Parameters]) -> jax.Array:
    return _forward(work, x, parameters)[0]


def _forward(work: _Work, x: jax.Array, parameters: list[layers.Parameters]) -> tuple[jax.Array, _Residuals]:
    """Keeps the activations if the whole batch goes through at once, and only x if micro-batches do."""
    if work.micro_batch == x.shape[0]:
        y, activations = by_hand.forward(x, work.plan, parameters, work.style)
        return y, (x, parameters, activations)

    def run(part: jax.Array) -> jax.Array:
        return by_hand.forward(part, work.plan, parameters, work.style)[0]

    return _joined(jax.lax.map(run, _split(x, work.micro_batch))), (x, parameters, None)


def _backward(work: _Work, residuals: _Residuals, dy: jax.Array) -> tuple[jax.Array, list[layers.Parameters]]:
    x, parameters, activations = residuals
    plan, style = work.plan, work.style

    def step(
        total: list[by_hand.Gradients], part: tuple[jax.Array, jax.Array]
    ) -> tuple[list[by_hand.Gradients], jax.Array]:
        x, dy = part
        _, activations = by_hand.forward(x, plan, parameters, style)
        dx, gradients = by_hand.backward(dy, x, activations, plan, parameters, style)
        return jax.tree.map(jnp.add, total, gradients), dx

    if activations is not None:
        dx, gradients = by_hand.backward(dy, x, activations, plan, parameters, style)
    else:
        parts = _split(x, work.micro_batch), _split(dy, work.micro_batch)
        gradients, dx = jax.lax.scan(step, by_hand.zeros(plan, parameters), parts)
        dx = _joined(dx)
    return dx, [by_hand.finished(g, p) for g, p in zip(gradients, parameters)]


_by_hand.defvjp(_forward, _backward)


def _split(x: jax.Array, micro_batch: int) -> jax.Array:
    return x.reshape(-1, micro_batch, *x.shape[1:])


def _joined(x: jax.Array) -> jax.Array:
    return x.reshape(-1, *x.shape[2:])
