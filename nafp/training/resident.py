"""The recordings themselves on the accelerator: windows are cut there, and noise is drawn there.

A host then sends two numbers for a pair, the window and the position in the stream, and no sound. The clips are those
that `pipeline.Reader` cuts, to the sample; noise and speech are drawn by the same rule from other random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nafp.corpora import corpus
from nafp.training import augment

if TYPE_CHECKING:
    from nafp.training import pipeline

_TRIES = 8  # As often as `pipeline.Noise` draws before it takes a quiet stretch.
_KEYS = {"noise": 3, "speech": 4}  # Folded into the key of a pair; `augment` folds in 0, 1 and 2.


class Stretches(NamedTuple):
    """Recordings of noise or speech: first row and length in samples [R] int32, the share up to each [R] float32."""

    row: jax.Array
    n_samples: jax.Array
    share: jax.Array
    quiet: jax.Array  # Mean magnitude below which a stretch is drawn again.


class Laid(NamedTuple):
    """What lies on the accelerator.

    samples: int16 [rows, cell], one recording after another, each from the start of a row, silence before and after
    all. For every window [W] int32: row and offset where its clip begins, left and right between which the clip is
    its own track's, and the track.
    """

    samples: jax.Array
    row: jax.Array
    offset: jax.Array
    left: jax.Array
    right: jax.Array
    track: jax.Array
    noise: Stretches | None
    speech: Stretches | None


def n_bytes(music: corpus.Corpus, listed: pipeline.Windows, sounds: corpus.Corpus, *, split: str) -> int:
    """Says what `lay` will put on each device at most: with noise and speech."""
    kept = [music.tracks[i] for i in np.unique(listed.track)]
    kept += [t for kind in _KEYS for t in sounds.select(kind=kind, split=split)]
    return 2 * sum(-(-t.n_samples // music.cell) * music.cell for t in kept)


def lay(
    s: augment.Settings,
    music: corpus.Corpus,
    listed: pipeline.Windows,
    sounds: corpus.Corpus,
    *,
    split: str,
    kinds: Sequence[str],
    silence_db: float,
) -> Laid:
    """Copies the tracks of the windows, and the noise or speech asked for, into one array on the host.

    kinds: of "noise" and "speech". Both corpora have one rate, and so one cell.
    """
    cell = music.cell
    heard = {kind: [t for t in sounds.select(kind=kind, split=split) if t.n_samples] for kind in kinds}
    tracks = np.unique(listed.track)
    pieces = [music.audio(music.tracks[i]) for i in tracks]
    pieces += [sounds.audio(t) for kind in kinds for t in heard[kind]]
    edge = max(clip_samples(s), noise_samples(s)) // cell + 2
    first = edge + np.cumsum([0] + [-(-len(piece) // cell) for piece in pieces])
    samples = np.zeros((first[-1] + edge, cell), np.int16)
    for row, piece in zip(first, pieces):
        samples.reshape(-1)[row * cell : row * cell + len(piece)] = piece
    stretches, at = {}, len(tracks)
    for kind in kinds:
        rows, at = first[at : at + len(heard[kind])], at + len(heard[kind])
        stretches[kind] = _stretches(rows, heard[kind], silence_db)
    places = _places(s, music, listed, dict(zip(tracks.tolist(), first)), cell)
    return Laid(samples, *places, stretches.get("noise"), stretches.get("speech"))


def _stretches(rows: np.ndarray, recordings: list[corpus.CorpusTrack], silence_db: float) -> Stretches:
    length = np.array([t.n_samples for t in recordings], np.int64)
    share = np.cumsum(length / max(length.sum(), 1)).astype(np.float32)
    quiet = np.float32(32768.0 * 10.0 ** (silence_db / 20.0))
    return Stretches(rows.astype(np.int32), length.astype(np.int32), share, quiet)


def _places(s: augment.Settings, music: corpus.Corpus, listed: pipeline.Windows, rows: dict, cell: int) -> list:
    """Works out row, offset, left, right and track of every window, as `pipeline.Reader.clip` does for one."""
    before, after = s.context + s.margin, s.segment + s.margin
    low = np.array([t.first_sample for t in music.tracks], np.int64)[listed.track]
    high = low + np.array([t.n_samples for t in music.tracks], np.int64)[listed.track]
    start = np.minimum(listed.start, np.maximum(high - after, low + s.margin))
    start = np.maximum(start, np.minimum(low + s.margin, high - after))
    first = start - before - low  # In the track: negative where the clip begins before it.
    row = np.array([rows[i] for i in listed.track.tolist()], np.int64) + first // cell
    left, right = np.maximum(-first, 0), np.minimum(high - low - first, before + after)
    return [x.astype(np.int32) for x in (row, first % cell, left, right, listed.track)]


def clip_samples(s: augment.Settings) -> int:
    return s.context + s.segment + 2 * s.margin


def noise_samples(s: augment.Settings) -> int:
    return s.context + s.segment


def read(s: augment.Settings, laid: Laid, keys: jax.Array, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Turns windows [b] and positions [b] into what a host would have sent: clips, noise, speech and tracks.

    keys: [b], one a pair, folded from the seed and its position.
    """
    window = batch["window"]
    found = {
        "clip": jax.vmap(lambda w: _clip(laid, w, clip_samples(s)))(window),
        "track": laid.track[window],
        "position": batch["position"],
    }
    for name, number in _KEYS.items():
        if getattr(laid, name) is not None:
            found[name] = _drawn(s, laid, getattr(laid, name), keys, number)
    return found


