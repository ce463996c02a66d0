"""The layers of the network, as pure functions: a convolution with its activation and norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax

from nafp.models import convolution, norms

if TYPE_CHECKING:
    from jaxtyping import Array, Float

Parameters = dict[str, jax.Array]  # Of one layer, by their names in checkpoints: kernel, bias, norm_scale, norm_bias.
Statistics = tuple[jax.Array, jax.Array]  # Mean and variance.


class Layer(NamedTuple):
    """The shape of one convolution with its norm."""

    name: str
    axis: int  # 1 frequency, 2 time.
    stride: int
    n_positions: int  # Length of the input along the axis.
    n_inputs: int  # Channels of the input.
    shape: tuple[int, int, int]  # [F,T,C] of the output.
    depthwise: bool

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """The kernel's shape: [taps along frequency, taps along time, inputs, outputs]."""
        taps = (convolution.TAPS, 1) if self.axis == 1 else (1, convolution.TAPS)
        return (*taps, 1 if self.depthwise else self.n_inputs, self.shape[2])


class Style(NamedTuple):
    """The settings that all layers share, see `nafp.models.fingerprinter.Fingerprinter`."""

    norm: str
    activation: str
    activation_order: str
    epsilon: float
    form: str
    padding: str = "same"


def plan(
    mel_shape: tuple[int, int],
    *,
    channels: Sequence[int],
    time_strides: Sequence[int],
    depthwise: bool,
) -> list[Layer]:
    """Lists the layers for spectrograms [F,T], in order. Each block has one along time and one along frequency."""
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
    x: Float[Array, "B F T C"],
    layer: Layer,
    parameters: Parameters,
    style: Style,
    statistics: Statistics | None = None,
) -> Float[Array, "B F2 T2 C2"]:
    """Applies one layer. statistics: mean and variance for the norm, or None for those of x itself."""
    x = pre_norm(x, layer, parameters, style)
    return post_norm(x, parameters, style, statistics or norms.statistics(x, style.norm))


def pre_norm(
    x: Float[Array, "B F T C"], layer: Layer, parameters: Parameters, style: Style
) -> Float[Array, "B F2 T2 C2"]:
    """Computes the input of the norm: the convolution, followed by the activation if that comes first."""
    kernel, bias = parameters["kernel"], parameters["bias"]
    x = convolution.apply(x, kernel, bias, axis=layer.axis, stride=layer.stride, form=style.form, padding=style.padding)
    return norms.activate(x, style.activation) if style.activation_order == "before_norm" else x


def post_norm(
    x: Float[Array, "B F T C"], parameters: Parameters, style: Style, statistics: Statistics
) -> Float[Array, "B F T C"]:
    """Applies the norm, followed by the activation if that comes last."""
    scale, bias = parameters["norm_scale"], parameters["norm_bias"]
    x = norms.normalise(x, *statistics, scale, bias, epsilon=style.epsilon)
    return norms.activate(x, style.activation) if style.activation_order == "after_norm" else x


def stack(
    x: Float[Array, "B F T C"],
    plan: Sequence[Layer],
    parameters: Sequence[Parameters],
    style: Style,
    statistics: Sequence[Statistics] | None = None,
) -> Float[Array, "B F2 T2 C2"]:
    """Applies all layers to the whole batch. statistics: one per layer, of norms that keep running ones."""
    for i, (layer, p) in enumerate(zip(plan, parameters)):
        x = apply(x, layer, p, style, statistics[i] if statistics else None)
    return x
