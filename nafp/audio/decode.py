"""Decodes any audio file into mono float32 [S] at the model's rate, whole or block by block.

libsndfile reads wav, flac, ogg, opus, mp3 and the other formats that it knows. ffmpeg, if installed, reads m4a, aac,
webm, wma, video, and every file that libsndfile refuses. Where ffmpeg is missing, PyAV reads them, if installed. All
files are read in pieces of one second, so a file of ten hours needs no more memory than one of ten seconds. The blocks
of a stream, concatenated, equal the loaded file to the bit.

A file that ends before its header says, or that is damaged, gives everything that can be decoded (with ffmpeg or PyAV
also what follows the damage) and one complaint. A file without any usable audio raises errors.Undecodable. A header is
a hint (see `headers`): sound beyond the length that it states is decoded too, files that were joined are decoded one
after the other, and a length that its writer did not know promises nothing.
"""

import contextlib
import contextvars
import logging
import math
import os
import stat
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from nafp import errors
from nafp.audio import channels, containers, ffmpeg, playlists, rates, segments, sndfile

# fmt: off
SNDFILE = frozenset((
    ".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp2", ".mp3", ".oga", ".ogg", ".opus",
    ".rf64", ".snd", ".w64", ".wav",
))
FFMPEG = frozenset((
    ".3gp", ".aac", ".ac3", ".amr", ".ape", ".avi", ".flv", ".m4a", ".m4b", ".m4v", ".mka", ".mkv",
    ".mov", ".mp4", ".mpc", ".mpeg", ".mpg", ".webm", ".wma", ".wmv", ".wv",
))
# fmt: on

_RATES_HZ = range(100, 1_000_000)  # A header with another rate is damaged, and would ask for terabytes.
_HUGE = 2.0**32  # Floats that hold 32-bit integers stay below it; others are damaged. Its square is still a float32.
_WARM_UP_S = 0.25  # Decoded before start_s: soxr's longest filter at 8 kHz reaches back 0.05 s.


class Info(NamedTuple):
    """What the header of an audio file says. seconds: 0.0 where the header does not say, or cannot be right."""

    seconds: float
    sample_rate_hz: int
    channels: int


Complain = Callable[[str], None]
_hear: contextvars.ContextVar[Complain | None] = contextvars.ContextVar("hear", default=None)


class _Reader(Protocol):
    """An open audio file.

    seconds: length as the header says, 0.0 if unknown. length_s: the same, but of what is there if that is known to be
    more. damage: why decoding stopped early, "" if it did not. tolerance_s: by how much the file may be shorter or
    longer than `seconds` and still count as whole.
    """

    sample_rate_hz: int
    channels: int
    seconds: float
    length_s: float
    damage: str
    tolerance_s: float

    def pieces(self, first_frame: int) -> Iterator[np.ndarray]:
        """Yields float32 [n, channels], one second each, from this frame on."""

    def close(self) -> None: ...


def probe(path: str | os.PathLike) -> Info:
    """Reads the header of a file. Only a file whose end contradicts its header is read through.

    Raises errors.Undecodable for a file that cannot be read.
    """
    with contextlib.closing(_open(os.fspath(path), thorough=False)) as reader:
        return Info(reader.length_s, reader.sample_rate_hz, reader.channels)


def measured_s(path: str | os.PathLike) -> float:
    """Returns the seconds of a file: what its header states or, if that is unknown, what can be decoded.

    Raises errors.Undecodable for a file that cannot be read.
    """
    info = probe(path)
    if info.seconds:
        return info.seconds
    blocks = stream(path, sample_rate_hz=info.sample_rate_hz, complain=lambda reason: None, mend=True)
    return segments.to_seconds(sum(map(len, blocks)), info.sample_rate_hz)


def load(
    path: str | os.PathLike,
    *,
    sample_rate_hz: int,
    start_s: float = 0.0,
    seconds: float | None = None,
    complain: Complain | None = None,
) -> np.ndarray:
    """Decodes a file, or `seconds` of it from `start_s` on, into mono float32 [S].

    complain, errors: as for `stream`.
    """
    blocks = stream(path, sample_rate_hz=sample_rate_hz, start_s=start_s, seconds=seconds, complain=complain)
    return np.concatenate(list(blocks))


