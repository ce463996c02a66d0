"""Checkpoint + corpus -> store: streaming, resumable, decoding ahead of the network.

A decoding thread cuts files into batches, the network works on one batch while the next is prepared, and a track is
written when its last row is there. What is finished survives a kill; the next start goes on after it.
"""

from __future__ import annotations

import json
import pathlib
import queue
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from nafp.audio import corpus, decode, progress, segments
from nafp.models import network
from nafp.search import store

_AHEAD = 4  # Batches decoded ahead; bounds the memory together with the batch size.


class Report(NamedTuple):
    """What an extraction did. failures: (track, reason) of files that were skipped."""

    n_tracks: int
    n_rows: int
    seconds: float
    failures: list[tuple[str, str]]


class _Batch(NamedTuple):
    """Segments [B, S], and which track each used row belongs to: (track number, rows) in order."""

    waveforms: np.ndarray
    owners: list[tuple[int, int]]
    ended: list[tuple[int, str, float]]  # Tracks whose last row is in here: number, name, seconds.
    failed: list[tuple[int, str, str]]  # Tracks that broke off: number, name, reason.


def extract(
    extractor: network.Extractor, source: str, folder: str, *, name: str, identity: dict[str, Any],
    split: str | None = None, overwrite: bool = False,
) -> Report:  # fmt: skip
    """Fingerprints every track of `source` into STORE/name; see `nafp extract --help` for what a source may be.

    Goes on with an unfinished store of the same model. Raises FileExistsError for a finished one unless `overwrite`,
    FileNotFoundError or ValueError when there is nothing to fingerprint.
    """
    tracks = corpus.sources(source, sample_rate_hz=extractor.sample_rate_hz, split=split)
    meta = store_meta(extractor.config, identity)
    with store.Writer(folder, name, dim=extractor.dim, meta=meta, overwrite=overwrite) as writer:
        left = [t for t in tracks if t.name not in writer.done]
        if len(left) < len(tracks):
            print(
                f"{folder}/{name}: goes on; {len(tracks) - len(left)} of {len(tracks)} tracks are there already"
            )
        report = _run(extractor, left, writer)
        if not writer.n_rows:
            reasons = "; ".join(f"{track}: {reason}" for track, reason in report.failures[:5])
            raise ValueError(
                f"{source}: none of {len(tracks)} tracks gave a fingerprint. {reasons}"
            )
        writer.finish()
    return report


def store_meta(config: ml_collections.ConfigDict, identity: dict[str, Any]) -> dict[str, Any]:
    """Returns what a store says of itself: rate, hop, the model's identity, the whole configuration."""
    return {
        "sample_rate_hz": config.audio.sample_rate_hz,
        "segment_s": config.audio.segment_s,
        "hop_s": config.audio.hop_s,
        "model": identity,
        "config": config.to_dict(),
    }


def _run(extractor: network.Extractor, tracks: list[corpus.Source], writer: store.Writer) -> Report:
    total_s = sum(t.seconds for t in tracks)
    shown = progress.Progress(total_s, "s of audio")
    rows: dict[int, list[np.ndarray]] = {}
    failures, n_tracks, n_rows, seconds = [], 0, 0, 0.0
    running: list[tuple[_Batch, jax.Array]] = []

    def finish(batch: _Batch, pending: jax.Array) -> None:
        nonlocal n_tracks, n_rows, seconds
        vectors = np.asarray(pending).reshape(-1, extractor.dim)
        first = 0
        for number, count in batch.owners:
            rows.setdefault(number, []).append(vectors[first : first + count].copy())
            first += count
        for number, name, track_s in batch.ended:
            whole = np.concatenate(rows.pop(number, [np.zeros((0, extractor.dim), np.float32)]))
            writer.append(name, track_s, whole)
            n_tracks, n_rows, seconds = n_tracks + 1, n_rows + len(whole), seconds + track_s
            shown.add(track_s)
        for number, name, reason in batch.failed:
            rows.pop(number, None)
            failures.append((name, reason))
            print(f"skipped {name}: {reason}", flush=True)

    for batch in _ahead(_batches(tracks, extractor)):
        running.append((batch, extractor.start(batch.waveforms)))
        if len(running) > 1:
            finish(*running.pop(0))
    for left in running:
        finish(*left)
    shown.close()
    return Report(n_tracks, n_rows, seconds, failures)


def _batches(tracks: list[corpus.Source], extractor: network.Extractor) -> Iterator[_Batch]:
    """Cuts tracks into batches of exactly the extractor's size; the last one is padded with silence."""
    size = extractor.batch_size
    waveforms, filled = np.zeros((size, extractor.segment), np.float32), 0
    owners, ended, failed = [], [], []
    for number, track in enumerate(tracks):
        n_samples, n_rows = 0, 0
        try:
            for piece, n_new in _segments_of(track, extractor):
                n_samples += n_new
                n_rows += len(piece)
                while len(piece):
                    taken = piece[: size - filled]
                    waveforms[filled : filled + len(taken)] = taken
                    owners.append((number, len(taken)))
                    filled, piece = filled + len(taken), piece[len(taken) :]
                    if filled == size:
                        yield _Batch(waveforms, owners, ended, failed)
                        waveforms, filled = np.zeros((size, extractor.segment), np.float32), 0
                        owners, ended, failed = [], [], []
        except decode.Undecodable as error:
            failed.append((number, track.name, error.reason))
            continue
        seconds = n_samples / extractor.sample_rate_hz
        if n_rows:
            ended.append((number, track.name, seconds))
        else:
            failed.append((number, track.name, f"{seconds:.2f} s, shorter than one segment"))
    if owners or ended or failed:
        yield _Batch(waveforms, owners, ended, failed)


def _segments_of(
    track: corpus.Source, extractor: network.Extractor
) -> Iterator[tuple[np.ndarray, int]]:
    """Yields (segments [n, S], new samples) block by block; segments that span blocks are whole."""
    rest = np.zeros(0, np.float32)
    for block in track.blocks():
        joined = np.concatenate([rest, block])
        n = segments.count(len(joined), segment=extractor.segment, hop=extractor.hop)
        yield segments.frame(joined, segment=extractor.segment, hop=extractor.hop), len(block)
        rest = joined[n * extractor.hop :]


def _ahead(items: Iterator[_Batch]) -> Iterator[_Batch]:
    """Runs an iterator in a thread, a few items ahead; what it raises is raised here."""
    waiting: queue.Queue = queue.Queue(maxsize=_AHEAD)
    over = threading.Event()

    def put(item) -> None:
        while not over.is_set():
            try:
                waiting.put(item, timeout=0.2)
                break
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if over.is_set():
                    return
            put((None, None))
        except BaseException as error:
            put((None, error))

    threading.Thread(target=work, daemon=True, name="decode").start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        over.set()


def describe(report: Report, folder: str | pathlib.Path, name: str, *, wall_s: float) -> str:
    """One closing line: what was done, how fast, and how many files were skipped."""
    line = (
        f"{folder}/{name}: {report.n_tracks} tracks, {report.n_rows} fingerprints, {report.seconds:.0f} s of audio in "
        f"{wall_s:.1f} s ({report.seconds / max(wall_s, 1e-9):.0f} x real time)"
    )
    if report.failures:
        listed = json.dumps(
            [f"{track}: {reason}" for track, reason in report.failures[:20]], indent=1
        )
        line += f"; {len(report.failures)} skipped: {listed}"
    return line
