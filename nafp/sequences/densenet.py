"""The convolutional network of AMG-Embedding: DenseNet-121 (Huang et al., CVPR 2017) over a sequence as a picture.

It ignores the mask, so a sequence is seen with its padding. 8,106,990 parameters.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp

from nafp.sequences import networks

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

_PICTURE = (32, 128)  # Rows and columns that every sequence is resized to.
_BOTTLENECK = 4  # Channels of a 1x1 convolution, in growth rates.
_CLASSES = 1000  # Outputs of the original classifier, which a last dense layer reads.


class DenseNet(nn.Module):
    """A 1x1 convolution to three channels, a resize to 32 x 128, DenseNet, a dense layer, unit length.

    blocks: layers of each dense block. growth: channels that a layer adds. first: channels before the first block.
    """

    dim: int = 128
    blocks: tuple[int, ...] = (6, 12, 24, 16)
    growth: int = 32
    first: int = 64

    @nn.compact
    def __call__(
        self, rows: Float[Array, "B T D"], mask: Bool[Array, "B T"], train: bool = False
    ) -> Float[Array, "B E"]:
        """Embeds sequences. See `nafp.sequences.networks`. In training, batch statistics change."""
        convolve = functools.partial(nn.Conv, use_bias=False, kernel_init=nn.initializers.he_normal())
        normed = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5)
        x = nn.Conv(3, (1, 1), name="colours")(rows[..., None])
        x = jax.image.resize(x, (x.shape[0], *_PICTURE, 3), "linear", antialias=False)
        x = convolve(self.first, (7, 7), (2, 2), padding=3, name="conv0")(x)
        x = nn.relu(normed(name="norm0")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])
        for block, n_layers in enumerate(self.blocks):
            for layer in range(n_layers):
                name = f"block{block}_layer{layer}"
                new = convolve(_BOTTLENECK * self.growth, (1, 1), name=f"{name}_conv1")(
                    nn.relu(normed(name=f"{name}_norm1")(x))
                )
                new = convolve(self.growth, (3, 3), padding=1, name=f"{name}_conv2")(
                    nn.relu(normed(name=f"{name}_norm2")(new))
                )
                x = jnp.concatenate([x, new], axis=-1)
            if block < len(self.blocks) - 1:
                x = nn.relu(normed(name=f"transition{block}_norm")(x))
                x = convolve(x.shape[-1] // 2, (1, 1), name=f"transition{block}_conv")(x)
                x = nn.avg_pool(x, (2, 2), (2, 2))
        x = nn.relu(normed(name="norm_last")(x)).mean(axis=(1, 2))
        return networks.unit(nn.Dense(self.dim, name="embed")(nn.Dense(_CLASSES, name="classes")(x)))
