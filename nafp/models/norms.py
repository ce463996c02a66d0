"""The three norms and two activations of the published systems, for activations [B,F,T,C].

Statistics are computed in float32. The result of a norm has the dtype of its input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Float32

# Axes that each of config.network.NORMS averages over.
_AXES = {"layer_norm2d": (1, 2, 3), "layer_norm1d": (3,), "batch_norm": (0, 1, 2)}
MOMENTUM = 0.99  # Of batch norm's running statistics: Keras' default.


def affine_shape(norm: str, shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Returns the shape of scale and bias for activations [F,T,C]: [F,T,C] for layer_norm2d, else [C]."""
    return shape if norm == "layer_norm2d" else shape[2:]


def activate(x: Float[Array, "*shape"], activation: str) -> Float[Array, "*shape"]:
    """Applies an activation to each element: "relu", or else ELU."""
    if activation == "relu":
        return jnp.maximum(x, 0)
    # XLA's CPU code is slow at expm1(x), which differs from exp(x) - 1 by less than 1e-7.
    return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0)) - 1)


def statistics(
    x: Float[Array, "B F T C"], norm: str, *, axis_name: str | None = None
) -> tuple[Float32[Array, "B2 F2 T2 C2"], Float32[Array, "B2 F2 T2 C2"]]:
    """Computes mean and variance over the axes of the norm, which are kept with length 1.

    axis_name: a mapped axis that batch norm averages over, too, so that the statistics are those of the global batch.
    """
    axes = _AXES[norm]
    x = x.astype(jnp.float32)
    mean, square = jnp.mean(x, axes, keepdims=True), jnp.mean(x * x, axes, keepdims=True)
    if norm == "batch_norm" and axis_name is not None:
        mean, square = jax.lax.pmean((mean, square), axis_name)
    return mean, jnp.maximum(square - mean * mean, 0)


def normalise(
    x: Float[Array, "B F T C"],
    mean: Float32[Array, "B2 F2 T2 C2"],
    variance: Float32[Array, "B2 F2 T2 C2"],
    scale: Float[Array, "*affine C"],
    bias: Float[Array, "*affine C"],
    *,
    epsilon: float,
) -> Float[Array, "B F T C"]:
    """Brings x to mean 0 and variance 1, then applies the learnt scale and bias. epsilon: added to the variance."""
    lead = (1,) * (x.ndim - scale.ndim)
    scale, bias = scale.reshape(lead + scale.shape), bias.reshape(lead + bias.shape)
    unit = (x.astype(jnp.float32) - mean) * jax.lax.rsqrt(variance + epsilon)
    return (unit * scale + bias).astype(x.dtype)
