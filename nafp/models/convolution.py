"""Strided convolutions of three taps along one axis, in two forms with the same parameters.

"lax": `lax.conv_general_dilated`, one call per layer, for GPU and TPU. "gemm": the three taps side
by side and one matrix product, for CPU, where XLA's convolution reaches a tenth of its own product.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

FORMS = ("auto", "gemm", "lax")
TAPS = 3


def resolve(form: str) -> str:
    """Chooses the form of this machine's default backend when `form` is "auto"."""
    if form not in FORMS:
        raise ValueError(f"form={form!r}: allowed are {', '.join(FORMS)}")
    if form != "auto":
        return form
    return "gemm" if jax.default_backend() == "cpu" else "lax"


def same_padding(n: int, stride: int) -> tuple[int, int]:
    """Returns the zeros before and after an axis of n, Keras' and XLA's "SAME" for three taps."""
    total = max((-(-n // stride) - 1) * stride + TAPS - n, 0)
    return total // 2, total - total // 2


def apply(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, *, axis: int, stride: int, form: str
) -> jax.Array:
    """Convolves x [B,F,T,C] along `axis` (1 frequency, 2 time), "SAME" padding, and adds the bias.

    kernel: [3,1,C,D] along frequency, [1,3,C,D] along time; depthwise when its third axis is 1 and
    C is not: D = C then. Both forms give the same to 1e-5.
    """
    convolve = _lax if form == "lax" else _gemm
    return (
        convolve(x, kernel.astype(x.dtype), axis, stride) + bias.astype(x.dtype)[None, None, None]
    )


def is_depthwise(kernel: jax.Array, n_channels: int) -> bool:
    """Says whether the kernel has one filter per channel."""
    return kernel.shape[2] == 1 and n_channels > 1


def _lax(x: jax.Array, kernel: jax.Array, axis: int, stride: int) -> jax.Array:
    strides = (stride, 1) if axis == 1 else (1, stride)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[3] if is_depthwise(kernel, x.shape[3]) else 1,
    )


def _gemm(x: jax.Array, kernel: jax.Array, axis: int, stride: int) -> jax.Array:
    taps = kernel.reshape(TAPS, *kernel.shape[2:])  # [3,C,D]
    if is_depthwise(kernel, x.shape[3]):
        pieces = taps_of(x, axis, stride)
        return sum(piece * tap[None, None] for piece, tap in zip(pieces, taps))
    if x.shape[axis] == 1:
        return x @ taps[1]  # The outer taps meet only padding.
    columns = jnp.concatenate(taps_of(x, axis, stride), axis=3)  # [B,F,T,3C]
    return columns @ taps.reshape(-1, taps.shape[2])


def taps_of(x: jax.Array, axis: int, stride: int) -> list[jax.Array]:
    """Slices what each of the three taps sees of x [B,F,T,C]: three arrays of the output's F,T."""
    n = x.shape[axis]
    n_out = -(-n // stride)
    widths = [(0, 0)] * 4
    widths[axis] = same_padding(n, stride)
    padded = jnp.pad(x, widths)
    last = stride * (n_out - 1) + 1
    return [jax.lax.slice_in_dim(padded, t, t + last, stride, axis=axis) for t in range(TAPS)]
