"""Computes fingerprints track by track, with decoding ahead of the network, in bounded memory.

A few threads decode the next tracks, and another one cuts their audio into batches. The network works on one batch
while the next is prepared. A batch is filled across tracks: ten thousand short files go as fast as one long file.
"""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.corpora import corpus
from nafp.jobs import processors
from nafp.models import protocol
from nafp.search import peaks

_PIECES_AHEAD = 4  # Pieces of 30 s for each thread that decodes: 4 MB.
_BATCHES_AHEAD = 4
_MOST_THREADS = 8  # Threads that decode. With more, reading the disk would take longest.


class TrackOutcome(NamedTuple):
    """The fingerprints of a track, or the reason why it has none.

    name: of the track. seconds: of audio that were decoded. vectors: float32 [n, D]. reason: "" unless it failed.
    damage: "" unless the file held less than its header promises. peaks: uint8 [n, P], if they were asked for.
    """

    name: str
    seconds: float
    vectors: np.ndarray
    reason: str = ""
    damage: str = ""
    peaks: np.ndarray | None = None


_Part = tuple[int, TrackOutcome | None]


class _Batch(NamedTuple):
    """Segments of one or more tracks for one call of the network.

    waveforms: float32 [B, S]. parts: (number of rows, outcome of their track if it ends there), in the order of rows.
    """

    waveforms: np.ndarray
    parts: list[_Part]


def fingerprints(
    tracks: Sequence[corpus.Source],
    network: protocol.Network,
    *,
    threads: int | None = None,
    with_peaks: bool = False,
) -> Iterator[TrackOutcome]:
    """Yields the outcome of every track, in order.

    threads: number of threads that decode; None for one per processor, up to 8. with_peaks: whether these threads
    compute the spectral peaks of every segment, too.
    """
    threads = threads or min(_MOST_THREADS, processors.count())
    running: collections.deque[tuple[_Batch, Any]] = collections.deque()
    gather, over = _Gatherer(network.dim), threading.Event()
    try:
        pieces = _several_ahead((_pieces(track, network, with_peaks) for track in tracks), threads, over)
        for batch in _ahead(_batches(pieces, network), _BATCHES_AHEAD, over):
            running.append((batch, network.start(batch.waveforms)))
            if len(running) > 1:
                yield from gather(*running.popleft())
        for batch, pending in running:
            yield from gather(batch, pending)
    finally:
        over.set()


class _Gatherer:
    """Puts the rows of a track together, from all the batches that they are in."""

    def __init__(self, dim: int):
        self._dim = dim
        self._rows: list[np.ndarray] = []

    def __call__(self, batch: _Batch, pending: Any) -> Iterator[TrackOutcome]:
        vectors, first = np.asarray(pending).reshape(-1, self._dim), 0
        for n_rows, outcome in batch.parts:
            self._rows.append(vectors[first : first + n_rows].copy())  # A view would keep the batch in memory.
            first += n_rows
            if outcome is not None:
                whole, self._rows = np.concatenate(self._rows), []
                yield outcome if outcome.reason else _checked(outcome, whole)


def _checked(outcome: TrackOutcome, vectors: np.ndarray) -> TrackOutcome:
    if not np.isfinite(vectors).all():
        reason = "its fingerprints are not finite: perhaps its floating-point samples are far too loud"
        return outcome._replace(reason=reason)
    return outcome._replace(vectors=vectors)


def _pieces(track: corpus.Source, network: protocol.Network, with_peaks: bool) -> Iterator[np.ndarray | TrackOutcome]:
    """Yields the segments of a track, float32 [n, S] at a time, and then its outcome, still without vectors."""
    n_samples, n_rows, reason = 0, 0, ""
    damage: list[str] = []
    found: list[np.ndarray] = []

    def blocks() -> Iterator[np.ndarray]:
        nonlocal n_samples
        for block in _decoded(track, damage):
            n_samples += len(block)
            yield block

    try:
        for rows in segments.frame_blocks(blocks(), segment=network.segment, hop=network.hop):
            n_rows += len(rows)
            if with_peaks:
                found.append(peaks.of_segments(rows, sample_rate_hz=network.sample_rate_hz, hop=network.hop))
            yield rows
    except errors.Undecodable as error:
        reason = error.reason
    seconds = segments.to_seconds(n_samples, network.sample_rate_hz)
    if not n_rows and not reason:
        reason = f"{seconds:.2f} s, shorter than one segment"
    nothing = np.zeros((0, network.dim), np.float32)
    known = np.concatenate(found) if found else None
    yield TrackOutcome(track.name, seconds, nothing, reason, "; ".join(damage), known)


def _decoded(track: corpus.Source, damage: list[str]) -> Iterator[np.ndarray]:
    """Yields the audio of a track, float32 [S] at a time. Adds the decoder's reasons to `damage` if it is damaged."""
    with decode.complaints(damage.append):
        blocks = iter(track.blocks())
    while True:
        with decode.complaints(damage.append):  # Not around the yield: the thread does other things meanwhile.
            block = next(blocks, None)
        if block is None:
            return
        yield block


def _batches(pieces: Iterator[np.ndarray | TrackOutcome], network: protocol.Network) -> Iterator[_Batch]:
    """Packs segments into batches of exactly the network's size. The last one is padded with silence."""
    size, shape = network.batch_size, (network.batch_size, network.segment)
    waveforms, filled = np.zeros(shape, np.float32), 0
    parts: list[_Part] = []
    for piece in pieces:
        if isinstance(piece, TrackOutcome):
            parts.append((0, piece))
            continue
        while len(piece):
            taken = piece[: size - filled]
            waveforms[filled : filled + len(taken)] = taken
            parts.append((len(taken), None))
            filled, piece = filled + len(taken), piece[len(taken) :]
            if filled == size:
                yield _Batch(waveforms, parts)
                waveforms, filled, parts = np.zeros(shape, np.float32), 0, []
    if parts:
        yield _Batch(waveforms, parts)


def _several_ahead(sources: Iterable[Iterator], threads: int, over: threading.Event) -> Iterator:
    """Yields the items of all iterators in order. `threads` of the iterators at a time run ahead, each in a thread."""
    started: collections.deque[Iterator] = collections.deque()
    for items in sources:
        started.append(_ahead(items, _PIECES_AHEAD, over))
        if len(started) >= threads:
            yield from started.popleft()
    for items in started:
        yield from items


class _Failed(NamedTuple):
    error: BaseException


_END: Any = object()


def _ahead(items: Iterator, depth: int, over: threading.Event) -> Iterator:
    """Runs an iterator in a thread, up to `depth` items ahead, from now on and until `over` is set.

    An error that it raises is raised where its items are taken.
    """
    waiting: queue.Queue = queue.Queue(maxsize=depth)

    def put(item: Any) -> bool:
        while not over.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=0.2)
                return True
        return False

    def work() -> None:
        try:
            if all(put(item) for item in items):
                put(_END)
        except BaseException as error:
            put(_Failed(error))

    threading.Thread(target=work, daemon=True, name="nafp decode").start()
    return _taken(waiting, over)


def _taken(waiting: queue.Queue, over: threading.Event) -> Iterator:
    while not over.is_set():
        try:
            item = waiting.get(timeout=0.2)
        except queue.Empty:
            continue
        if item is _END:
            return
        if isinstance(item, _Failed):
            raise item.error
        yield item
