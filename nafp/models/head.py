"""The divide-and-encode head: every dimension of a fingerprint by a small network of its own.

It is the head of all published systems here. The benchmark's has a layer norm between hidden and output layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp

from nafp.models import norms

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Float32

Parameters = dict[str, jax.Array]

_TINY = 1e-12  # Keeps the gradient of the scaling to unit length finite at zero.
NORM_EPSILON = 1e-5  # Of the layer norm: PyTorch's default, which the benchmark uses.


def encode(slices: Float[Array, "B D S"], p: Parameters) -> Float32[Array, "B D"]:
    """Encodes each of D slices by a small network of its own, and scales the result to unit length.

    p: the arrays that `Declared` declares. With "norm_scale" among them, a layer norm follows the hidden units.
    """
    hidden = jnp.einsum("bds,dsu->bdu", slices, p["hidden_kernel"]) + p["hidden_bias"][None]
    hidden = norms.activate(hidden, "elu")
    if "norm_scale" in p:
        hidden = _normalised(hidden) * p["norm_scale"][None] + p["norm_bias"][None]
    values = jnp.einsum("bdu,du->bd", hidden, p["output_kernel"]) + p["output_bias"][None]
    return values * jax.lax.rsqrt(jnp.sum(values**2, axis=1, keepdims=True) + _TINY)


def _normalised(hidden: jax.Array) -> jax.Array:
    centred = hidden - jnp.mean(hidden, axis=2, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=2, keepdims=True) + NORM_EPSILON)


class Declared(nn.Module):
    """Declares the parameters of the head for slices [D,S]. normed: whether a layer norm is among them."""

    slices: tuple[int, int]
    n_hidden: int
    normed: bool = False

    @nn.compact
    def __call__(self) -> Parameters:
        dim, width = self.slices
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        per_slice = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform", batch_axis=0)

        def output(key: jax.Array) -> jax.Array:
            return per_slice(key, (dim, self.n_hidden, 1))[..., 0]

        declared = {
            "hidden_kernel": self.param("hidden_kernel", per_slice, (dim, width, self.n_hidden)),
            "hidden_bias": self.param("hidden_bias", zeros, (dim, self.n_hidden)),
            "output_kernel": self.param("output_kernel", output),
            "output_bias": self.param("output_bias", zeros, (dim,)),
        }
        if self.normed:
            declared["norm_scale"] = self.param("norm_scale", ones, (dim, self.n_hidden))
            declared["norm_bias"] = self.param("norm_bias", zeros, (dim, self.n_hidden))
        return declared
