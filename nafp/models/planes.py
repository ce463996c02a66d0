"""Convolutions of 3x3 taps over frequency and time at once, in two forms with the same parameters.

The form "lax" calls `lax.conv_general_dilated`. The form "gemm" lays the inputs of the nine taps side by side and
multiplies them with the kernel, a few segments at a time, for CPU. Both pad one zero on every side. On a 2-core CPU,
beside other work, the fingerprints of five segments by audsearch took 0.7 s in the form "gemm" and 2.7 s in "lax".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float

TAPS = 3
_CACHED = 2**20  # Numbers in the inputs of all taps that are multiplied at once: 4 MB.


def convolve(
    x: Float[Array, "B F T C"],
    kernel: Float[Array, "TF TT C D"],
    bias: Float[Array, " D"],
    *,
    stride: int,
    form: str,
) -> Float[Array, "B F2 T2 D"]:
    """Convolves x with a kernel [3,3,C,D] and adds the bias. An axis of length n comes out with ceil(n / stride)."""
    kernel, bias = kernel.astype(x.dtype), bias.astype(x.dtype)
    y = _lax(x, kernel, stride) if form == "lax" else _mapped(x, kernel, stride)
    return y + bias[None, None, None]


def shortcut(
    x: Float[Array, "B F T C"], kernel: Float[Array, "C D"], bias: Float[Array, " D"], *, stride: int
) -> Float[Array, "B F2 T2 D"]:
    """Takes every stride-th position of both axes, with other channels."""
    return x[:, ::stride, ::stride] @ kernel.astype(x.dtype) + bias.astype(x.dtype)[None, None, None]


def _lax(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _mapped(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolves as many segments at once as the cache can hold the taps' inputs of."""
    n, a_segment = x.shape[0], TAPS**2 * x[0].size // stride**2
    size = math.gcd(n, max(1, 2 ** int(math.log2(max(1, _CACHED // a_segment)))))
    if size == n:
        return _product(x, kernel, stride)
    parts = x.reshape(-1, size, *x.shape[1:])
    y = jax.lax.map(jax.checkpoint(lambda part: _product(part, kernel, stride)), parts)
    return y.reshape(n, *y.shape[2:])


def _product(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    seen = columns(x, stride)
    y = seen.reshape(-1, seen.shape[3]) @ kernel.reshape(-1, kernel.shape[3])
    return y.reshape(*seen.shape[:3], -1)


def columns(x: Float[Array, "B F T C"], stride: int) -> Float[Array, "B F2 T2 K"]:
    """Copies the inputs of every tap for each position of the output: K = 9 C, in the order of the kernel."""
    _, n_bins, n_frames, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [padded[:, f : f + n_bins : stride, t : t + n_frames : stride] for f in range(TAPS) for t in range(TAPS)]
    return jnp.concatenate(taps, axis=3)
