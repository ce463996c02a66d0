"""The three norms and two activations of the published systems, on [B,F,T,C] activations.

Statistics are float32 whatever the dtype of the activations; the result has that dtype again.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

NORMS = ("layer_norm2d", "layer_norm1d", "batch_norm")
ACTIVATIONS = ("elu", "relu")
_AXES = {"layer_norm2d": (1, 2, 3), "layer_norm1d": (3,), "batch_norm": (0, 1, 2)}
MOMENTUM = 0.99  # Of batch norm's running statistics: Keras' default.


def affine_shape(norm: str, shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Returns the shape of scale and bias for activations [F,T,C]: full-size for layer_norm2d."""
    return shape if norm == "layer_norm2d" else shape[2:]


def activate(x: jax.Array, activation: str) -> jax.Array:
    """Applies ELU or ReLU."""
    if activation == "relu":
        return jnp.maximum(x, 0)
    # exp(x) - 1, not expm1, which XLA's CPU code is slow at; they differ by less than 1e-7.
    return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0)) - 1)


def statistics(x: jax.Array, norm: str, *, axis_name: str | None = None) -> tuple[jax.Array, jax.Array]:
    """Computes mean and variance over the norm's axes, which are kept as 1. float32.

    axis_name: batch norm only; also averages over that mapped axis, so that the statistics are
    those of the global batch.
    """
    axes = _AXES[norm]
    x = x.astype(jnp.float32)
    mean, square = jnp.mean(x, axes, keepdims=True), jnp.mean(x * x, axes, keepdims=True)
    if norm == "batch_norm" and axis_name is not None:
        mean, square = jax.lax.pmean((mean, square), axis_name)
    return mean, jnp.maximum(square - mean * mean, 0)


def normalise(
    x: jax.Array,
    mean: jax.Array,
    variance: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    *,
    epsilon: float,
) -> jax.Array:
    """Shifts and scales x [B,F,T,C] to mean 0 and variance 1, then by the learnt scale and bias."""
    lead = (1,) * (x.ndim - scale.ndim)
    scale, bias = scale.reshape(lead + scale.shape), bias.reshape(lead + bias.shape)
    unit = (x.astype(jnp.float32) - mean) * jax.lax.rsqrt(variance + epsilon)
    return (unit * scale + bias).astype(x.dtype)
