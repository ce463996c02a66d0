"""Reads and writes audio files through libsndfile. Only this file imports soundfile."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator

import numpy as np
import soundfile

from nafp.audio import headers, rates, windows
from nafp.jobs import whole_files

# What opening raises for a file that libsndfile does not read: TypeError for a .raw, which has no header.
REFUSALS = (soundfile.LibsndfileError, TypeError)
_NO_FRAMES = 7  # libsndfile's code for an MP3 file without frames. Its own message is about pipes.
_PARTS_OF_S = 32  # A second that has damage in it is read in so many parts.
_MOST_FRAMES = 1 << 62  # libsndfile says 2^63 - 1 for a FLAC file whose header does not say.


class Reader:
    """The links of an audio file one after the other, at the rate of the first.

    seconds: the length that the header states, 0.0 if unknown. length_s: the length that is present, if that is known
    to be more. damage: why decoding stopped early, "" if it did not. tolerance_s: by how much the file may be shorter
    or longer than `seconds` and still count as whole. Raises one of REFUSALS if libsndfile does not read the first
    link.
    """

    def __init__(self, path: str, *, thorough: bool):
        self._path, self._links = path, headers.links(path, thorough=thorough)
        self._first = _LinkReader(path, self._links[0])
        self.sample_rate_hz, self.channels = self._first.sample_rate_hz, self._first.channels
        self.damage, self.tolerance_s = "", 0.5
        self.is_joined = len(self._links) > 1
        # Of joined links the sum of their lengths shows no damage, so each link is checked by itself.
        self.seconds = 0.0 if thorough and self.is_joined else self._promised()
        self.length_s = self.seconds if self.is_joined else max(self.seconds, self._first.found_s)

    def pieces(self, first_frame: int) -> Iterator[np.ndarray]:
        """Yields float32 [n, channels], one second each, from this frame on."""
        if not self.is_joined:
            yield from self._first.pieces(first_frame)
            self.damage = self._first.damage
            return
        skip = first_frame
        for piece in self._joined():
            if len(piece) > skip:
                yield piece[skip:]
            skip = max(0, skip - len(piece))

    def close(self) -> None:
        """Closes the file."""
        self._first.close()

    def _promised(self) -> float:
        n_bytes = os.path.getsize(self._path)
        seconds = self._first.seconds
        for link in self._links[1:]:
            with contextlib.suppress(*REFUSALS), contextlib.closing(_LinkReader(self._path, link)) as reader:
                seconds += reader.seconds
        return headers.believed(seconds, n_bytes)

    def _joined(self) -> Iterator[np.ndarray]:
        """Yields the pieces of all links. Notes each link that cannot be read, or that ends early, as damage."""
        damage = []
        for number, link in enumerate(self._links, 1):
            try:
                reader = self._first if number == 1 else _LinkReader(self._path, link)
            except REFUSALS as error:
                damage.append(f"part {number} of {len(self._links)} cannot be read: {reason(error)}")
                continue
            with contextlib.closing(reader):
                rate_hz, n_frames = self.sample_rate_hz, 0
                for piece in rates.resampled(reader.pieces(0), from_hz=reader.sample_rate_hz, to_hz=rate_hz):
                    n_frames += len(piece)
                    yield piece
            promised_s = headers.believed(reader.seconds, os.path.getsize(self._path))
            if reader.damage or promised_s - n_frames / rate_hz > self.tolerance_s:
                damage.append(f"part {number} of {len(self._links)} is cut off ({reader.damage or 'too short'})")
        self.damage = "; ".join(damage[:3])


class _LinkReader:
    """One link of an audio file."""

    def __init__(self, path: str, link: windows.Link):
        file = os.fsencode(path) if link.is_whole_file else windows.Window(path, link)
        self._file = soundfile.SoundFile(file)
        self.sample_rate_hz, self.channels = self._file.samplerate, self._file.channels
        n_frames = self._file.frames if self._file.frames < _MOST_FRAMES and link.promise_s != 0.0 else 0
        self.found_s = n_frames / self.sample_rate_hz
        self.seconds = self.found_s * link.factor if link.promise_s is None else link.promise_s
        self._torn, self.damage = link.torn, ""

    def pieces(self, first_frame: int) -> Iterator[np.ndarray]:
        """Yields float32 [n, channels], one second each, from this frame on."""
        at = min(first_frame, self._file.frames)
        try:
            if at:
                self._file.seek(at)
            while len(piece := self._read(self.sample_rate_hz)):
                at += len(piece)
                yield piece
            self.damage = self._torn
        except soundfile.LibsndfileError as error:
            self.damage = reason(error)
            yield from self._before_damage(at)
        finally:
            self._file.close()

    def _before_damage(self, at: int) -> Iterator[np.ndarray]:
        """Yields what can be read of the second that begins at a frame, in which reading failed."""
        n_frames = max(1, self.sample_rate_hz // _PARTS_OF_S)
        with contextlib.suppress(soundfile.LibsndfileError):
            self._file.seek(at)
            for _ in range(_PARTS_OF_S):
                if len(piece := self._read(n_frames)):
                    yield piece

    def _read(self, n_frames: int) -> np.ndarray:
        return self._file.read(n_frames, dtype="float32", always_2d=True)

    def close(self) -> None:
        self._file.close()


def write_wav(path: str | os.PathLike, samples: np.ndarray, *, sample_rate_hz: int) -> None:
    """Writes int16 samples [S] or [S, C] as a WAV file, which appears whole or not at all."""
    encoded = io.BytesIO()  # libsndfile would report a full disk without a reason.
    soundfile.write(encoded, samples, sample_rate_hz, format="WAV", subtype="PCM_16")
    with whole_files.opened(path, "wb") as file:
        file.write(encoded.getbuffer())


def reason(error: Exception) -> str:
    """Returns in words why libsndfile refuses a file."""
    if getattr(error, "code", 0) == _NO_FRAMES:
        return "no audio frames found"
    return getattr(error, "error_string", "") or str(error)