def stream(
    path: str | os.PathLike,
    *,
    sample_rate_hz: int,
    block_s: float = 30.0,
    start_s: float = 0.0,
    seconds: float | None = None,
    complain: Complain | None = None,
    mend: bool = False,
) -> Iterator[np.ndarray]:
    """Decodes a file and yields its blocks: mono float32 [S] of block_s seconds, the last one shorter.

    The blocks, concatenated, equal `load`. A part of a file equals the same part of the whole to 1e-5.
    complain: is called with the reason if the file holds less or more than its header says. By default the reason is
    logged. mend: whether silence takes the place of samples that are not finite or absurdly large, with a complaint.
    Raises errors.Undecodable at the first block if nothing can be decoded, and without `mend` at such a sample.
    """
    path = os.fspath(path)
    if not (0 <= start_s < math.inf and 0 < block_s < math.inf and (seconds is None or 0 < seconds < math.inf)):
        given = f"start_s {start_s}, seconds {seconds} and block_s {block_s} given"
        raise errors.Invalid(f"{path}: {given}; start_s must be at least 0, the others greater than 0")
    first = segments.to_samples(start_s, sample_rate_hz)
    wanted = None if seconds is None else max(1, segments.to_samples(seconds, sample_rate_hz))
    block = max(1, segments.to_samples(block_s, sample_rate_hz))
    part = _Part(sample_rate_hz, first, wanted)
    return _regroup(_decode(path, part, complain or listener(path), mend), block)


def resample(samples: np.ndarray, *, from_hz: float, to_hz: float) -> np.ndarray:
    """Resamples float32 [S] or [S, C] at soxr's high quality, as decoding does."""
    return rates.resample(samples, from_hz=from_hz, to_hz=to_hz)


def resampled(pieces: Iterable[np.ndarray], *, from_hz: int, to_hz: int) -> Iterator[np.ndarray]:
    """Resamples float32 [S] that arrives in pieces. The output, concatenated, is `resample` of the whole."""
    return rates.resampled(pieces, from_hz=from_hz, to_hz=to_hz)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Rounds float samples to little-endian int16. 1.0 becomes 32768, and values beyond int16 are clipped."""
    return np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype("<i2")


def to_float(samples: np.ndarray) -> np.ndarray:
    """Converts int16 samples to float32 in -1..1."""
    return samples.astype(np.float32) / np.float32(32768)


def write_wav(path: str | os.PathLike, samples: np.ndarray, *, sample_rate_hz: int) -> None:
    """Writes float samples [S] or [S, C] as a 16-bit WAV file, which appears whole or not at all."""
    sndfile.write_wav(path, to_int16(samples), sample_rate_hz=sample_rate_hz)


@contextlib.contextmanager
def complaints(hear: Complain) -> Iterator[None]:
    """Sends the reasons of damaged files to `hear` instead of the log, for decoding in this thread within the block."""
    token = _hear.set(hear)
    try:
        yield
    finally:
        _hear.reset(token)


def listener(path: str) -> Complain:
    """Returns the function that gets the reason why a file is damaged: that of `complaints`, else one that logs it."""
    hear = _hear.get()
    return hear or (lambda reason: logging.getLogger(__name__).warning("%s: %s", path, reason))


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keeps the remarks of decoders, which C code writes past Python, off standard error during the block.

    For commands only (launch, nafp/verbs, benchmarks): it redirects file descriptor 2 of the whole process, which a
    library must leave to the program that uses it.
    """
    sys.stderr.flush()
    saved, stderr = os.dup(2), sys.stderr
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    os.close(devnull)
    try:
        with open(saved, "w", buffering=1, closefd=False) as python_stderr:
            sys.stderr = python_stderr
            yield
    finally:
        sys.stderr = stderr
        os.dup2(saved, 2)
        os.close(saved)


