"""Recordings that lie in the accelerator's memory, where windows are cut and noise is drawn.

A host sends two numbers per pair, the window and the position in the stream, and no audio. The clips equal those of
`pipeline.ClipReader`, sample for sample. What is mixed in is drawn by the same rule, but from other random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nafp.corpora import corpus
from nafp.training import augment, draws, pipeline

_KEYS = {"noise": 3, "speech": 4, "song": 5}  # Folded into the key of a pair; `augment` folds in 0, 1 and 2.


class Stretches(NamedTuple):
    """The R recordings of noise, speech or music that are mixed in, where they lie in `Recordings.samples`.

    row: int32 [R], the first row of each. n_samples: int32 [R], the length of each. share: float32 [R], the cumulative
    share of the samples up to its end. quiet: the mean magnitude below which a stretch is drawn again.
    """

    row: jax.Array | np.ndarray
    n_samples: jax.Array | np.ndarray
    share: jax.Array | np.ndarray
    quiet: jax.Array | np.ndarray


class Places(NamedTuple):
    """Where the clip of every window lies: five int32 [W].

    row, offset: where the clip begins in `Recordings.samples`. left, right: the first sample of the clip that belongs
    to its track, and the first after the track's end. track: the index of the track in the corpus.
    """

    row: jax.Array | np.ndarray
    offset: jax.Array | np.ndarray
    left: jax.Array | np.ndarray
    right: jax.Array | np.ndarray
    track: jax.Array | np.ndarray


class Recordings(NamedTuple):
    """What lies on the accelerator.

    samples: int16 [rows, cell], one recording after another, each from the start of a row, with silence before the
    first and after the last. windows: the clips of the training windows. added: what is mixed in, by name.
    """

    samples: jax.Array | np.ndarray
    windows: Places
    added: dict[str, Stretches]


def n_bytes(
    music: corpus.Corpus,
    windows: pipeline.TrainingWindows,
    sounds: corpus.Corpus,
    *,
    split: str,
    kinds: Sequence[str],
) -> int:
    """Returns the bytes that `load` puts on each device for the same arguments, but for the silence at both ends."""
    recordings = [_recordings(music, windows), *(_added(sounds, kind, split) for kind in kinds)]
    return 2 * sum(-(-r.track.n_samples // music.cell) * music.cell for r in _once(recordings))


def load(
    s: augment.Settings,
    music: corpus.Corpus,
    windows: pipeline.TrainingWindows,
    sounds: corpus.Corpus,
    *,
    split: str,
    kinds: Sequence[str],
    silence_db: float,
) -> Recordings:
    """Copies the tracks of the windows, and what is mixed in from a split, into one array on the host.

    kinds: any names of `augment.ADDED`. Both corpora must have the same sample rate, and hence the same cell. A track
    that is needed twice is copied once.
    """
    cell = music.cell
    added = {kind: _added(sounds, kind, split) for kind in kinds}
    recordings = _recordings(music, windows)
    needed = _once([recordings, *added.values()])
    edge = s.clip_samples // cell + 2
    first = edge + np.cumsum([0] + [-(-r.track.n_samples // cell) for r in needed])
    samples = np.zeros((first[-1] + edge, cell), np.int16)
    rows = dict(zip(needed, first.tolist()))
    for r, row in rows.items():
        samples.reshape(-1)[row * cell : row * cell + r.track.n_samples] = r.source.audio(r.track)
    stretches = {
        kind: _stretches(np.array([rows[r] for r in among]), [r.track for r in among], silence_db)
        for kind, among in added.items()
    }
    row_of = dict(zip(np.unique(windows.track).tolist(), (rows[r] for r in recordings)))
    return Recordings(samples, _places(s, music, windows, row_of), stretches)


class _Recording(NamedTuple):
    """A track and the corpus that it lies in."""

    source: corpus.Corpus
    track: corpus.CorpusTrack


def _recordings(music: corpus.Corpus, windows: pipeline.TrainingWindows) -> list[_Recording]:
    """Lists the tracks that have windows, by their index in the corpus."""
    return [_Recording(music, music.tracks[i]) for i in np.unique(windows.track).tolist()]


def _added(sounds: corpus.Corpus, kind: str, split: str) -> list[_Recording]:
    """Lists the recordings of a split that `kind` is drawn from."""
    return [_Recording(sounds, t) for t in sounds.select(kind=augment.ADDED[kind], split=split) if t.n_samples]


def _once(recordings: Sequence[list[_Recording]]) -> list[_Recording]:
    """Lists every recording once, in the order in which they are first named."""
    return list(dict.fromkeys(r for several in recordings for r in several))


def _stretches(rows: np.ndarray, recordings: list[corpus.CorpusTrack], silence_db: float) -> Stretches:
    length = np.array([t.n_samples for t in recordings], np.int64)
    share = np.cumsum(length / max(length.sum(), 1)).astype(np.float32)
    quiet = np.asarray(32768.0 * 10.0 ** (silence_db / 20.0), np.float32)
    return Stretches(rows.astype(np.int32), length.astype(np.int32), share, quiet)


def _places(
    s: augment.Settings, music: corpus.Corpus, windows: pipeline.TrainingWindows, rows: dict[int, int]
) -> Places:
    """Computes where the clip of every window lies, as `pipeline.ClipReader.clip` does for one.

    rows: the index of a track -> the row that it starts at.
    """
    before, after = s.context + s.margin, s.segment + s.margin
    low = np.array([t.first_sample for t in music.tracks], np.int64)[windows.track]
    high = low + np.array([t.n_samples for t in music.tracks], np.int64)[windows.track]
    start = np.minimum(windows.start, np.maximum(high - after, low + s.margin))
    start = np.maximum(start, np.minimum(low + s.margin, high - after))
    first = start - before - low  # In the track: negative where the clip begins before it.
    row = np.array([rows[i] for i in windows.track.tolist()], np.int64) + first // music.cell
    left, right = np.maximum(-first, 0), np.minimum(high - low - first, before + after)
    return Places(*(x.astype(np.int32) for x in (row, first % music.cell, left, right, windows.track)))


def read(
    s: augment.Settings, recordings: Recordings, keys: jax.Array, batch: dict[str, jax.Array]
) -> dict[str, jax.Array]:
    """Turns the windows [b] and positions [b] of a batch into a host's batch, with clips, tracks and what is mixed in.

    keys: [b], one per pair, folded from the seed and its position. With several replicas, what is mixed in has a row
    for each.
    """
    window = batch["window"]
    full = {
        "clip": jax.vmap(lambda w: _clip(recordings, w, s.clip_samples))(window),
        "track": jnp.asarray(recordings.windows.track)[window],
        "position": batch["position"],
    }
    for name, stretches in recordings.added.items():
        drawn = [
            _drawn(recordings.samples, stretches, draws.of_replicas(keys, i), _KEYS[name], s.heard_samples)
            for i in range(s.replicas)
        ]
        full[name] = drawn[0] if s.replicas == 1 else jnp.stack(drawn, axis=1)
    return full


def _drawn(samples: jax.Array | np.ndarray, among: Stretches, keys: jax.Array, number: int, n: int) -> jax.Array:
    return jax.vmap(lambda key: _stretch(samples, among, jax.random.fold_in(key, number), n))(keys)


def _cut(samples: jax.Array | np.ndarray, row: jax.Array, offset: jax.Array, n: int) -> jax.Array:
    """Reads n samples from an offset in a row on. An int32 that counts rows, not samples, reaches 1e12 samples."""
    cell = samples.shape[1]
    block = jax.lax.dynamic_slice(samples, (row, 0), (n // cell + 2, cell)).reshape(-1)
    return jax.lax.dynamic_slice(block, (offset,), (n,))


def _clip(recordings: Recordings, window: jax.Array, n: int) -> jax.Array:
    place, index = jax.tree.map(lambda x: jnp.asarray(x)[window], recordings.windows), jnp.arange(n)
    clip = _cut(recordings.samples, place.row, place.offset, n)
    return jnp.where((index >= place.left) & (index < place.right), clip, 0)


def _stretch(samples: jax.Array | np.ndarray, among: Stretches, key: jax.Array, n: int) -> jax.Array:
    """Draws an audible stretch of n samples as `pipeline.Noise` does: long recordings more often, quiet ones again."""

    def again(state):
        tries, clip = state
        quiet = jnp.mean(jnp.abs(clip.astype(jnp.float32))) < among.quiet
        return (tries == 0) | (quiet & (tries < pipeline.TRIES))

    def draw(state):
        tries, _ = state
        return tries + 1, _anywhere(samples, among, jax.random.fold_in(key, tries), n)

    return jax.lax.while_loop(again, draw, (jnp.int32(0), jnp.zeros(n, samples.dtype)))[1]


def _anywhere(samples: jax.Array | np.ndarray, among: Stretches, key: jax.Array, n: int) -> jax.Array:
    """Draws n samples from anywhere in one recording. A shorter recording is repeated."""
    k_which, k_start = jax.random.split(key)
    share = jnp.asarray(among.share)
    which = jnp.minimum(jnp.searchsorted(share, jax.random.uniform(k_which), side="right"), len(share) - 1)
    row, length = jnp.asarray(among.row)[which], jnp.asarray(among.n_samples)[which]
    short = length <= n
    start = jax.random.randint(k_start, (), 0, jnp.where(short, length, length - n + 1))
    cell = samples.shape[1]
    begin = jnp.where(short, 0, start)
    clip = _cut(samples, row + begin // cell, begin % cell, n)
    return jnp.where(short, clip[(start + jnp.arange(n)) % length], clip)
