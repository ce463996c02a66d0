"""Clips by the names that people type: files, folders, lists, standard input, the microphone."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode
from nafp.corpora import building, corpus

STDIN = "-"
MICROPHONE = "microphone"
_MOST_BYTES = 2 << 30  # Three hours of CD audio. A pipe without an end would fill the disk.
_LISTS = (".txt", ".lst", ".m3u", ".m3u8", ".csv")


class Clip(NamedTuple):
    """One clip, not loaded yet.

    load: returns the beginning of the clip, mono float32 [S], and the length of the whole clip in seconds. It raises
    nafp.errors.Undecodable.
    """

    name: str
    load: Callable[[], tuple[np.ndarray, float]]


def listed(names: Sequence[str], *, sample_rate_hz: int, longest_s: float, raw_hz: int = 0) -> Iterator[Clip]:
    """Yields the clips behind names: audio files, folders of them, lists (.txt, .m3u, .csv), corpora, "-".

    sample_rate_hz: rate to decode at. longest_s: seconds to load of each clip, at most. raw_hz: rate of standard input
    if it is bare float32, little endian, mono; 0 for an audio file of any format. A clip that cannot be read, and a
    list that cannot be read beside other names, raises when it is loaded, not here.
    """
    for name in names:
        if name == STDIN:
            yield Clip(name, lambda: _from_stdin(sys.stdin.buffer, sample_rate_hz, longest_s, raw_hz))
        elif is_several(name):
            try:
                several = list(_several(name, sample_rate_hz, longest_s))
            except errors.Error as error:
                if len(names) == 1:
                    raise
                several = [_refused(name, errors.Undecodable(name, str(error).removeprefix(f"{name}: ")))]
            yield from several
        else:
            yield _file(name, sample_rate_hz, longest_s)


def is_several(name: str) -> bool:
    """Returns whether a name stands for a folder or a list of clips."""
    return os.path.isdir(name) or name.lower().endswith(_LISTS)


def recorded(seconds: float, *, sample_rate_hz: int) -> Clip:
    """Returns a clip of `seconds` that is recorded from the microphone when it is loaded."""

    def load() -> tuple[np.ndarray, float]:
        from nafp.audio import microphone  # Here: sounddevice is an extra.

        return microphone.record(seconds, sample_rate_hz=sample_rate_hz), seconds

    return Clip(MICROPHONE, load)


def _file(path: str, sample_rate_hz: int, longest_s: float) -> Clip:
    def load() -> tuple[np.ndarray, float]:
        samples = decode.load(path, sample_rate_hz=sample_rate_hz, seconds=longest_s)
        heard_s = len(samples) / sample_rate_hz
        return samples, max(heard_s, decode.probe(path).seconds if heard_s >= longest_s else 0.0)

    return Clip(path, load)


def _refused(name: str, error: errors.Undecodable) -> Clip:
    def load() -> tuple[np.ndarray, float]:
        raise error

    return Clip(name, load)


def _several(name: str, sample_rate_hz: int, longest_s: float) -> Iterator[Clip]:
    """Yields the clips of a folder, a list or a corpus."""
    if not building.is_corpus(name):
        sources = corpus.sources(name, sample_rate_hz=sample_rate_hz, kind=None)
        yield from (_file(source.name, sample_rate_hz, longest_s) for source in sources)
        return
    own_hz = corpus.Corpus.open(name).sample_rate_hz
    for track in corpus.sources(name, sample_rate_hz=own_hz, kind="music"):

        def load(track: corpus.Source = track) -> tuple[np.ndarray, float]:
            blocks, samples = track.blocks(), np.zeros(0, np.float32)
            while len(samples) < longest_s * own_hz and len(block := next(blocks, samples[:0])):
                samples = np.concatenate([samples, block])
            samples = samples[: round(longest_s * own_hz)]
            return decode.resample(samples, from_hz=own_hz, to_hz=sample_rate_hz), track.seconds

        yield Clip(track.name, load)


def _from_stdin(stream: BinaryIO, sample_rate_hz: int, longest_s: float, raw_hz: int) -> tuple[np.ndarray, float]:
    """Reads a clip from a pipe. An audio file becomes a temporary file first, because decoders seek."""
    if raw_hz:
        beginning, seconds = _bare(stream, raw_hz, longest_s)
        return decode.resample(beginning, from_hz=raw_hz, to_hz=sample_rate_hz), seconds
    with tempfile.NamedTemporaryFile(prefix="nafp-") as file:
        try:
            for block in _read(stream):
                file.write(block)
            file.flush()
        except OSError as error:
            reason = f"cannot be kept in {os.path.dirname(file.name)} meanwhile: {error.strerror}; TMPDIR names another"
            raise errors.Undecodable(STDIN, reason) from None
        tell = decode.listener(STDIN)  # Nobody knows the temporary file.
        try:
            with decode.complaints(tell):
                return _file(file.name, sample_rate_hz, longest_s).load()
        except errors.Undecodable as error:
            raise errors.Undecodable(STDIN, error.reason, error.tool_missing) from None


def _bare(stream: BinaryIO, raw_hz: int, longest_s: float) -> tuple[np.ndarray, float]:
    """Reads bare float32. Returns its beginning [S], and its whole length in seconds."""
    kept, n_samples, most = [np.empty(0, np.float32)], 0, round(longest_s * raw_hz)
    for block in _read(stream):
        samples = np.frombuffer(block[: len(block) // 4 * 4], "<f4").astype(np.float32)
        if not np.isfinite(samples).all() or np.abs(samples).max(initial=0) > 100:
            reason = f"is no float32 at {raw_hz} Hz (from ffmpeg: -f f32le -ac 1 -ar {raw_hz})"
            raise errors.Undecodable(STDIN, reason)
        kept.append(samples[: max(0, most - n_samples)])
        n_samples += len(samples)
    if not n_samples:
        raise errors.Undecodable(STDIN, "standard input is empty")
    return np.concatenate(kept), n_samples / raw_hz


def _read(stream: BinaryIO) -> Iterator[bytes]:
    """Yields standard input to its end. Raises errors.Undecodable for one that seems to have none."""
    n_bytes = 0
    while block := stream.read(1 << 20):
        n_bytes += len(block)
        if n_bytes > _MOST_BYTES:
            what = f"more than {_MOST_BYTES >> 30} GB came, and no end"
            raise errors.Undecodable(STDIN, f"{what}; cut a clip out of it (ffmpeg -t 60), or use nafp monitor")
        yield block
