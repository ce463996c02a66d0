"""The backward pass of convolution, activation and whole-segment norm, written by hand for CPU.

It covers layers with a layer_norm2d, in float32. The backward pass follows from the norm's input a, its mean m and rate
r = 1 / standard deviation. The norm is y = u scale + bias with u = (a - m) r. With t = dy scale, the gradient is
da = r (t - mean(t) - u mean(t u)). The activation comes before the norm (the original) or after it (pfann). The slope
of ELU is min(e + 1, 1) at its output e.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nafp.models import convolution, layers, norms

Gradients = dict[str, jax.Array]  # As layers.Parameters, but that of the kernel is flat and transposed: [D, taps*C].


class LayerActivation(NamedTuple):
    """The input of a layer's norm: a [B,F,T,C], and its mean and rate [B,1,1,1] by segment."""

    a: jax.Array
    mean: jax.Array
    rate: jax.Array


def covers(plan: Sequence[layers.Layer], style: layers.Style, dtype: jnp.dtype) -> bool:
    """Returns whether this module computes the gradients of these layers. For others, JAX's autodiff does."""
    return style.norm == "layer_norm2d" and not any(layer.depthwise for layer in plan) and dtype == jnp.float32


def forward(
    x: jax.Array,
    plan: Sequence[layers.Layer],
    parameters: Sequence[layers.Parameters],
    style: layers.Style,
) -> tuple[jax.Array, list[LayerActivation]]:
    """Applies the layers to x [B,F,T,C]. Returns the result, and the activations that `backward` takes."""
    activations: list[LayerActivation] = []
    for layer, p in zip(plan, parameters):
        a = layers.pre_norm(x, layer, p, style)
        mean, variance = norms.statistics(a, style.norm)
        activations.append(LayerActivation(a, mean, jax.lax.rsqrt(variance + style.epsilon)))
        x = _output(activations[-1], p, style)
    return x, activations


def backward(
    dy: jax.Array,
    x: jax.Array,
    activations: Sequence[LayerActivation],
    plan: Sequence[layers.Layer],
    parameters: Sequence[layers.Parameters],
    style: layers.Style,
) -> tuple[jax.Array, list[Gradients]]:
    """Computes the gradients of the layers' input x and of their parameters from dy, that of their output.

    activations: those that `forward` returned for x.
    """
    gradients: list[Gradients] = []
    for i in reversed(range(len(plan))):
        layer, p = plan[i], parameters[i]
        below = _output(activations[i - 1], parameters[i - 1], style) if i else x
        if style.activation_order == "after_norm":
            dy = dy * _slope(_output(activations[i], p, style), style)
        dz, of_norm = _through_norm(dy, activations[i], p)
        if style.activation_order == "before_norm":
            dz = dz * _slope(activations[i].a, style)
        dy, of_convolution = _through_convolution(dz, below, layer, p, style.padding)
        gradients.append({**of_norm, **of_convolution})
    return dy, gradients[::-1]


def finished(gradients: Gradients, p: layers.Parameters) -> layers.Parameters:
    """Reshapes the gradient of the kernel to the kernel's shape. Outer taps that met only padding get 0."""
    kernel = jax.lax.optimization_barrier(gradients["kernel"]).T  # [taps * C, D]
    missing = p["kernel"].size // kernel.shape[1] - kernel.shape[0]
    kernel = jnp.pad(kernel, ((missing // 2, missing // 2), (0, 0)))
    return {**gradients, "kernel": kernel.reshape(p["kernel"].shape)}


def zeros(plan: Sequence[layers.Layer], parameters: Sequence[layers.Parameters]) -> list[Gradients]:
    """Returns gradients of zeros, which others are added to."""
    totals = []
    for layer, p in zip(plan, parameters):
        n_seen, n_outputs = convolution.matrix(p["kernel"], layer.n_positions).shape
        kernel = jnp.zeros((n_outputs, n_seen), jnp.float32)
        totals.append({**jax.tree.map(jnp.zeros_like, p), "kernel": kernel})
    return totals


def _output(activation: LayerActivation, p: layers.Parameters, style: layers.Style) -> jax.Array:
    unit = (activation.a - activation.mean) * activation.rate
    y = unit * p["norm_scale"][None] + p["norm_bias"][None]
    return norms.activate(y, style.activation) if style.activation_order == "after_norm" else y


def _slope(output: jax.Array, style: layers.Style) -> jax.Array:
    """Returns the slope of the activation where it has this output."""
    return (output > 0).astype(output.dtype) if style.activation == "relu" else jnp.minimum(output + 1, 1)


def _through_norm(dy: jax.Array, activation: LayerActivation, p: layers.Parameters) -> tuple[jax.Array, Gradients]:
    """Computes the gradients of the norm's input and of its parameters."""
    a, mean, rate = activation
    gradients = {
        "norm_scale": _over_segments(dy * ((a - mean) * rate)),
        "norm_bias": _over_segments(dy),
    }
    t = dy * p["norm_scale"][None]
    n = a[0].size
    t_mean = _inner(t, jnp.ones_like(t)) / n
    tu_mean = (_inner(t, a) / n - mean * t_mean) * rate
    return rate * (t - t_mean - (a - mean) * rate * tu_mean), gradients


def _through_convolution(
    dz: jax.Array, x: jax.Array, layer: layers.Layer, p: layers.Parameters, padding: str
) -> tuple[jax.Array, Gradients]:
    """Computes the gradients of the convolution's input x and of its parameters from dz [B,F',T',D]."""
    rows = dz.reshape(-1, dz.shape[3])  # [M,D]
    seen = convolution.columns(x, layer.axis, layer.stride, padding)
    gradients = {
        "kernel": _transposed_product(rows, seen.reshape(rows.shape[0], -1)),
        "bias": jnp.sum(rows, axis=0),
    }
    taps = convolution.matrix(p["kernel"], layer.n_positions)
    of_seen = (rows @ taps.T).reshape(seen.shape)
    return convolution.uncolumns(of_seen, layer.n_positions, layer.axis, layer.stride, padding), gradients


def _transposed_product(rows: jax.Array, seen: jax.Array) -> jax.Array:
    """Returns rows.T @ seen, [D, K], for rows [M,D] and seen [M,K].

    XLA:CPU would fold the transposition into the product and run it at 60 to 80 % of the rate of a plain one. The
    barrier prevents that. The smaller operand is the one that is copied, which is cheap.
    """
    if rows.shape[1] <= seen.shape[1]:
        return jax.lax.optimization_barrier(rows.T) @ seen
    return jax.lax.optimization_barrier(jax.lax.optimization_barrier(seen.T) @ rows).T


def _inner(x: jax.Array, y: jax.Array) -> jax.Array:
    """Computes the inner product of x and y [B,F,T,C] for each segment, as a matrix product: [B,1,1,1]."""
    flat = (x.shape[0], -1)
    return jnp.einsum("bi,bi->b", x.reshape(flat), y.reshape(flat)).reshape(-1, 1, 1, 1)


def _over_segments(x: jax.Array) -> jax.Array:
    """Sums x [B,F,T,C] over B. For few segments, XLA:CPU's own reduction would take longer than the layers do."""
    if x.shape[0] > 8:
        return jnp.sum(x, axis=0)
    return functools.reduce(jnp.add, [x[i] for i in range(x.shape[0])])
