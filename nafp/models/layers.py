"""The network's layers as pure functions of parameters: a convolution, its activation and norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax

from nafp.models import convolution, norms

ORDERS = ("before_norm", "after_norm")
# Of one layer: kernel, bias, norm_scale, norm_bias; the names they have in checkpoints.
Parameters = dict[str, jax.Array]
Statistics = tuple[jax.Array, jax.Array]  # Mean and variance.


class Layer(NamedTuple):
    """One convolution with its norm: where it is, and what goes in and comes out."""

    name: str
    axis: int  # 1 frequency, 2 time.
    stride: int
    n_positions: int  # Of the input along the axis.
    n_inputs: int
    shape: tuple[int, int, int]  # [F,T,C] it puts out.
    depthwise: bool

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """The kernel's shape, [taps along frequency, along time, inputs, outputs]."""
        taps = (convolution.TAPS, 1) if self.axis == 1 else (1, convolution.TAPS)
        return (*taps, 1 if self.depthwise else self.n_inputs, self.shape[2])


class Style(NamedTuple):
    """What all layers share: the choices of `Fingerprinter`."""

    norm: str
    activation: str
    activation_order: str
    epsilon: float
    form: str


def plan(
    mel_shape: tuple[int, int],
    *,
    channels: Sequence[int],
    time_strides: Sequence[int],
    depthwise: bool,
) -> list[Layer]:
    """Lists the layers for spectrograms [F,T]: per block one along time, one along frequency."""
    n_bins, n_frames = mel_shape
    n_inputs, layers = 1, []
    for i, (c, stride) in enumerate(zip(channels, time_strides), 1):
        n, n_frames = n_frames, -(-n_frames // stride)
        shape = (n_bins, n_frames, c)
        layers.append(Layer(f"block{i}_time", 2, stride, n, n_inputs, shape, False))
        n, n_bins = n_bins, -(-n_bins // 2)
        shape = (n_bins, n_frames, c)
        layers.append(Layer(f"block{i}_frequency", 1, 2, n, c, shape, depthwise))
        n_inputs = c
    return layers


def apply(
    x: jax.Array,
    layer: Layer,
    parameters: Parameters,
    style: Style,
    statistics: Statistics | None = None,
) -> jax.Array:
    """Applies one layer to x [B,F,T,C]; `statistics` of the norm are x's own when not given."""
    x = pre_norm(x, layer, parameters, style)
    return post_norm(x, parameters, style, statistics or norms.statistics(x, style.norm))


def pre_norm(x: jax.Array, layer: Layer, parameters: Parameters, style: Style) -> jax.Array:
    """Computes what the norm sees: the convolution, and the activation if it comes first."""
    kernel, bias = parameters["kernel"], parameters["bias"]
    x = convolution.apply(x, kernel, bias, axis=layer.axis, stride=layer.stride, form=style.form)
    return norms.activate(x, style.activation) if style.activation_order == "before_norm" else x


def post_norm(x: jax.Array, parameters: Parameters, style: Style, statistics: Statistics) -> jax.Array:
    """Applies the norm, and the activation if it comes last."""
    scale, bias = parameters["norm_scale"], parameters["norm_bias"]
    x = norms.normalise(x, *statistics, scale, bias, epsilon=style.epsilon)
    return norms.activate(x, style.activation) if style.activation_order == "after_norm" else x


def stack(
    x: jax.Array,
    plan: Sequence[Layer],
    parameters: Sequence[Parameters],
    style: Style,
    statistics: Sequence[Statistics] | None = None,
) -> jax.Array:
    """Applies all layers to x [B,F,T,C], the whole batch at once; `statistics` of running norms."""
    for layer, p, s in zip(plan, parameters, statistics or [None] * len(plan)):
        x = apply(x, layer, p, style, s)
    return x
