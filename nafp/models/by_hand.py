"""The backward pass of convolution, activation and whole-segment norm, written by hand for CPU.

For layers of the original's order (activation before a layer_norm2d), in float32. Everything the
backward pass needs follows from the activations a, their mean m and rate r = 1/deviation:
y = (a - m) r scale + bias, with u = (a - m) r and t = dy scale,
da = r (t - mean(t) - u mean(t u)), and ELU's slope at its output a is min(a + 1, 1).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nafp.models import convolution, layers, norms

Gradients = dict[str, jax.Array]  # As layers.Parameters, the kernel's flat and transposed: [D, taps*C].


class Kept(NamedTuple):
    """What a layer's backward pass needs: the activation [B,F,T,C], its mean and rate [B,1,1,1]."""

    a: jax.Array
    mean: jax.Array
    rate: jax.Array


def covers(plan: Sequence[layers.Layer], style: layers.Style, dtype: jnp.dtype) -> bool:
    """Says whether these layers are of the kind below; others take autodiff."""
    return (
        style.norm == "layer_norm2d"
        and style.activation_order == "before_norm"
        and not any(layer.depthwise for layer in plan)
        and dtype == jnp.float32
    )


def forward(
    x: jax.Array,
    plan: Sequence[layers.Layer],
    parameters: Sequence[layers.Parameters],
    style: layers.Style,
) -> tuple[jax.Array, list[Kept]]:
    """Applies the layers to x [B,F,T,C]; also returns what the backward pass needs of each."""
    kept = []
    for layer, p in zip(plan, parameters):
        a = layers.pre_norm(x, layer, p, style)
        mean, variance = norms.statistics(a, style.norm)
        kept.append(Kept(a, mean, jax.lax.rsqrt(variance + style.epsilon)))
        x = _normalised(kept[-1], p)
    return x, kept


def backward(
    dy: jax.Array,
    x: jax.Array,
    kept: Sequence[Kept],
    plan: Sequence[layers.Layer],
    parameters: Sequence[layers.Parameters],
    style: layers.Style,
) -> tuple[jax.Array, list[Gradients]]:
    """Pulls dy [B,F,T,C] of the layers' output back to their input x and their parameters."""
    gradients = []
    for i in reversed(range(len(plan))):
        layer, p = plan[i], parameters[i]
        below = _normalised(kept[i - 1], parameters[i - 1]) if i else x
        dz, of_norm = _through_norm(dy, kept[i], p, style)
        dy, of_convolution = _through_convolution(dz, below, layer, p)
        gradients.append({**of_norm, **of_convolution})
    return dy, gradients[::-1]


def finished(gradients: Gradients, p: layers.Parameters) -> layers.Parameters:
    """Brings the kernel's gradient into the kernel's shape; outer taps that met padding get 0."""
    kernel = jax.lax.optimization_barrier(gradients["kernel"]).T  # [taps * C, D]
    missing = p["kernel"].size // kernel.shape[1] - kernel.shape[0]
    kernel = jnp.pad(kernel, ((missing // 2, missing // 2), (0, 0)))
    return {**gradients, "kernel": kernel.reshape(p["kernel"].shape)}


def zeros(plan: Sequence[layers.Layer], parameters: Sequence[layers.Parameters]) -> list[Gradients]:
    """Returns gradients of nothing, to add to."""
    totals = []
    for layer, p in zip(plan, parameters):
        n_seen, n_outputs = convolution.matrix(p["kernel"], layer.n_positions).shape
        kernel = jnp.zeros((n_outputs, n_seen), jnp.float32)
        totals.append({**jax.tree.map(jnp.zeros_like, p), "kernel": kernel})
    return totals


def _normalised(kept: Kept, p: layers.Parameters) -> jax.Array:
    unit = (kept.a - kept.mean) * kept.rate
    return unit * p["norm_scale"][None] + p["norm_bias"][None]


def _through_norm(dy: jax.Array, kept: Kept, p: layers.Parameters, style: layers.Style) -> tuple[jax.Array, Gradients]:
    """Pulls dy back through norm and activation, to the convolution's output."""
    a, mean, rate = kept
    gradients = {
        "norm_scale": _over_segments(dy * ((a - mean) * rate)),
        "norm_bias": _over_segments(dy),
    }
    t = dy * p["norm_scale"][None]
    n = a[0].size
    t_mean = _inner(t, jnp.ones_like(t)) / n
    tu_mean = (_inner(t, a) / n - mean * t_mean) * rate
    da = rate * (t - t_mean - (a - mean) * rate * tu_mean)
    slope = (a > 0).astype(a.dtype) if style.activation == "relu" else jnp.minimum(a + 1, 1)
    return da * slope, gradients


def _through_convolution(
    dz: jax.Array, x: jax.Array, layer: layers.Layer, p: layers.Parameters
) -> tuple[jax.Array, Gradients]:
    """Pulls dz [B,F',T',D] back to the convolution's input x and to kernel and bias."""
    rows = dz.reshape(-1, dz.shape[3])  # [M,D]
    seen = convolution.columns(x, layer.axis, layer.stride)
    gradients = {
        "kernel": _transposed_product(rows, seen.reshape(rows.shape[0], -1)),
        "bias": jnp.sum(rows, axis=0),
    }
    taps = convolution.matrix(p["kernel"], layer.n_positions)
    of_seen = (rows @ taps.T).reshape(seen.shape)
    return convolution.uncolumns(of_seen, layer.n_positions, layer.axis, layer.stride), gradients


def _transposed_product(rows: jax.Array, seen: jax.Array) -> jax.Array:
    """Returns rows.T @ seen, [D, K], for rows [M,D] and seen [M,K].

    XLA:CPU would fold the transposition into the product and run it at 60 to 80 % of the rate of a
    plain one. The barrier keeps it apart: a copy of the smaller operand is cheap.
    """
    if rows.shape[1] <= seen.shape[1]:
        return jax.lax.optimization_barrier(rows.T) @ seen
    return jax.lax.optimization_barrier(jax.lax.optimization_barrier(seen.T) @ rows).T


def _inner(x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns each segment's inner product of x and y [B,F,T,C], as a product: [B,1,1,1]."""
    flat = (x.shape[0], -1)
    return jnp.einsum("bi,bi->b", x.reshape(flat), y.reshape(flat)).reshape(-1, 1, 1, 1)


def _over_segments(x: jax.Array) -> jax.Array:
    """Adds up x [B,F,T,C] over B; XLA:CPU's reduction over few rows is slower than the layers."""
    if x.shape[0] > 8:
        return jnp.sum(x, axis=0)
    return functools.reduce(jnp.add, [x[i] for i in range(x.shape[0])])
