"""The mini-search after an epoch: how often degraded stretches of unseen tracks are found at their exact place.

As in the original, the validation split's tracks, 30 s of each, form a small database of clean rows, and the same rows
degraded are the queries. The search is exhaustive, and the score of a sequence is the sum along its diagonal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nafp.models import spectrogram
from nafp.training import pipeline, step

if TYPE_CHECKING:
    from jaxtyping import Float, Int

EXCERPT_S = 30.0


class Examples(NamedTuple):
    """Validation clips, in order of track and time. batches: host batches of n clips in all. track: int32 [n]."""

    batches: list[pipeline.Batch]
    track: np.ndarray


def examples(
    windows: pipeline.TrainingWindows,
    read: Callable[[int, int], pipeline.Batch],
    *,
    tracks: int,
    rows_per_track: int,
    batch_size: int,
) -> Examples:
    """Reads the first rows of evenly spaced tracks. The last batch is filled up with repetitions.

    tracks: the number of tracks, or all if there are fewer.
    """
    numbers = np.unique(windows.track)
    chosen = numbers[np.linspace(0, len(numbers) - 1, min(tracks, len(numbers))).astype(int)]
    rows = np.concatenate([np.flatnonzero(windows.track == number)[:rows_per_track] for number in chosen])
    padded = np.resize(rows, -(-len(rows) // batch_size) * batch_size)
    clips = [read(position, int(row)) for position, row in enumerate(padded)]
    stacked = {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}
    starts = range(0, len(padded), batch_size)
    batches = [{name: x[i : i + batch_size] for name, x in stacked.items()} for i in starts]
    return Examples(batches, windows.track[rows])


class MiniSearch:
    """Embeds the validation examples with given parameters and scores them.

    lengths: of the queries, in segments.
    """

    def __init__(self, recipe: step.Recipe, banks: step.Banks, examples: Examples, *, lengths: Sequence[int]):
        self._examples, self._lengths, self._banks = examples, lengths, banks
        settings = recipe.augment._replace(replicas=1)

        def embed(variables: Any, batch: step.Batch, banks: step.Banks) -> jax.Array:
            mels = jnp.concatenate(sides(batch, banks))  # The network is compiled for both sides at once.
            z = jnp.asarray(recipe.model.apply(variables, mels))
            return z.reshape(2, -1, z.shape[-1])

        def sides(batch: step.Batch, banks: step.Banks) -> list[jax.Array]:
            if "mels" in batch:  # Ready pairs of spectrograms.
                return [batch["mels"][:, 0], batch["mels"][:, 1]]
            keys = step.keys_of(recipe.seed + 1, batch["position"])  # Other noise than training's.
            start = settings.context + settings.margin
            clean = batch["clip"][:, start : start + settings.segment].astype(jnp.float32) / 32768.0
            _, degraded = step.heard(settings, keys, batch, banks)
            return [spectrogram.log_mel(side, **recipe.mel) for side in (clean, degraded)]

        self._embed = jax.jit(embed)

    def __call__(self, variables: Any) -> tuple[dict[str, float], np.ndarray]:
        """Returns (the scores of `scores`, similarities [n, n] with queries in rows)."""
        variables = jax.device_put(variables)
        z = [np.asarray(self._embed(variables, batch, self._banks)) for batch in self._examples.batches]
        clean, degraded = np.concatenate(z, axis=1)[:, : len(self._examples.track)]
        similarity = degraded @ clean.T
        return scores(similarity, self._examples.track, lengths=self._lengths), similarity


def scores(
    similarity: Float[np.ndarray, "n n"], track: Int[np.ndarray, " n"], *, lengths: Sequence[int]
) -> dict[str, float]:
    """Computes what the original shows of its mini-search, and the mean over the lengths by which a run is judged.

    similarity: [n, n], query row by database row, both in the order of `track` [n]. Returns for every length L of
    sequences, in segments, the shares top1_L, top3_L and top10_L whose own place is among the first, and rank_L, its
    mean rank from 0. NaN where no track is that long. Also the mean distances of rows, 0 to 2, to their own
    ("positive_distance") and to those of other tracks ("negative_distance"), and "score", the mean of top1.
    """
    values: dict[str, float] = {}
    for length in lengths:
        own = ranks(similarity, track, n_segments=length)
        for most in (1, 3, 10):
            values[f"top{most}_{length}"] = float(np.mean(own < most)) if len(own) else float("nan")
        values[f"rank_{length}"] = float(np.mean(own)) if len(own) else float("nan")
    finite = [values[f"top1_{length}"] for length in lengths if np.isfinite(values[f"top1_{length}"])]
    return {**values, **_distances(similarity, track), "score": float(np.mean(finite)) if finite else 0.0}


def ranks(
    similarity: Float[np.ndarray, "n n"], track: Int[np.ndarray, " n"], *, n_segments: int
) -> Int[np.ndarray, " m"]:
    """Returns for every sequence how many places score better than its own. Of equal places the first is better.

    Sequences stay inside a track. Without a track that is long enough there are none.
    """
    n = len(track) - n_segments + 1
    whole = track[:n] == track[n_segments - 1 :] if n > 0 else np.zeros(0, bool)
    if not whole.any():
        return np.zeros(0, np.int64)
    total = np.zeros((n, n), np.float32)
    for i in range(n_segments):
        total += similarity[i : i + n, i : i + n]
    total[:, ~whole] = -np.inf
    own = total.diagonal()[:, None]
    better = (total > own) | ((total == own) & np.tri(n, k=-1, dtype=bool))
    return better.sum(axis=1)[whole]


def top1(similarity: Float[np.ndarray, "n n"], track: Int[np.ndarray, " n"], *, n_segments: int) -> float:
    """Computes the share of sequences whose best place is exactly their own. NaN if no track is that long."""
    own = ranks(similarity, track, n_segments=n_segments)
    return float(np.mean(own == 0)) if len(own) else float("nan")


def _distances(similarity: np.ndarray, track: np.ndarray) -> dict[str, float]:
    """Computes the mean distances of unit vectors, from their cosines."""
    apart = np.sqrt(np.maximum(2 - 2 * similarity, 0))
    others = track[:, None] != track[None]
    values = {"positive_distance": float(apart.diagonal().mean())}
    return values | ({"negative_distance": float(apart[others].mean())} if others.any() else {})
