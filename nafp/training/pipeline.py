"""grain: which windows, in which order -> batches of int16 clips.

The host only picks windows out of the memory-mapped corpus; everything done to them happens on the accelerator.
A window's order follows from the seed and the epoch, and what is drawn for it (noise, speech) from the seed and its
position in the stream: the stream does not depend on threads, on the number of hosts, or on interruptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import grain.python as grain
import numpy as np

from nafp import errors
from nafp.audio import segments
from nafp.corpora import banks, corpus


class Windows(NamedTuple):
    """The training windows: every audible segment of the split, at the hop.

    start: [W] int64, first sample in the corpus. track: [W] int32, index into the corpus' tracks.
    """

    start: np.ndarray
    track: np.ndarray


def windows(
    source: corpus.Corpus,
    *,
    split: str,
    segment: int,
    hop: int,
    silence_db: float,
    fraction: float = 1.0,
) -> Windows:
    """Lists the audible segments of a split's music. Raises ValueError when there are none."""
    chosen = [t for t in source.select(kind="music", split=split) if t.n_samples >= segment]
    kept = chosen[: max(1, round(len(chosen) * fraction))] if fraction < 1 else chosen
    number = {track.path: i for i, track in enumerate(source.tracks)}
    starts, tracks = [], []
    for track in kept:
        start = track.first_sample + hop * np.arange(segments.count(track.n_samples, segment=segment, hop=hop))
        starts.append(start)
        tracks.append(np.full(len(start), number[track.path], np.int32))
    if not starts:
        raise errors.Invalid(
            f"{source.folder}: no music in split {split!r}; it has {source.summary()}. "
            "Set config.data.train_split, or give the manifest a split column."
        )
    start, track = np.concatenate(starts), np.concatenate(tracks)
    loud = banks.loudness_db(source, start, n_samples=segment) >= silence_db
    if not loud.any():
        raise errors.Invalid(
            f"{source.folder}: all {len(start)} windows of split {split!r} are quieter than {silence_db} dB; "
            "lower config.data.silence_db."
        )
    return Windows(start[loud], track[loud])


