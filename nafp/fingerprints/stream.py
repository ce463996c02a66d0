"""Tracks of audio -> fingerprints, track by track: decoding ahead of the network, in bounded memory.

A few threads decode the next tracks, one cuts what they give into batches, and the network works on one batch while
the next is prepared. A batch is filled across tracks: ten thousand short files go as fast as one long one.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.corpora import corpus
from nafp.jobs import worker_processes
from nafp.models import protocol

_PIECES_AHEAD = 4  # Of 30 s, for each thread that decodes: 4 MB.
_BATCHES_AHEAD = 4
_MOST_THREADS = 8  # That decode; by then reading the disk is what takes long.


class Outcome(NamedTuple):
    """What became of a track: its fingerprints [n, D], or the reason why it has none.

    damage: what the decoder says of a file that gave less than its header promises.
    """

    name: str
    seconds: float
    vectors: np.ndarray
    reason: str = ""
    damage: str = ""


class _Batch(NamedTuple):
    """Segments [B, S], and whose they are: (number of rows, outcome of the track if it ends there), in order."""

    waveforms: np.ndarray
    parts: list[tuple[int, Outcome | None]]


def fingerprints(
    tracks: Sequence[corpus.Source], network: protocol.Network, *, threads: int | None = None
) -> Iterator[Outcome]:
    """Yields the outcome of every track, in order. threads: that decode; None for one per processor, up to 8."""
    threads = threads or min(_MOST_THREADS, worker_processes.processors())
    running: collections.deque[tuple[_Batch, Any]] = collections.deque()
    gather, over = _Gatherer(network.dim), threading.Event()
    with _complaints() as complaints:
        try:
            readers = (_pieces(track, network, complaints) for track in tracks)
            pieces = _several_ahead(readers, threads, over)
            for batch in _ahead(_batches(pieces, network), _BATCHES_AHEAD, over):
                running.append((batch, network.start(batch.waveforms)))
                if len(running) > 1:
                    yield from gather(*running.popleft())
            for left in running:
                yield from gather(*left)
        finally:
            over.set()


class _Gatherer:
    """Puts the rows of a track together, from as many batches as they are in."""

    def __init__(self, dim: int):
        self._dim = dim
        self._rows: list[np.ndarray] = []

    def __call__(self, batch: _Batch, pending: Any) -> Iterator[Outcome]:
        vectors, first = np.asarray(pending).reshape(-1, self._dim), 0
        for n_rows, outcome in batch.parts:
            self._rows.append(vectors[first : first + n_rows].copy())  # Lets go of the batch.
            first += n_rows
            if outcome is not None:
                whole, self._rows = np.concatenate(self._rows), []
                yield outcome if outcome.reason else _checked(outcome, whole)


def _checked(outcome: Outcome, vectors: np.ndarray) -> Outcome:
    if not np.isfinite(vectors).all():
        reason = "its fingerprints are not finite; is it floating point of absurd loudness?"
        return outcome._replace(reason=reason)
    return outcome._replace(vectors=vectors)


def _pieces(track: corpus.Source, network: protocol.Network, complaints: _Complaints) -> Iterator[np.ndarray | Outcome]:
    """Yields the segments of a track, [n, S] at a time, and its outcome, still without vectors."""
    n_samples, n_rows, reason = 0, 0, ""

    def blocks() -> Iterator[np.ndarray]:
        nonlocal n_samples
        for block in track.blocks():
            n_samples += len(block)
            yield block

    try:
        for rows in segments.frame_blocks(blocks(), segment=network.segment, hop=network.hop):
            n_rows += len(rows)
            yield rows
    except errors.Undecodable as error:
        reason = error.reason
    seconds = segments.to_seconds(n_samples, network.sample_rate_hz)
    if not n_rows and not reason:
        reason = f"{seconds:.2f} s, shorter than one segment"
    nothing = np.zeros((0, network.dim), np.float32)
    yield Outcome(track.name, seconds, nothing, reason, complaints.take())


def _batches(pieces: Iterator[np.ndarray | Outcome], network: protocol.Network) -> Iterator[_Batch]:
    """Packs segments into batches of exactly the network's size; the last one is padded with silence."""
    size, shape = network.batch_size, (network.batch_size, network.segment)
    waveforms, filled, parts = np.zeros(shape, np.float32), 0, []
    for piece in pieces:
        if isinstance(piece, Outcome):
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
    """Chains iterators, of which `threads` at a time run ahead, each in a thread."""
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

    What it raises is raised where its items are taken.
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


class _Complaints(logging.Handler):
    """Keeps what the decoder has to say of damaged files, by the thread that decodes."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self._heard: dict[int | None, list[str]] = collections.defaultdict(list)

    def emit(self, record: logging.LogRecord) -> None:
        self._heard[record.thread].append(str(record.args[-1] if record.args else record.msg))

    def take(self) -> str:
        """Returns what was said in this thread since the last time."""
        return "; ".join(self._heard.pop(threading.get_ident(), []))


@contextlib.contextmanager
def _complaints() -> Iterator[_Complaints]:
    """Hears the decoder's warnings itself, at whatever level others log."""
    log, handler = logging.getLogger(decode.__name__), _Complaints()
    level, propagate = log.level, log.propagate
    log.setLevel(logging.WARNING)
    log.propagate = False  # They come with the outcome: once is enough.
    log.addHandler(handler)
    try:
        yield handler
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
