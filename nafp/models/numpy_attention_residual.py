"""The encoder of `nafp.models.attention_residual` in numpy alone: spectrograms in, features out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from nafp.models import numpy_layers

_EPSILON = np.float32(1e-5)  # As nafp.models.attention_residual has it, as well as the next.
_GAIN = np.float32(100)
_TAPS = 3
_TOGETHER = (1, 4)  # Segments that go together through the first two blocks, and through the others.


class _Layer(NamedTuple):
    kernel: np.ndarray  # [9*C,D], with the norm's scale.
    shift: np.ndarray  # [D], the bias with the norm's shift.
    spectral: np.ndarray  # [T,C], empty where no attention follows, as the next.
    temporal: np.ndarray  # [F,C]


class _Block(NamedTuple):
    stride: int
    first: _Layer
    second: _Layer
    shortcut: tuple[np.ndarray, np.ndarray] | None  # Kernel [C,D] and bias [D].


class Encoder:
    """Computes features [B,D,S] from spectrograms [B,F,T], S for each of D values of a fingerprint."""

    def __init__(self, variables: Mapping[str, Any], model: ml_collections.ConfigDict):
        self._dim = model.dim
        self._front = _layer("front", variables)
        self._blocks = [_block(i, variables) for i in range(1, len(model.channels) + 1)]

    def __call__(self, mel: np.ndarray) -> np.ndarray:
        x, few, more = mel[..., None], *_TOGETHER  # [B,F,T,1]
        x = np.concatenate([self._begin(x[i : i + few]) for i in range(0, len(x), few)])
        for block in self._blocks[2:]:
            x = np.concatenate([_apply(x[i : i + more], block) for i in range(0, len(x), more)])
        return x.transpose(0, 3, 1, 2).reshape(len(x), self._dim, -1)

    def _begin(self, x: np.ndarray) -> np.ndarray:
        x = numpy_layers.relu(_convolve(x, self._front, 1))
        for block in self._blocks[:2]:
            x = _apply(x, block)
        return x


def _block(number: int, variables: Mapping[str, Any]) -> _Block:
    first, second = (_layer(f"block{number}_{place}", variables) for place in ("first", "second"))
    p = variables["params"].get(f"block{number}_shortcut")
    shortcut = (np.asarray(p["kernel"], np.float32), np.asarray(p["bias"], np.float32)) if p else None
    return _Block(1 if number == 1 else 2, first, second, shortcut)


def _layer(name: str, variables: Mapping[str, Any]) -> _Layer:
    p = {key: np.asarray(value, np.float32) for key, value in variables["params"][name].items()}
    mean, variance = (
        np.asarray(variables["batch_stats"][f"{name}_{kind}"], np.float32).ravel() for kind in ("mean", "variance")
    )
    scale = p["norm_scale"] / np.sqrt(variance + _EPSILON)
    kernel = p["kernel"].reshape(-1, len(scale)) * scale
    shift = p["norm_bias"] + (p["bias"] - mean) * scale
    nothing = np.zeros((0, 0), np.float32)
    attention = [np.ascontiguousarray(p.get(key, nothing).T) for key in ("spectral", "temporal")]
    return _Layer(kernel, shift, *attention)


def _apply(x: np.ndarray, block: _Block) -> np.ndarray:
    y = _attend(numpy_layers.relu(_convolve(x, block.first, block.stride)), block.first)
    y = _convolve(y, block.second, 1)
    if block.shortcut:
        kernel, bias = block.shortcut
        x = x[:, :: block.stride, :: block.stride] @ kernel + bias
    y += x
    return _attend(numpy_layers.relu(y), block.second)


def _convolve(x: np.ndarray, layer: _Layer, stride: int) -> np.ndarray:
    """Convolves x [B,F,T,C] with 3x3 taps, one zero around it, and normalises it: [B,F',T',D]."""
    _, n_bins, n_frames, n_channels = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shape = (len(x), -(-n_bins // stride), -(-n_frames // stride), _TAPS**2, n_channels)
    seen = np.empty(shape, np.float32)
    for f in range(_TAPS):
        for t in range(_TAPS):
            seen[..., _TAPS * f + t, :] = padded[:, f : f + n_bins : stride, t : t + n_frames : stride]
    y = seen.reshape(-1, _TAPS**2 * n_channels) @ layer.kernel
    y += layer.shift
    return y.reshape(*shape[:3], -1)


def _attend(x: np.ndarray, layer: _Layer) -> np.ndarray:
    of_bins = _softmax(np.tanh(np.einsum("bftc,tc->bfc", x, layer.spectral)))
    of_frames = _softmax(np.tanh(np.einsum("bftc,fc->btc", x, layer.temporal)))
    return x * (_GAIN * of_bins[:, :, None] * of_frames[:, None])


def _softmax(x: np.ndarray) -> np.ndarray:
    """Computes the softmax over the second axis of values in -1..1."""
    y = np.exp(x)
    return y / y.sum(axis=1, keepdims=True)
