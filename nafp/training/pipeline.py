"""Windows of a corpus, in an endless random order, as batches of int16 clips read by grain.

The host only reads windows out of the memory-mapped corpus. Everything done to them happens on the accelerator.
The order of the windows follows from the seed and the epoch. The noise and speech drawn for a window follow from the
seed and its position in the stream. Threads, the number of hosts and interruptions therefore change nothing. Hosts take
consecutive parts of a global batch, so that of a number of devices each has the same pairs on any number of hosts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import grain.python as grain
import numpy as np

from nafp import errors
from nafp.audio import segments
from nafp.corpora import banks, corpus
from nafp.training.order import Epochs

Batch = dict[str, np.ndarray]
TRIES = 8  # Draws of noise before a quiet stretch is taken.


class Order(Protocol):
    """The windows of all hosts, one after another: position -> window."""

    def __len__(self) -> int: ...
    def __getitem__(self, position: int) -> int: ...


class Stream(Protocol):
    """An endless iterator over host batches that can be saved and restored, as grain's iterators can."""

    def __next__(self) -> Batch: ...
    def __iter__(self) -> Iterator[Batch]: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> None: ...


class TrainingWindows(NamedTuple):
    """Every audible segment of a split, at the hop.

    start: int64 [W], the first sample in the corpus. track: int32 [W], the index of its track in the corpus.
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
) -> TrainingWindows:
    """Lists the audible segments of a split's music. Raises errors.Invalid if there are none.

    segment, hop: in samples. silence_db: the RMS level of the quietest segment, dB of full scale. fraction: the share
    of the tracks used, from the first on.
    """
    tracks = [t for t in source.select(kind="music", split=split) if t.n_samples >= segment]
    if fraction < 1:
        tracks = tracks[: max(1, round(len(tracks) * fraction))]
    number = {track.path: i for i, track in enumerate(source.tracks)}
    counts = [segments.count(track.n_samples, segment=segment, hop=hop) for track in tracks]
    if not tracks:
        raise errors.Invalid(
            f"{source.folder}: no music in split {split!r}; it has {source.summary()}. "
            "Set config.data.train_split, or give the manifest a split column."
        )
    start = np.concatenate([track.first_sample + hop * np.arange(count) for track, count in zip(tracks, counts)])
    track_number = np.repeat(np.array([number[track.path] for track in tracks], np.int32), counts)
    loud = banks.loudness_db(source, start, n_samples=segment) >= silence_db
    if not loud.any():
        raise errors.Invalid(
            f"{source.folder}: all {len(start)} windows of split {split!r} are quieter than {silence_db} dB; "
            "lower config.data.silence_db."
        )
    return TrainingWindows(start[loud], track_number[loud])


class Noise:
    """Draws audible stretches of noise, speech or music, of n_samples each, out of a split of a corpus.

    silence_db: stretches whose mean magnitude is below this level are drawn again.
    """

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
        """Returns int16 [n_samples]. A short recording is repeated. A quiet stretch is drawn again, up to 8 times."""
        clip = self._read(rng)
        for _ in range(TRIES - 1):
            if np.abs(clip).mean(dtype=np.float32) >= self._quiet:
                break
            clip = self._read(rng)
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
    """Returns a source of noise, or None if the corpus has none of that kind in that split."""
    noise = Noise(source, kind=kind, split=split, n_samples=n_samples, silence_db=silence_db)
    return noise if len(noise) else None


class ClipReader:
    """Reads the clip of one window, and what is mixed into it, as its position in the stream draws it.

    segment, context, margin: in samples, as in `augment.Settings`. added: what is mixed in, by its name. variants:
    degraded versions of all samples of the source, of which the position draws one. replicas: with more than one, each
    has noise and a version of its own.
    """

    def __init__(
        self,
        source: corpus.Corpus,
        windows: TrainingWindows,
        *,
        segment: int,
        context: int,
        margin: int,
        seed: int,
        added: Mapping[str, Noise] | None = None,
        variants: Sequence[np.ndarray] = (),
        replicas: int = 1,
    ):
        self._samples, self._windows, self._seed = source.samples, windows, seed
        self._variants, self._replicas = variants, replicas
        self._before, self._after = context + margin, segment + margin
        self._added = dict(added or {})
        self._bounds = np.array([(t.first_sample, t.first_sample + t.n_samples) for t in source.tracks], np.int64)
        self._margin = margin

    def __call__(self, position: int, window: int) -> Batch:
        """Returns one example: clip int16 [clip_samples], track, position, what is added, and degraded if any.

        With several replicas, what is added and degraded has one row for each.
        """
        start, track = int(self._windows.start[window]), int(self._windows.track[window])
        example = {
            "clip": self.clip(start, track),
            "track": np.asarray(track, np.int32),
            "position": np.asarray(position % 2**32, np.uint32),
        }
        rng = np.random.default_rng((self._seed, position))
        for name, noise in self._added.items():
            example[name] = self._for_each(functools.partial(noise.draw, rng))
        if self._variants:
            example["degraded"] = self._for_each(lambda: self.clip(start, track, self._variant(rng)))
        return example

    def _for_each(self, draw: Callable[[], np.ndarray]) -> np.ndarray:
        """Draws [n] for one replica, [replicas, n] for several."""
        return draw() if self._replicas == 1 else np.stack([draw() for _ in range(self._replicas)])

    def _variant(self, rng: np.random.Generator) -> np.ndarray:
        return self._variants[int(rng.integers(len(self._variants)))]

    def clip(self, start: int, track: int, samples: np.ndarray | None = None) -> np.ndarray:
        """Reads context + margin samples before `start` and segment + margin after it. Outside the track is silence."""
        samples = self._samples if samples is None else samples
        low, high = self._bounds[track]
        start = min(start, max(int(high) - self._after, int(low) + self._margin))  # Keep offsets inside.
        start = max(start, min(int(low) + self._margin, int(high) - self._after))
        first, last = start - self._before, start + self._after
        inside = samples[max(first, low) : min(last, high)]
        return np.pad(inside, (max(low - first, 0), max(last - high, 0)))


def batches(
    n_windows: int,
    read: Callable[[int, int], Batch],
    *,
    seed: int,
    pairs: int,
    host: int = 0,
    hosts: int = 1,
    read_threads: int,
    prefetch: int,
    order: Epochs | None = None,
) -> Stream:
    """Returns this host's share of the global batches, without end. Every epoch has an order of its own.

    pairs: the pairs in the global batch, a multiple of `hosts`, or errors.Invalid is raised. Host h takes the h-th part
    of each global batch. prefetch: batches read ahead, by `read_threads` threads. order: without one, every epoch has
    each window once, in any order.
    """
    share = _Share(_order(n_windows, seed, order), pairs=pairs, host=host, hosts=hosts)
    stream = grain.MapDataset.source(share).map(lambda drawn: read(*drawn)).batch(share.n, drop_remainder=True)
    options = grain.ReadOptions(num_threads=read_threads, prefetch_buffer_size=max(prefetch, read_threads))
    return iter(stream.to_iter_dataset(options))


def numbers(
    n_windows: int, *, seed: int, pairs: int, host: int = 0, hosts: int = 1, order: Epochs | None = None
) -> Stream:
    """Returns the windows and positions that `batches` would read, in the same order.

    For recordings that lie on the accelerator: a batch is {"window": int32 [b], "position": uint32 [b]}.
    """
    share = _Share(_order(n_windows, seed, order), pairs=pairs, host=host, hosts=hosts)

    def numbered(batch: int) -> Batch:
        drawn = np.array([share[i] for i in range(batch * share.n, (batch + 1) * share.n)])
        return {"window": drawn[:, 1].astype(np.int32), "position": (drawn[:, 0] % 2**32).astype(np.uint32)}

    stream = grain.MapDataset.range(len(share) // share.n).map(numbered)
    return iter(stream.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)))


def go_to(stream: Stream, step: int) -> None:
    """Lets a stream go on with the global batch of this number, from 0: a run draws one for each step.

    This is all that a stream remembers, so that a run goes on with any number of hosts.
    """
    stream.set_state({**stream.get_state(), "next_index": step})


class _Share:
    """The pairs of one host, as a sequence without end: (position in the stream of all hosts, window).

    n: of each global batch. Raises errors.Invalid if `pairs` do not divide among the hosts.
    """

    def __init__(self, order: Order, *, pairs: int, host: int, hosts: int):
        if pairs % hosts:
            raise errors.Invalid(f"a global batch of {pairs} pairs does not divide among {hosts} hosts.")
        self.n = pairs // hosts
        self._order, self._pairs, self._first = order, pairs, host * self.n

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, i: int) -> tuple[int, int]:
        batch, within = divmod(int(i), self.n)
        position = batch * self._pairs + self._first + within
        return position, int(self._order[position])


def _order(n_windows: int, seed: int, order: Epochs | None) -> Order:
    """Returns the numbers of the windows, epoch after epoch without end, each epoch in an order of its own."""
    if order is not None:
        return order
    return grain.MapDataset.range(n_windows).seed(seed).shuffle().repeat()