class Noise:
    """Random audible stretches of noise or speech out of a corpus."""

    def __init__(self, source: corpus.Corpus, *, kind: str, split: str, n_samples: int, silence_db: float):
        tracks = [t for t in source.select(kind=kind, split=split) if t.n_samples > 0]
        self._samples = source.samples
        self._first = np.array([t.first_sample for t in tracks], np.int64)
        self._length = np.array([t.n_samples for t in tracks], np.int64)
        self._share = np.cumsum(self._length / max(self._length.sum(), 1))
        self._n_samples = n_samples
        self._quiet = 32768.0 * 10.0 ** (silence_db / 20.0)

    def __len__(self) -> int:
        return len(self._first)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Returns int16 [n_samples]; short recordings are repeated, quiet stretches drawn again (8 times)."""
        for _ in range(8):
            clip = self._read(rng)
            if np.abs(clip).mean(dtype=np.float32) >= self._quiet:
                break
        return clip

    def _read(self, rng: np.random.Generator) -> np.ndarray:
        i = min(int(np.searchsorted(self._share, rng.random(), side="right")), len(self._first) - 1)
        first, length = self._first[i], self._length[i]
        if length <= self._n_samples:
            whole = self._samples[first : first + length]
            return np.resize(np.roll(whole, -int(rng.integers(length))), self._n_samples)
        start = first + int(rng.integers(length - self._n_samples + 1))
        return np.array(self._samples[start : start + self._n_samples])


def noise_source(source: corpus.Corpus, *, kind: str, split: str, n_samples: int, silence_db: float) -> Noise | None:
    """Returns a source of noise, or None when the corpus has none of that kind in that split."""
    found = Noise(source, kind=kind, split=split, n_samples=n_samples, silence_db=silence_db)
    return found if len(found) else None


class Reader:
    """Reads the clip of one window, and the noise that its position in the stream draws.

    variants: degraded versions of all samples of the source; the position draws one of them.
    """

    def __init__(
        self,
        source: corpus.Corpus,
        listed: Windows,
        *,
        segment: int,
        context: int,
        margin: int,
        seed: int,
        noise: Noise | None = None,
        speech: Noise | None = None,
        variants: Sequence[np.ndarray] = (),
    ):
        self._samples, self._windows, self._seed = source.samples, listed, seed
        self._variants = variants
        self._before, self._after = context + margin, segment + margin
        self._noise, self._speech = noise, speech
        self._bounds = np.array([(t.first_sample, t.first_sample + t.n_samples) for t in source.tracks], np.int64)
        self._margin, self._segment = margin, segment

    def __call__(self, position: int, window: int) -> dict[str, np.ndarray]:
        start, track = int(self._windows.start[window]), int(self._windows.track[window])
        example = {
            "clip": self.clip(start, track),
            "track": np.int32(track),
            "position": np.uint32(position % 2**32),
        }
        rng = np.random.default_rng((self._seed, position))
        if self._noise is not None:
            example["noise"] = self._noise.draw(rng)
        if self._speech is not None:
            example["speech"] = self._speech.draw(rng)
        if self._variants:
            degraded = self._variants[rng.integers(len(self._variants))]
            example["degraded"] = self.clip(start, track, degraded)
        return example

    def clip(self, start: int, track: int, samples: np.ndarray | None = None) -> np.ndarray:
        """Reads context + margin before `start` and segment + margin after; silence outside the track."""
        samples = self._samples if samples is None else samples
        low, high = self._bounds[track]
        start = min(start, max(int(high) - self._after, int(low) + self._margin))  # Keep offsets inside.
        start = max(start, min(int(low) + self._margin, int(high) - self._after))
        first, last = start - self._before, start + self._after
        inside = samples[max(first, low) : min(last, high)]
        return np.pad(inside, (max(low - first, 0), max(last - high, 0)))


def batches(
    n_windows: int,
    read: Reader,
    *,
    seed: int,
    pairs: int,
    host: int = 0,
    hosts: int = 1,
    read_threads: int = 4,
    prefetch: int = 8,
) -> Any:
    """Returns a grain iterator (it has get_state and set_state) over this host's share of the global batches.

    pairs: of the global batch; it must divide by hosts. Every epoch has its own order; the stream never ends.
    Host h takes the pairs h, h + hosts, ... of each global batch.
    """
    mine = _share_of(pairs, hosts)
    stream = _order(n_windows, seed).map_with_index(read)
    if hosts > 1:
        stream = stream[host::hosts]
    stream = stream.batch(mine, drop_remainder=True)
    options = grain.ReadOptions(num_threads=read_threads, prefetch_buffer_size=max(prefetch, read_threads))
    return iter(stream.to_iter_dataset(options))


def numbers(n_windows: int, *, seed: int, pairs: int, host: int = 0, hosts: int = 1) -> Any:
    """Returns a grain iterator over the windows and positions that `batches` would read, in the same order.

    For recordings that lie on the accelerator: a batch is {"window": int32 [b], "position": uint32 [b]}.
    """
    mine = _share_of(pairs, hosts)

    def numbered(i: int, windows: np.ndarray) -> dict[str, np.ndarray]:
        position = (i * mine + np.arange(mine)) * hosts + host
        return {
            "window": np.asarray(windows, np.int32),
            "position": (position % 2**32).astype(np.uint32),
        }

    stream = _order(n_windows, seed)[host::hosts]
    stream = stream.batch(mine, drop_remainder=True).map_with_index(numbered)
    return iter(stream.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)))


def _order(n_windows: int, seed: int) -> grain.MapDataset:
    """The windows of one epoch after another, each in an order of its own, without end."""
    return grain.MapDataset.range(n_windows).seed(seed).shuffle().repeat()


def _share_of(pairs: int, hosts: int) -> int:
    if pairs % hosts:
        raise errors.Invalid(f"a global batch of {pairs} pairs does not divide among {hosts} hosts.")
    return pairs // hosts
