"""The bidirectional LSTM of AMG-Embedding: 8 layers of width 256 in its configuration.

PyTorch keeps two biases for each gate, of which only the sum has an effect. Here it is one, so that the network has
11,878,528 parameters instead of 11,894,912.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp

from nafp.sequences import networks

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float


class Lstm(nn.Module):
    """Stacked bidirectional LSTMs, of which the output at the last row goes through a dense layer, to unit length.

    At the last row the backward direction of the top layer has seen that row alone, as in the original.
    """

    dim: int = 128
    width: int = 256
    layers: int = 8
    dropout: float = 0.1

    @nn.compact
    def __call__(
        self, rows: Float[Array, "B T D"], mask: Bool[Array, "B T"], train: bool = False
    ) -> Float[Array, "B E"]:
        """Embeds sequences. See `nafp.sequences.networks`."""
        n_rows = jnp.sum(mask, axis=1)
        for number in range(self.layers):
            if number:
                rows = nn.Dropout(self.dropout, deterministic=not train)(rows)
            cells = (nn.OptimizedLSTMCell(self.width, name=f"{way}{number}") for way in ("forward", "backward"))
            forward, backward = (nn.RNN(cell, name=f"over_{cell.name}") for cell in cells)
            ahead = forward(rows, seq_lengths=n_rows)
            back = backward(rows, seq_lengths=n_rows, reverse=True, keep_order=True)
            rows = jnp.concatenate([jnp.asarray(ahead), jnp.asarray(back)], axis=-1)
        last = jnp.take_along_axis(rows, jnp.maximum(n_rows - 1, 0)[:, None, None], axis=1)[:, 0]
        return networks.unit(nn.Dense(self.dim, name="embed")(last))