def _drawn(s: augment.Settings, laid: Laid, among: Stretches, keys: jax.Array, number: int) -> jax.Array:
    def one(key):
        return _stretch(laid.samples, among, jax.random.fold_in(key, number), noise_samples(s))

    return jax.vmap(one)(keys)


def _cut(samples: jax.Array, row: jax.Array, offset: jax.Array, n: int) -> jax.Array:
    """Reads n samples from `offset` of a row on. Rows are counted, not samples: an int32 reaches 1e12 samples."""
    cell = samples.shape[1]
    block = jax.lax.dynamic_slice(samples, (row, 0), (n // cell + 2, cell)).reshape(-1)
    return jax.lax.dynamic_slice(block, (offset,), (n,))


def _clip(laid: Laid, window: jax.Array, n: int) -> jax.Array:
    clip, at = _cut(laid.samples, laid.row[window], laid.offset[window], n), jnp.arange(n)
    inside = (at >= laid.left[window]) & (at < laid.right[window])
    return jnp.where(inside, clip, 0)


def _stretch(samples: jax.Array, among: Stretches, key: jax.Array, n: int) -> jax.Array:
    """Draws an audible stretch of n samples, as `pipeline.Noise` does: by length, quiet ones again."""

    def again(state):
        tries, clip = state
        quiet = jnp.mean(jnp.abs(clip.astype(jnp.float32))) < among.quiet
        return (tries == 0) | (quiet & (tries < _TRIES))

    def draw(state):
        tries, _ = state
        return tries + 1, _anywhere(samples, among, jax.random.fold_in(key, tries), n)

    return jax.lax.while_loop(again, draw, (jnp.int32(0), jnp.zeros(n, samples.dtype)))[1]


def _anywhere(samples: jax.Array, among: Stretches, key: jax.Array, n: int) -> jax.Array:
    """Draws n samples of one recording; a shorter one is repeated, from anywhere in it on."""
    k_which, k_start = jax.random.split(key)
    which = jnp.searchsorted(among.share, jax.random.uniform(k_which), side="right")
    which = jnp.minimum(which, len(among.share) - 1)
    row, length = among.row[which], among.n_samples[which]
    short = length <= n
    start = jax.random.randint(k_start, (), 0, jnp.where(short, length, length - n + 1))
    cell = samples.shape[1]
    begin = jnp.where(short, 0, start)
    clip = _cut(samples, row + begin // cell, begin % cell, n)
    return jnp.where(short, clip[(start + jnp.arange(n)) % length], clip)
