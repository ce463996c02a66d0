"""The transformer of AMG-Embedding: 4,023,680 parameters for fingerprints of 128 numbers.

It has no positions: the order of the fingerprints does not matter, and the second stage finds a clip but no place
within it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp

from nafp.sequences import networks

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

_EPSILON = 1e-5  # Of the layer norms, as in PyTorch.
_DENSE = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # PyTorch's for linear layers.


class Layer(nn.Module):
    """One encoder layer, with the norms after the sums: attention among the rows, then two dense layers for each."""

    heads: int
    feed_forward: int
    dropout: float

    @nn.compact
    def __call__(
        self, rows: Float[Array, "B T W"], mask: Bool[Array, "B T"], *, train: bool = False
    ) -> Float[Array, "B T W"]:
        """Maps rows [B, T, W] to rows of the same shape. Rows outside the mask are not looked at."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        attended = nn.MultiHeadDotProductAttention(
            self.heads,
            dropout_rate=self.dropout,
            broadcast_dropout=False,
            deterministic=not train,
            kernel_init=nn.initializers.xavier_uniform(),
            name="attention",
        )(rows, mask=mask[:, None, None, :])
        rows = nn.LayerNorm(_EPSILON, name="norm1")(rows + drop(attended))
        hidden = drop(nn.relu(nn.Dense(self.feed_forward, kernel_init=_DENSE, name="hidden")(rows)))
        out = nn.Dense(rows.shape[-1], kernel_init=_DENSE, name="out")(hidden)
        return nn.LayerNorm(_EPSILON, name="norm2")(rows + drop(out))


class Transformer(nn.Module):
    """A dense layer, encoder layers, the mean over the rows of the mask, a dense layer, unit length."""

    dim: int = 128
    width: int = 256
    layers: int = 10
    heads: int = 8
    feed_forward: int = 256
    dropout: float = 0.1

    @nn.compact
    def __call__(
        self, rows: Float[Array, "B T D"], mask: Bool[Array, "B T"], train: bool = False
    ) -> Float[Array, "B E"]:
        """Embeds sequences. See `nafp.sequences.networks`."""
        rows = nn.Dense(self.width, kernel_init=_DENSE, name="into")(rows)
        for number in range(self.layers):
            layer = Layer(self.heads, self.feed_forward, self.dropout, name=f"layer{number}")
            rows = layer(rows, mask, train=train)
        weights = mask[:, :, None].astype(rows.dtype)
        mean = jnp.sum(rows * weights, axis=1) / jnp.maximum(jnp.sum(weights, axis=1), 1)
        return networks.unit(nn.Dense(self.dim, kernel_init=_DENSE, name="embed")(mean))
