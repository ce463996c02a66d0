"""Pieces of networks in numpy alone, that several encoders share. They compute in float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_TAPS = 3
_TINY_LENGTH = 1e-12  # As nafp.models.head has it.
_HEAD_EPSILON = np.float32(1e-5)  # As nafp.models.head has it.


def columns(x: np.ndarray, axis: int, stride: int, padding: str) -> np.ndarray:
    """Copies the inputs of every tap from x [B,F,T,C], zeros beyond its ends: [B,F',T',taps,C].

    padding: where the zeros are, "same" or "symmetric", as `nafp.models.convolution.zeros_around` says.
    """
    n = x.shape[axis]
    if n == 1:
        return x[..., None, :]
    n_out = -(-n // stride)
    before = 1 if padding == "symmetric" else max((n_out - 1) * stride + _TAPS - n, 0) // 2
    shape = [*x.shape[:3], _TAPS, x.shape[3]]
    shape[axis] = n_out
    seen = np.zeros(shape, np.float32)
    lead = (slice(None),) * axis
    for tap in range(_TAPS):
        first = max(0, -((tap - before) // stride))  # Output whose tap is the first inside.
        start = first * stride + tap - before
        inside = x[(*lead, slice(start, None, stride))]
        inside = inside[(*lead, slice(0, n_out - first))]
        seen[(*lead, slice(first, first + inside.shape[axis]))][..., tap, :] = inside
    return seen


def normalise(rows: np.ndarray, epsilon: np.float32) -> None:
    """Brings each row [N,S] to mean 0 and variance 1, in place. epsilon: added to the variance."""
    rows -= rows.mean(axis=1, keepdims=True)
    # numpy.einsum would add one by one: over half a million values, 30 times the error, in twice the time.
    variance = np.vecdot(rows, rows) / np.float32(rows.shape[1])
    rows *= (1 / np.sqrt(variance + epsilon))[:, None]


def elu(x: np.ndarray) -> np.ndarray:
    """Applies ELU to each element, in place."""
    below = np.minimum(x, 0)
    np.exp(below, out=below)
    below -= 1
    np.maximum(x, 0, out=x)
    x += below
    return x


def relu(x: np.ndarray) -> np.ndarray:
    """Applies ReLU to each element, in place."""
    return np.maximum(x, 0, out=x)


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"elu": elu, "relu": relu}


def encode(slices: np.ndarray, p: dict[str, np.ndarray]) -> np.ndarray:
    """Encodes each of D slices [B,D,S] by a small network of its own: [B,D] of unit length.

    p: the parameters of `nafp.models.head.Declared`.
    """
    hidden = elu(slices.swapaxes(0, 1) @ p["hidden_kernel"] + p["hidden_bias"][:, None])  # [D,B,U]
    if "norm_scale" in p:
        normalise(hidden.reshape(-1, hidden.shape[2]), _HEAD_EPSILON)
        hidden *= p["norm_scale"][:, None]
        hidden += p["norm_bias"][:, None]
    values = (hidden @ p["output_kernel"][..., None])[..., 0].T + p["output_bias"]
    return values / np.sqrt(np.sum(values**2, axis=1, keepdims=True) + np.float32(_TINY_LENGTH))
