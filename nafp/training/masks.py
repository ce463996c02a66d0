"""Masks in log-mel spectrograms: cut-outs, frequency masks and time masks, drawn anew for each example."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from nafp.training import augment, draws

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Shaped


def masked(keys: Shaped[Array, " B"], mels: Float[Array, "B F T"], *, chain: augment.Chain) -> Float[Array, "B F T"]:
    """Masks log-mel spectrograms [B, F, T], each by its own draw of a cut-out, a frequency mask and a time mask."""
    return jax.vmap(lambda key, mel: _mask_one(jax.random.fold_in(key, 2), mel, chain))(keys, mels)


def _mask_one(key: jax.Array, mel: jax.Array, chain: augment.Chain) -> jax.Array:
    k = jax.random.split(key, 8)
    n_bins, n_frames = mel.shape
    stripe = _STRIPES[chain.mask_placing]
    hole = jnp.zeros(mel.shape, bool)
    if chain.cutout.probability:
        bins = stripe(k[0], n_bins, chain.cutout)[:, None]
        frames = stripe(k[1], n_frames, chain.cutout.in_time)[None, :]
        hole |= draws.happens(k[2], chain.cutout.probability) & (bins & frames)
    if chain.frequency_mask.probability:
        bins = stripe(k[3], n_bins, chain.frequency_mask)[:, None]
        hole |= draws.happens(k[4], chain.frequency_mask.probability) & bins
    if chain.time_mask.probability:
        frames = stripe(k[5], n_frames, chain.time_mask)[None, :]
        hole |= draws.happens(k[6], chain.time_mask.probability) & frames
    return jnp.where(hole, _filling(k[7], mel, chain), mel)


def _inside(key: jax.Array, n: int, mask: augment.Mask) -> jax.Array:
    """Marks a run of round(n * share) cells, at least one, anywhere along an axis of n cells: bool [n]."""
    k_size, k_start = jax.random.split(key)
    size = jnp.clip(jnp.round(draws.uniform(k_size, mask.low, mask.high) * n), 1, n)
    start = jnp.floor(jax.random.uniform(k_start, ()) * (n - size + 1))
    cells = jnp.arange(n)
    return (cells >= start) & (cells < start + size)


def _centred(key: jax.Array, n: int, mask: augment.Mask) -> jax.Array:
    """Marks the cells up to half a drawn size away from a drawn centre, as the original does: bool [n].

    A run inside is 2 (size // 2) + 1 cells long, and shorter at the ends of the axis.
    """
    k_size, k_centre = jax.random.split(key)
    centre = jax.random.randint(k_centre, (), 0, n - 1)
    return jnp.abs(jnp.arange(n) - centre) <= _cells(k_size, n, mask) // 2


def _started(key: jax.Array, n: int, mask: augment.Mask) -> jax.Array:
    """Marks a run of cells, possibly none, that leaves room for the longest, as the benchmark does: bool [n]."""
    k_size, k_start = jax.random.split(key)
    start = jax.random.randint(k_start, (), 0, max(int(n - mask.high * n), 1))
    cells = jnp.arange(n)
    return (cells >= start) & (cells < start + _cells(k_size, n, mask))


def _cells(key: jax.Array, n: int, mask: augment.Mask) -> jax.Array:
    """Draws a whole number of cells, below the mask's highest share of n cells."""
    low, high = int(mask.low * n), int(mask.high * n)
    return jax.random.randint(key, (), low, max(high, low + 1))


_STRIPES = {"inside": _inside, "centred": _centred, "started": _started}


def _filling(key: jax.Array, mel: jax.Array, chain: augment.Chain) -> jax.Array:
    """Returns what a hole in `mel` is filled with, in the same shape.

    `zeros` is the maximum of every segment, `min` and `mean` are those of `mel`, `random` is noise between its
    extremes, and `range` is noise between fill_low and fill_high.
    """
    if chain.fill == "zeros":
        return jnp.zeros_like(mel)
    if chain.fill == "min":
        return jnp.full_like(mel, jnp.min(mel))
    if chain.fill == "mean":
        return jnp.full_like(mel, jnp.mean(mel))
    ends = (jnp.min(mel), jnp.max(mel)) if chain.fill == "random" else (chain.fill_low, chain.fill_high)
    return jax.random.uniform(key, mel.shape) * (ends[1] - ends[0]) + ends[0]