class _Part(NamedTuple):
    """What to decode of a file: `wanted` samples (None: all) at this rate, from sample `first` on."""

    sample_rate_hz: int
    first: int
    wanted: int | None


def _open(path: str, *, thorough: bool = True) -> _Reader:
    """Opens a file. thorough: as for `headers.links`."""
    _check_readable(path)
    refusal = ""
    if os.path.splitext(path)[1].lower() not in FFMPEG:
        try:
            return _plausible(path, sndfile.Reader(path, thorough=thorough))
        except sndfile.REFUSALS as error:
            refusal = f"libsndfile: {sndfile.reason(error)}"
    container_reader = _container_reader()
    if container_reader is None:
        need = f"{refusal}; ffmpeg might read it, but" if refusal else "needs ffmpeg, which"
        reason = f"{need} is not installed ({containers.HOW_TO_GET_IT}, or the program: {ffmpeg.HOW_TO_GET_IT})"
        raise errors.Undecodable(path, reason, tool_missing=True)
    try:
        return _plausible(path, container_reader(path))
    except errors.FfmpegFailed as error:
        reason = "; ".join(filter(None, [refusal, str(error)]))
        raise errors.Undecodable(path, f"not audio that can be read ({reason})") from None


def _container_reader() -> Callable[[str], _Reader] | None:
    """Returns the class that reads files which libsndfile refuses: of the ffmpeg program, else of PyAV, else None."""
    if ffmpeg.installed():
        return ffmpeg.Reader
    return containers.Reader if containers.installed() else None


