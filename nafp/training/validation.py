"""Mini-search: after an epoch, how often does a degraded stretch of an unseen track find its place?

As in the original: the validation split's tracks, 30 s each, every row clean in a small database and degraded as a
query; exhaustive search, the score of a sequence is the sum along its diagonal.
"""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nafp.models import spectrogram
from nafp.training import pipeline, step

EXCERPT_S = 30.0


class Examples(NamedTuple):
    """Validation clips, in order of track and time. batches: host batches; track: [n] int32, one entry a row."""

    batches: list[dict[str, np.ndarray]]
    track: np.ndarray


def examples(
    listed: pipeline.Windows,
    read: pipeline.Reader,
    *,
    tracks: int,
    rows_per_track: int,
    batch_size: int,
) -> Examples:
    """Reads the first rows of evenly spaced tracks. The last batch is padded by repetition."""
    there = np.unique(listed.track)
    chosen = there[np.linspace(0, len(there) - 1, min(tracks, len(there))).astype(int)]
    rows = np.concatenate([np.flatnonzero(listed.track == t)[:rows_per_track] for t in chosen])
    padded = np.resize(rows, -(-len(rows) // batch_size) * batch_size)
    read_all = [read(position, int(row)) for position, row in enumerate(padded)]
    stacked = {name: np.stack([e[name] for e in read_all]) for name in read_all[0]}
    cut = range(0, len(padded), batch_size)
    return Examples([{k: v[i : i + batch_size] for k, v in stacked.items()} for i in cut], listed.track[rows])


class MiniSearch:
    """Embeds the validation examples with given parameters and scores them."""

    def __init__(self, recipe: step.Recipe, banks: step.Banks, held: Examples, *, lengths: tuple[int, ...]):
        self._held, self._lengths, self._banks = held, lengths, banks
        s = recipe.augment

        def embed(variables, batch, banks):
            keys = jax.vmap(lambda p: jax.random.fold_in(jax.random.key(recipe.seed + 1), p))(batch["position"])
            start = s.context + s.margin
            clean = batch["clip"][:, start : start + s.segment].astype(jnp.float32) / 32768.0
            _, degraded = step.heard(s, keys, batch, banks)
            mels = [spectrogram.log_mel(side, **recipe.mel) for side in (clean, degraded)]
            return jnp.stack([recipe.model.apply(variables, mel) for mel in mels])

        self._embed = jax.jit(embed)

    def __call__(self, variables: Any) -> tuple[dict[str, float], np.ndarray]:
        """Returns ({"top1_L": rate, ..., "score": their mean}, the similarity matrix [n, n], queries by rows)."""
        variables = jax.device_put(variables)
        z = [np.asarray(self._embed(variables, batch, self._banks)) for batch in self._held.batches]
        clean, degraded = np.concatenate(z, axis=1)[:, : len(self._held.track)]
        similarity = degraded @ clean.T
        rates = {f"top1_{n}": top1(similarity, self._held.track, n_segments=n) for n in self._lengths}
        known = [r for r in rates.values() if np.isfinite(r)]
        return {**rates, "score": float(np.mean(known)) if known else 0.0}, similarity


def top1(similarity: np.ndarray, track: np.ndarray, *, n_segments: int) -> float:
    """Share of sequences whose best place is exactly their own; NaN when no track is that long.

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
    """Draws the first rows of the similarity matrix: a bright diagonal is a network that recognises."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    drawn = axes.imshow(similarity[:n_rows, :n_rows], vmin=-0.2, vmax=1.0, cmap="magma")
    axes.set(xlabel="database row (clean)", ylabel="query row (degraded)", title=title)
    figure.colorbar(drawn, label="cosine similarity")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
