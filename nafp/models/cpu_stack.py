"""All layers on CPU, in micro-batches that stay in the cache: the "gemm" form's order of work.

Measured on 2 Zen 5 cores (full network, CPU time per segment of a training step):
- autodiff of the mapped layers, 16.0 ms: products with a transposed operand, which XLA:CPU runs at
  60 to 80 % of the rate of plain ones; padded slices that scatter back as padded adds; the
  exponential of the activation evaluated again for its gradient;
- `by_hand`, 13.5 ms, three quarters of it in matrix products at the machine's rate.
Saving the activations of a batch instead of computing them again gained nothing: writing them means
page faults, and reading them misses the cache.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from nafp.models import by_hand, layers

# (Layers, segments that go through them together). One segment's activations in the first two
# blocks are twice the L2 cache already; further on, four keep the matrix products large. The rest
# takes the whole batch: its kernels outweigh its activations.
GROUPS = ((4, 1), (4, 4))


def stack(
    x: jax.Array,
    plan: Sequence[layers.Layer],
    parameters: Sequence[layers.Parameters],
    style: layers.Style,
    statistics: Sequence[layers.Statistics] | None = None,
    *,
    groups: Sequence[tuple[int, int]] = GROUPS,
) -> jax.Array:
    """Applies all layers to x [B,F,T,1]; equals `layers.stack`, and so do its gradients.

    statistics: of running norms, per layer. Any batch size: a micro-batch is the largest divisor of
    it that its group allows.
    """
    first = 0
    for n_layers, largest in (*groups, (len(plan), x.shape[0])):
        part = slice(first, first + n_layers)
        first += n_layers
        if not plan[part]:
            break
        known = statistics and list(statistics[part])
        work = (tuple(plan[part]), style, math.gcd(largest, x.shape[0]))
        if by_hand.covers(plan[part], style, x.dtype):
            x = _by_hand(*work, x, list(parameters[part]))
        else:
            x = _by_autodiff(*work, x, list(parameters[part]), known)
    return x


def _by_autodiff(plan, style, micro_batch, x, parameters, statistics):
    def run(part: jax.Array) -> jax.Array:
        return layers.stack(part, plan, parameters, style, statistics)

    if micro_batch == x.shape[0]:
        return run(x)
    return _joined(jax.lax.map(jax.checkpoint(run), _split(x, micro_batch)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _by_hand(plan, style, micro_batch, x, parameters):
    return _forward(plan, style, micro_batch, x, parameters)[0]


def _forward(plan, style, micro_batch, x, parameters):
    """Keeps the activations of a whole batch, but of micro-batches only what goes in."""
    if micro_batch == x.shape[0]:
        y, kept = by_hand.forward(x, plan, parameters, style)
        return y, (x, parameters, kept)

    def run(part: jax.Array) -> jax.Array:
        return by_hand.forward(part, plan, parameters, style)[0]

    return _joined(jax.lax.map(run, _split(x, micro_batch))), (x, parameters, None)


def _backward(plan, style, micro_batch, residuals, dy):
    x, parameters, kept = residuals

    def pull(x, dy, kept):
        return by_hand.backward(dy, x, kept, plan, parameters, style)

    def step(total, part):
        x, dy = part
        _, kept = by_hand.forward(x, plan, parameters, style)
        dx, gradients = pull(x, dy, kept)
        return jax.tree.map(jnp.add, total, gradients), dx

    if kept is not None:
        dx, gradients = pull(x, dy, kept)
    else:
        parts = _split(x, micro_batch), _split(dy, micro_batch)
        gradients, dx = jax.lax.scan(step, by_hand.zeros(plan, parameters), parts)
        dx = _joined(dx)
    return dx, [by_hand.finished(g, p) for g, p in zip(gradients, parameters)]


_by_hand.defvjp(_forward, _backward)


def _split(x: jax.Array, micro_batch: int) -> jax.Array:
    return x.reshape(-1, micro_batch, *x.shape[1:])


def _joined(x: jax.Array) -> jax.Array:
    return x.reshape(-1, *x.shape[2:])
