"""AudSearch: a residual network with attention over frequency and time, followed by a divide-and-encode head.

The structure is that of the benchmark's `AttentionCNN` (magcil, `models/attention.py`). A 3x3 convolution with batch
norm and ReLU leads to residual blocks of two 3x3 convolutions each. The first block has stride 1 and adds its input.
The others have stride 2 and add a 1x1 convolution of their input. Attention follows each ReLU of a block. There are
19,968,256 parameters for spectrograms of 256 x 32 and the channels below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from nafp import config, errors
from nafp.jobs import choices
from nafp.models import convolution, head, norms, planes

if TYPE_CHECKING:
    from jaxtyping import Array, Float

Parameters = dict[str, jax.Array]
Statistics = tuple[jax.Array, jax.Array]  # Mean and variance.

EPSILON = 1e-5  # Of batch norm: PyTorch's default.
_MOMENTUM = 0.9  # Of its running statistics: PyTorch's default, which it calls 0.1.
GAIN = 100.0  # Attention is a share of a share: this brings it back to the order of 1.


class Layer(NamedTuple):
    """The shape of one 3x3 convolution with its norm.

    shape: [F,T,C] of the output. attends: whether attention follows, whose parameters are then declared as well.
    """

    name: str
    stride: int
    n_inputs: int
    shape: tuple[int, int, int]
    attends: bool


class Block(NamedTuple):
    """A residual block. shortcut: the name of the 1x1 convolution of its input, None if the input itself is added."""

    first: Layer
    second: Layer
    shortcut: str | None


class AttentionResidual(nn.Module):
    """Computes fingerprints [B,D], float32 of unit length, from spectrograms [B,F,T].

    Attributes:
      dim: D. It must divide the number of features, channels[-1] times the last block's bins and frames.
      channels: of the residual blocks. The convolution before them has as many as the first.
      head_hidden: hidden units of the head's small networks.
      form: "gemm", "lax" or "auto", see `planes`. The parameters are the same.
      dtype: type of the products; "auto" is bfloat16 on accelerators. Parameters, statistics, attention, head and
        result are float32.
      axis_name: mapped axis over which batch norm shares its statistics, if any.

    Raises nafp.errors.Invalid for an unknown choice, or a dim that does not divide the features.
    """

    dim: int = 128
    channels: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    head_hidden: int = 32
    form: str = "auto"
    dtype: str = "auto"
    axis_name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        choices.require("form", self.form, config.network.FORMS)
        choices.require("dtype", self.dtype, config.network.DTYPES)

    @nn.compact
    def __call__(self, mel: jax.Array, train: bool = False) -> jax.Array:
        """Computes the fingerprints of mel [B,F,T]. `train` needs "batch_stats" to be mutable."""
        front, blocks = plan(mel.shape[1:], self.channels)
        x = mel.astype(convolution.compute_dtype(self.dtype))[..., None]  # [B,F,T,1]
        x = nn.relu(self._convolved(x, front, Declared(front, name=front.name)(), train))
        for block in blocks:
            x = self._block(x, block, train)
        features = jnp.transpose(x.astype(jnp.float32), (0, 3, 1, 2)).reshape(x.shape[0], -1)  # As PyTorch flattens.
        return self._head(features)

    def _block(self, x: jax.Array, block: Block, train: bool) -> jax.Array:
        first = Declared(block.first, name=block.first.name)()
        second = Declared(block.second, name=block.second.name)()
        y = attend(nn.relu(self._convolved(x, block.first, first, train)), first["spectral"], first["temporal"])
        y = self._convolved(y, block.second, second, train)
        if block.shortcut:
            sizes = (block.first.n_inputs, block.first.shape[2])
            p = DeclaredShortcut(sizes, name=block.shortcut)()
            x = planes.shortcut(x, p["kernel"], p["bias"], stride=block.first.stride)
        return attend(nn.relu(y + x), second["spectral"], second["temporal"])

    def _convolved(self, x: jax.Array, layer: Layer, p: Parameters, train: bool) -> jax.Array:
        """Applies a convolution and its batch norm."""
        form = convolution.resolve(self.form)
        x = planes.convolve(x, p["kernel"], p["bias"], stride=layer.stride, form=form)
        shape = (1, 1, 1, layer.shape[2])
        mean = self.variable("batch_stats", f"{layer.name}_mean", jnp.zeros, shape)
        variance = self.variable("batch_stats", f"{layer.name}_variance", jnp.ones, shape)
        statistics = mean.value, variance.value
        if train and not self.is_initializing():
            statistics = norms.statistics(x, "batch_norm", axis_name=self.axis_name)
            unbiased = _unbiased(statistics[1], x.size // x.shape[3], self.axis_name)
            mean.value = _MOMENTUM * mean.value + (1 - _MOMENTUM) * statistics[0]
            variance.value = _MOMENTUM * variance.value + (1 - _MOMENTUM) * unbiased
        return norms.normalise(x, *statistics, p["norm_scale"], p["norm_bias"], epsilon=EPSILON)

    def _head(self, features: jax.Array) -> jax.Array:
        n_features = features.shape[1]
        if n_features % self.dim:
            raise errors.Invalid(f"dim={self.dim} does not divide the {n_features} features of the last block")
        slices = features.reshape(-1, self.dim, n_features // self.dim)
        p = head.Declared((self.dim, n_features // self.dim), self.head_hidden, name="head")()
        return head.encode(slices, p)


def plan(mel_shape: tuple[int, ...], channels: tuple[int, ...]) -> tuple[Layer, list[Block]]:
    """Returns the layer before the blocks, and the blocks, for spectrograms [F,T]."""
    n_bins, n_frames = mel_shape
    n_inputs, blocks = channels[0], []
    front = Layer("front", 1, 1, (n_bins, n_frames, n_inputs), False)
    for i, c in enumerate(channels, 1):
        stride = 1 if i == 1 else 2
        n_bins, n_frames = -(-n_bins // stride), -(-n_frames // stride)
        shape = (n_bins, n_frames, c)
        first = Layer(f"block{i}_first", stride, n_inputs, shape, True)
        second = Layer(f"block{i}_second", 1, c, shape, True)
        blocks.append(Block(first, second, None if i == 1 else f"block{i}_shortcut"))
        n_inputs = c
    return front, blocks


def attend(
    x: Float[Array, "B F T C"], spectral: Float[Array, "C T"], temporal: Float[Array, "C F"]
) -> Float[Array, "B F T C"]:
    """Weighs x by where it is in frequency and time, in float32. Each channel has weights of its own."""
    precise = x.astype(jnp.float32)
    of_bins = jax.nn.softmax(jnp.tanh(jnp.einsum("bftc,ct->bfc", precise, spectral)), axis=1)
    of_frames = jax.nn.softmax(jnp.tanh(jnp.einsum("bftc,cf->btc", precise, temporal)), axis=1)
    return (precise * (GAIN * of_bins[:, :, None] * of_frames[:, None])).astype(x.dtype)


class Declared(nn.Module):
    """Declares the parameters of a layer under the layer's name, by which checkpoints hold them."""

    layer: Layer

    @nn.compact
    def __call__(self) -> Parameters:
        n_bins, n_frames, c = self.layer.shape
        zeros, ones, normal = nn.initializers.zeros, nn.initializers.ones, nn.initializers.normal(1.0)
        declared = {
            "kernel": self.param("kernel", _uniform, (planes.TAPS, planes.TAPS, self.layer.n_inputs, c)),
            "bias": self.param("bias", zeros, (c,)),
            "norm_scale": self.param("norm_scale", ones, (c,)),
            "norm_bias": self.param("norm_bias", zeros, (c,)),
        }
        if self.layer.attends:
            declared["spectral"] = self.param("spectral", normal, (c, n_frames))
            declared["temporal"] = self.param("temporal", normal, (c, n_bins))
        return declared


class DeclaredShortcut(nn.Module):
    """Declares the parameters of a 1x1 convolution. sizes: its numbers of inputs and outputs."""

    sizes: tuple[int, int]

    @nn.compact
    def __call__(self) -> Parameters:
        bias = self.param("bias", nn.initializers.zeros, self.sizes[1:])
        return {"kernel": self.param("kernel", _uniform, self.sizes), "bias": bias}


# PyTorch's default: uniform within 1 / sqrt(inputs of an output).
_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def _unbiased(variance: jax.Array, n: int, axis_name: str | None) -> jax.Array:
    """Scales the variance of a batch of n positions on this device as PyTorch does for its running statistics."""
    total = n * (jax.lax.axis_size(axis_name) if axis_name else 1)
    return variance * (total / max(total - 1, 1))
