"""The mini-search after an epoch: how often degraded stretches of unseen tracks are found at their exact place.

As in the original, the validation split's tracks, 30 s of each, form a small database of clean rows, and the same rows
degraded are the queries. The search is exhaustive, and the score of a sequence is the sum along its diagonal.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
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
    read: pipeline.ClipReader,
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
            keys = step.keys_of(recipe.seed + 1, batch["position"])  # Other noise than training's.
            start = settings.context + settings.margin
            clean = batch["clip"][:, start : start + settings.segment].astype(jnp.float32) / 32768.0
            _, degraded = step.heard(settings, keys, batch, banks)
            mels = [spectrogram.log_mel(side, **recipe.mel) for side in (clean, degraded)]
            return jnp.stack([jnp.asarray(recipe.model.apply(variables, mel)) for mel in mels])

        self._embed = jax.jit(embed)

    def __call__(self, variables: Any) -> tuple[dict[str, float], np.ndarray]:
        """Returns ({"top1_L": rate for every length L, "score": their mean}, similarities [n, n], queries in rows)."""
        variables = jax.device_put(variables)
        z = [np.asarray(self._embed(variables, batch, self._banks)) for batch in self._examples.batches]
        clean, degraded = np.concatenate(z, axis=1)[:, : len(self._examples.track)]
        similarity = degraded @ clean.T
        rates = {f"top1_{n}": top1(similarity, self._examples.track, n_segments=n) for n in self._lengths}
        finite = [rate for rate in rates.values() if np.isfinite(rate)]
        return {**rates, "score": float(np.mean(finite)) if finite else 0.0}, similarity


def top1(similarity: Float[np.ndarray, "n n"], track: Int[np.ndarray, " n"], *, n_segments: int) -> float:
    """Computes the share of sequences whose best place is exactly their own. NaN if no track is that long.

    similarity: [n, n], query row by database row, both in the order of `track` [n]. Sequences stay inside a track.
    """
    n = len(track) - n_segments + 1
    if n < 1:
        return float("nan")
    whole = track[:n] == track[n_segments - 1 :]
    if not whole.any():
        return float("nan")
    total = np.zeros((n, n), np.float32)
    for i in range(n_segments):
        total += similarity[i : i + n, i : i + n]
    total[:, ~whole] = -np.inf
    return float(np.mean(total.argmax(axis=1)[whole] == np.flatnonzero(whole)))


def picture(similarity: np.ndarray, path: pathlib.Path, *, title: str, n_rows: int = 120) -> None:
    """Draws the first rows of the similarity matrix into a PNG. A bright diagonal shows a network that recognises."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(similarity[:n_rows, :n_rows], vmin=-0.2, vmax=1.0, cmap="magma")
    axes.set(xlabel="database row (clean)", ylabel="query row (degraded)", title=title)
    figure.colorbar(image, label="cosine similarity")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
