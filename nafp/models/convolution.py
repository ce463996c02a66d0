"""Strided convolutions of three taps along one axis, in two forms with the same parameters.

The form "lax" calls `lax.conv_general_dilated`, for GPU and TPU. The form "gemm" lays the inputs of the three taps side
by side and multiplies them with the kernel, for CPU, where XLA's convolution runs at a tenth of the rate of its matrix
product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from nafp import config
from nafp.jobs import choices

if TYPE_CHECKING:
    from jaxtyping import Array, Float

TAPS = 3


def resolve(form: str) -> str:
    """Returns "gemm" or "lax". For "auto", the one that suits JAX's default backend.

    Raises nafp.errors.Invalid for an unknown form.
    """
    choices.require("form", form, config.network.FORMS)
    if form != "auto":
        return form
    return "gemm" if jax.default_backend() == "cpu" else "lax"


def compute_dtype(dtype: str) -> jnp.dtype:
    """Returns a type by its name, where "auto" is bfloat16 on accelerators, and float32 on a CPU, which is faster."""
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(dtype)


def same_padding(n: int, stride: int) -> tuple[int, int]:
    """Returns the number of zeros before and after an axis of length n: the "SAME" of Keras and XLA, for three taps."""
    total = max((-(-n // stride) - 1) * stride + TAPS - n, 0)
    return total // 2, total - total // 2


def zeros_around(n: int, stride: int, padding: str) -> tuple[int, int]:
    """Returns the number of zeros before and after an axis of length n: "same" of `same_padding`, "symmetric" 1 and 1.

    The two differ where n is even and the stride 2. The output has ceil(n / stride) positions in both.
    """
    return same_padding(n, stride) if padding == "same" else (1, 1)


def apply(
    x: Float[Array, "B F T C"],
    kernel: Float[Array, "TF TT CK D"],
    bias: Float[Array, " D"],
    *,
    axis: int,
    stride: int,
    form: str,
    padding: str = "same",
) -> Float[Array, "B F2 T2 D"]:
    """Convolves x along `axis` (1 for frequency, 2 for time), padded as `zeros_around`, and adds the bias.

    kernel: [3,1,C,D] along frequency, [1,3,C,D] along time. Where its third axis is 1 and C is not, it is depthwise,
    and D = C. The two forms differ by less than 1e-5.
    """
    kernel, bias = kernel.astype(x.dtype), bias.astype(x.dtype)
    convolve = _lax if form == "lax" else _gemm
    return convolve(x, kernel, axis, stride, padding) + bias[None, None, None]


def _lax(x: jax.Array, kernel: jax.Array, axis: int, stride: int, padding: str) -> jax.Array:
    zeros = zeros_around(x.shape[axis], stride, padding)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, 1) if axis == 1 else (1, stride),
        (zeros, (0, 0)) if axis == 1 else ((0, 0), zeros),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[3] // kernel.shape[2],
    )


def _gemm(x: jax.Array, kernel: jax.Array, axis: int, stride: int, padding: str) -> jax.Array:
    seen = columns(x, axis, stride, padding)
    taps = matrix(kernel, x.shape[axis])  # [taps * C, D], depthwise [taps, C]
    n_taps, n_channels = seen.shape[3:]
    if kernel.shape[2] < n_channels or n_channels == 1:
        # There is one product per output and tap. Done elementwise, XLA fuses it with the activation.
        parts = [seen[..., t, :] * taps[t][None, None, None] for t in range(n_taps)]
        return sum(parts[1:], parts[0])
    product = seen.reshape(-1, n_taps * n_channels) @ taps
    return product.reshape(*seen.shape[:3], -1)


def matrix(kernel: Float[Array, "TF TT C D"], n: int) -> Float[Array, "K D"]:
    """Flattens a kernel to [taps * C, D], in the order of `columns`. n: length of the input along the axis."""
    taps = kernel.reshape(TAPS, *kernel.shape[2:])
    taps = taps[1:2] if n == 1 else taps  # On an axis of length 1 the outer taps meet only padding.
    return taps.reshape(-1, taps.shape[2])


def columns(
    x: Float[Array, "B F T C"], axis: int, stride: int, padding: str = "same"
) -> Float[Array, "B F2 T2 taps C"]:
    """Copies the inputs of every tap, for each position of the output.

    An axis of even length at stride 2 is read in pairs: XLA's code for a stack of two halves and one shifted half is
    three times as fast as for three slices of a padded copy.
    """
    n = x.shape[axis]
    if n == 1:
        return x[..., None, :]
    if stride == 2 and n % 2 == 0:
        even, odd = _halves(x, axis)
        if padding == "symmetric":
            return jnp.stack([_shifted(odd, axis, 1), even, odd], axis=-2)
        return jnp.stack([even, odd, _shifted(even, axis, -1)], axis=-2)
    padded = jax.lax.pad(x, jnp.zeros((), x.dtype), _along(axis, (*zeros_around(n, stride, padding), 0)))
    last = stride * (-(-n // stride) - 1) + 1
    slices = [jax.lax.slice_in_dim(padded, t, t + last, stride, axis=axis) for t in range(TAPS)]
    return jnp.stack(slices, axis=-2)


def uncolumns(
    seen: Float[Array, "B F2 T2 taps C"], n: int, axis: int, stride: int, padding: str = "same"
) -> Float[Array, "B F T C"]:
    """Computes the gradient of the input of `columns` from that of its output. n: length of the input along `axis`."""
    if n == 1:
        return seen[..., 0, :]
    first, second, third = (seen[..., t, :] for t in range(TAPS))
    if stride == 2 and n % 2 == 0:
        even, odd = first + _shifted(third, axis, 1), second
        if padding == "symmetric":
            even, odd = second, third + _shifted(first, axis, -1)
        pairs = jnp.stack([even, odd], axis=axis + 1)
        return pairs.reshape(*seen.shape[:axis], n, *seen.shape[axis + 1 : 3], seen.shape[4])
    before, _ = zeros_around(n, stride, padding)
    last = stride * (seen.shape[axis] - 1) + 1
    parts = []
    for t, part in enumerate((first, second, third)):
        edges = (t - before, n + before - t - last, stride - 1)
        parts.append(jax.lax.pad(part, jnp.zeros((), part.dtype), _along(axis, edges)))
    return parts[0] + parts[1] + parts[2]


def _halves(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Splits an axis of even length into its even and its odd positions."""
    pairs = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
    even, odd = (jax.lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
    return even, odd


def _shifted(x: jax.Array, axis: int, by: int) -> jax.Array:
    """Moves x along an axis by so many positions. Zeros take the free places."""
    return jax.lax.pad(x, jnp.zeros((), x.dtype), _along(axis, (by, -by, 0)))


def _along(axis: int, edges: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Returns the argument of lax.pad that pads one axis of [B,F,T,C] alone."""
    return [edges if i == axis else (0, 0, 0) for i in range(4)]
