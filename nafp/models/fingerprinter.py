"""The NAFP network: eight blocks of two strided convolutions, followed by a divide-and-encode head.

The structure is that of Chang et al., ICASSP 2021 (their `nnfp.py`). A block is a convolution 1x3 along time, ELU,
norm, a convolution 3x1 along frequency, ELU, norm. Eight blocks bring 256x32 down to 1x1. The head computes every
output dimension by a small network of its own, from a slice of the features, and scales the result to unit length.
There are 16,939,008 parameters for segments of one second at 128 dimensions. The networks of other published systems
are settings, always with strides of 2 throughout and epsilon 1e-5:
- pfann: ReLU after the norm; 16,914,432 parameters, depthwise ("not fuller") 8,570,112, and 5,507,712 with half the
  channels in the first six blocks and dim 64.
- the benchmark's and song_mine's fingerprinter: ReLU before the norm, symmetric padding, a layer norm in the head;
  16,922,624 parameters.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from nafp import config, errors
from nafp.jobs import choices
from nafp.models import convolution, cpu_stack, head, layers, norms

# Glorot uniform and zeros are the defaults of Keras, which the original uses everywhere.
_glorot = nn.initializers.glorot_uniform()
_zeros, _ones = nn.initializers.zeros, nn.initializers.ones


class Fingerprinter(nn.Module):
    """Computes fingerprints [B,D], float32 of unit length, from log-mel spectrograms [B,F,T].

    Attributes:
      dim: D. The last of `channels` is rounded up to a multiple of it, as in the original.
      channels: output channels of the blocks, one for each of `time_strides`.
      time_strides: strides of the blocks along time. Every block halves the frequency axis.
      padding: "same" or "symmetric", see `convolution.zeros_around`.
      head_hidden: hidden units of the head's small networks.
      head_norm: whether a layer norm follows them.
      norm: "layer_norm2d" (over the whole segment, with scale and bias of its size), "layer_norm1d" or "batch_norm".
      activation: "elu" or "relu".
      activation_order: "before_norm" (original) or "after_norm" (pfann).
      depthwise: whether the 3x1 convolutions have one filter per channel (pfann's "not fuller").
      epsilon: added to the variance by the norms of the blocks; Keras' default.
      form: "gemm", "lax" or "auto", see `convolution`. The parameters are the same.
      dtype: type of the products; "auto" is bfloat16 on accelerators. Parameters, statistics, head and result are
        float32.
      axis_name: mapped axis over which batch norm shares its statistics, if any.

    Raises nafp.errors.Invalid for an unknown choice, or another number of channels than of strides.
    """

    dim: int = 128
    channels: tuple[int, ...] = (128, 128, 256, 256, 512, 512, 1024, 1024)
    time_strides: tuple[int, ...] = (2, 2, 2, 2, 1, 2, 1, 2)
    padding: str = "same"
    head_hidden: int = 32
    head_norm: bool = False
    norm: str = "layer_norm2d"
    activation: str = "elu"
    activation_order: str = "before_norm"
    depthwise: bool = False
    epsilon: float = 1e-3
    form: str = "auto"
    dtype: str = "auto"
    axis_name: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        choices.require("padding", self.padding, config.network.PADDINGS)
        choices.require("norm", self.norm, config.network.NORMS)
        choices.require("activation", self.activation, config.network.ACTIVATIONS)
        choices.require("activation_order", self.activation_order, config.network.ORDERS)
        choices.require("form", self.form, config.network.FORMS)
        choices.require("dtype", self.dtype, config.network.DTYPES)
        if len(self.channels) != len(self.time_strides):
            raise errors.Invalid(
                f"channels has {len(self.channels)} blocks, but time_strides "
                f"{len(self.time_strides)}: give one stride per block"
            )

    @nn.compact
    def __call__(self, mel: jax.Array, train: bool = False) -> jax.Array:
        """Computes the fingerprints of mel [B,F,T]. With batch norm, `train` needs "batch_stats" to be mutable."""
        _, n_bins, n_frames = mel.shape
        x = mel.astype(convolution.compute_dtype(self.dtype))[..., None]  # [B,F,T,1]
        plan = self.plan((n_bins, n_frames))
        parameters = [Declared(layer, self.norm, name=layer.name)() for layer in plan]
        running = [self._running(layer) for layer in plan] if self.norm == "batch_norm" else None
        if running and train:
            for i, layer in enumerate(plan):
                x = self._with_batch_statistics(x, layer, parameters[i], running[i])
        else:
            fixed = [(mean.value, variance.value) for mean, variance in running] if running else None
            run = layers.stack if self.style().form == "lax" else cpu_stack.stack
            x = run(x, plan, parameters, self.style(), fixed)
        return self._head(x.reshape(x.shape[0], self.dim, -1).astype(jnp.float32))

    def plan(self, mel_shape: tuple[int, int]) -> list[layers.Layer]:
        """Lists the layers for spectrograms [F,T], in order."""
        last = -(-self.channels[-1] // self.dim) * self.dim
        return layers.plan(
            mel_shape,
            channels=(*self.channels[:-1], last),
            time_strides=self.time_strides,
            depthwise=self.depthwise,
        )

    def style(self) -> layers.Style:
        """Returns the settings that all layers share, with the form that this machine takes."""
        return layers.Style(
            norm=self.norm,
            activation=self.activation,
            activation_order=self.activation_order,
            epsilon=self.epsilon,
            form=convolution.resolve(self.form),
            padding=self.padding,
        )

    def _running(self, layer: layers.Layer) -> tuple[nn.Variable, nn.Variable]:
        shape = (1, 1, 1, layer.shape[2])
        mean = self.variable("batch_stats", f"{layer.name}_mean", jnp.zeros, shape)
        return mean, self.variable("batch_stats", f"{layer.name}_variance", jnp.ones, shape)

    def _with_batch_statistics(
        self,
        x: jax.Array,
        layer: layers.Layer,
        parameters: layers.Parameters,
        running: tuple[nn.Variable, nn.Variable],
    ) -> jax.Array:
        x = layers.pre_norm(x, layer, parameters, self.style())
        seen = norms.statistics(x, self.norm, axis_name=self._axis_name())
        if not self.is_initializing():
            for old, new in zip(running, seen):
                old.value = norms.MOMENTUM * old.value + (1 - norms.MOMENTUM) * new
        return layers.post_norm(x, parameters, self.style(), seen)

    def _axis_name(self) -> str | None:
        return None if self.is_initializing() else self.axis_name  # init is not mapped.

    def _head(self, slices: jax.Array) -> jax.Array:
        """Encodes each of D slices [B,D,S] by a network S -> hidden -> 1 of its own: [B,D]."""
        _, dim, width = slices.shape
        p = head.Declared((dim, width), self.head_hidden, self.head_norm, name="head")()
        return head.encode(slices, p)


class Declared(nn.Module):
    """Declares the parameters of a layer under the layer's name, by which checkpoints hold them."""

    layer: layers.Layer
    norm: str

    @nn.compact
    def __call__(self) -> layers.Parameters:
        affine = norms.affine_shape(self.norm, self.layer.shape)
        return {
            "kernel": self.param("kernel", _kernel_init, self.layer),
            "bias": self.param("bias", _zeros, self.layer.shape[2:]),
            "norm_scale": self.param("norm_scale", _ones, affine),
            "norm_bias": self.param("norm_bias", _zeros, affine),
        }


def _kernel_init(key: jax.Array, layer: layers.Layer) -> jax.Array:
    if not layer.depthwise:
        return _glorot(key, layer.kernel_shape)
    # A depthwise filter has three inputs and three outputs, for which Glorot's limit is 1.
    return jax.random.uniform(key, layer.kernel_shape, minval=-1.0, maxval=1.0)