def _check_readable(path: str) -> None:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise errors.Undecodable(path, "a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise errors.Undecodable(path, "not a regular file: a pipe or a device has no end to wait for")
        if status.st_size == 0:
            raise errors.Undecodable(path, "empty file, 0 bytes")
        if kind := playlists.kind(path):
            reason = f"a playlist ({kind}), not audio; name the audio files that it lists"
            raise errors.Undecodable(path, reason)
    except errors.Undecodable:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL byte.
        raise errors.Undecodable(path, f"cannot be opened: {getattr(error, 'strerror', '') or error}") from None


def _version(path: str) -> tuple[int, ...] | None:
    """Returns what tells a file from another one in its place, and from itself before a change. None: it is gone."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _plausible(path: str, reader: _Reader) -> _Reader:
    if reader.sample_rate_hz not in _RATES_HZ:
        raise errors.Undecodable(path, f"its header says {reader.sample_rate_hz} samples per second")
    return reader


def _decode(path: str, part: _Part, complain: Complain, mend: bool) -> Iterator[np.ndarray]:
    """Yields a part of a file in pieces as they are decoded.

    Reading starts at a whole second, where an input and an output sample coincide at any pair of rates. So a part has
    the same sample grid as the whole.
    """
    rate_hz, first, wanted = part
    start_s = max(0, int(first / rate_hz - _WARM_UP_S))
    skip, n_yielded, opened = first - start_s * rate_hz, 0, _version(path)
    with contextlib.closing(_open(path)) as reader:
        mono = _mono(path, reader, start_s, complain, mend)
        for samples in rates.resampled(mono, from_hz=reader.sample_rate_hz, to_hz=rate_hz):
            piece = samples[skip:][: None if wanted is None else wanted - n_yielded]
            skip = max(0, skip - len(samples))
            n_yielded += len(piece)
            if not np.isfinite(piece).all():  # Resampling is the last step that can break.
                raise errors.Undecodable(path, f"NaN or infinite samples once at {rate_hz} Hz")
            if len(piece):
                yield piece
            if n_yielded == wanted:
                return
    if _version(path) not in (opened, None):
        complain("it changed while it was read, so this may be a part of it, or two recordings: read it again")
    if not n_yielded:
        at_s = first / rate_hz
        raise errors.Undecodable(path, f"ends before second {at_s:g}" if first else "holds no samples")


def _mono(path: str, reader: _Reader, start_s: int, complain: Complain, mend: bool) -> Iterator[np.ndarray]:
    """Yields mono float32 [S] of one second each, from second start_s on."""
    is_told = False
    with contextlib.closing(_whole(path, reader, start_s, complain)) as pieces:
        for second, piece in enumerate(pieces, start_s):
            reason = _absurdity(piece)
            if reason and not mend:
                raise errors.Undecodable(path, f"{reason} in second {second}")
            if reason and not is_told:
                complain(f"{reason} in second {second}; silence takes the place of such samples")
                is_told = True
            yield channels.averaged(mended(piece) if reason else piece)


def mended(samples: np.ndarray) -> np.ndarray:
    """Returns float samples of any shape, with silence in place of those that are not finite or absurdly large."""
    return np.where(np.abs(samples) < _HUGE, samples, np.float32(0)) if _absurdity(samples) else samples


def mono(heard: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields mono float32 [S] of pieces [n, C] as they come, mended. Seconds are best: each is decided by itself."""
    return (channels.averaged(mended(piece)) for piece in heard)


def _absurdity(samples: np.ndarray) -> str:
    """Returns in words what is wrong with float samples, "" if all are finite and of a size that sound may have."""
    highest, lowest = samples.max(initial=0.0), samples.min(initial=0.0)
    if highest < _HUGE and lowest > -_HUGE:  # False for NaN.
        return ""
    loudest = max(highest, -lowest)
    if not np.isfinite(loudest):
        return "NaN or infinite samples"
    return f"a sample of {loudest:.2g} where full scale is 1"


def _whole(path: str, reader: _Reader, start_s: int, complain: Complain) -> Generator[np.ndarray, None, None]:
    """Yields all pieces from second start_s on, and complains if the header promised more, or less."""
    rate, n_frames = reader.sample_rate_hz, start_s * reader.sample_rate_hz
    for piece in reader.pieces(n_frames):
        n_frames += len(piece)
        yield piece
    ended_s, promised_s = n_frames / rate, reader.seconds
    if not reader.damage and promised_s - ended_s <= reader.tolerance_s:
        if 0 < promised_s < ended_s - reader.tolerance_s and n_frames > start_s * rate:
            complain(f"its header states {promised_s:.1f} s, but {ended_s:.1f} s are there and were decoded")
        return
    for piece in _past_damage(path, reader, n_frames):
        n_frames += len(piece)
        yield piece
    why = f" ({reader.damage})" if reader.damage else ""
    if n_frames == start_s * rate:
        raise errors.Undecodable(path, f"nothing can be decoded{why}; {promised_s:.1f} s promised")
    promise = f" of {promised_s:.1f} s promised" if promised_s > ended_s else ""
    complain(f"damaged or cut off at {ended_s:.1f} s{why}: {n_frames / rate:.1f} s decoded{promise}")


def _past_damage(path: str, reader: _Reader, n_frames: int) -> Iterator[np.ndarray]:
    """Yields the pieces that ffmpeg or PyAV, which resume after damage, find from this frame on."""
    container_reader = _container_reader()
    if not isinstance(reader, sndfile.Reader) or reader.is_joined or container_reader is None:
        return
    with contextlib.suppress(errors.FfmpegFailed), contextlib.closing(container_reader(path)) as resuming:
        if (resuming.sample_rate_hz, resuming.channels) == (reader.sample_rate_hz, reader.channels):
            yield from resuming.pieces(n_frames)


def _regroup(pieces: Iterable[np.ndarray], block: int) -> Iterator[np.ndarray]:
    """Yields the same samples in blocks of `block` samples, the last one shorter."""
    held: list[np.ndarray] = []
    n_held = 0
    for piece in pieces:
        held.append(piece)
        n_held += len(piece)
        if n_held >= block:
            joined = np.concatenate(held)
            whole = n_held - n_held % block
            yield from np.split(joined[:whole], whole // block)
            held, n_held = [joined[whole:]], n_held - whole
    if n_held:
        yield np.concatenate(held)
