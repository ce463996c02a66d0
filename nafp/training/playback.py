"""A clip played faster or slower, from a fractional sample on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float

SINC_TAPS = 16  # Windowed-sinc resampling; -60 dB of error below 0.8 of half the rate.
_TAPS = np.arange(-SINC_TAPS // 2 + 1, SINC_TAPS // 2 + 1)


def play(
    clip: Float[Array, " S"], *, start: jax.Array, n_samples: int, pivot: int, speed: jax.Array
) -> Float[Array, " n"]:
    """Cuts n_samples out of a clip [S] from the fractional sample `start`, played at `speed` around `pivot`.

    Output sample i is the clip at start + pivot + (i - pivot) * speed, interpolated by a Hann-windowed sinc.
    Outside the clip there is silence.
    """
    where = start + pivot + (jnp.arange(n_samples, dtype=jnp.float32) - pivot) * speed
    base = jnp.floor(where)
    weights = _hann_sinc(where - base)  # [taps][S]
    base = base.astype(jnp.int32)
    total = jnp.zeros(n_samples, jnp.float32)
    for tap, weight in zip(_TAPS, weights):
        total += weight * clip.at[base + int(tap)].get(mode="fill", fill_value=0.0, wrap_negative_indices=False)
    return total


def _hann_sinc(fraction: jax.Array) -> list[jax.Array]:
    """Computes the weight of every tap k for a position `fraction` f after the sample: sinc(k - f) x raised cosine.

    The sine of pi (k - f) and the cosine of the window are expanded by k, so that a sample costs three trigonometric
    functions and not two for every tap.
    """
    narrow = jnp.pi * 2 / (SINC_TAPS + 1)
    sine, far_cos, far_sin = (
        jnp.sin(jnp.pi * fraction),
        jnp.cos(narrow * fraction),
        jnp.sin(narrow * fraction),
    )
    weights = []
    for k in _TAPS:
        distance = k - fraction
        near = jnp.abs(distance) < 1e-4
        sinc = jnp.where(near, 1.0, (-1.0) ** (k + 1) * sine / jnp.where(near, 1.0, jnp.pi * distance))
        window = 0.5 + 0.5 * (np.cos(narrow * k) * far_cos + np.sin(narrow * k) * far_sin)
        weights.append(sinc * window)
    return weights
