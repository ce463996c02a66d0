"""Reads audio files that libsndfile does not know through PyAV, where the ffmpeg program is missing.

PyAV brings ffmpeg's libraries, which decode within this process and give the samples that the program gives. They are
confined as the program is: they may open one file, and only as a container, and reading is ended if it takes too long.
Only this file imports av, an extra (`pip install 'nafp[containers]'`).
"""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from nafp import errors
from nafp.audio import headers, playlists

if TYPE_CHECKING:
    import av

HOW_TO_GET_IT = "pip install 'nafp[containers]'"
_PATIENCE_S = 60.0  # For opening, and for each packet.


def installed() -> bool:
    """Returns whether PyAV can be imported."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


class Reader:
    """The first audio stream of a file, at its own rate and with all its channels.

    seconds: the length that the container states, 0.0 if it states none. damage: why decoding stopped early, "" if it
    did not. Raises errors.FfmpegFailed for a file without audio.
    """

    def __init__(self, path: str):
        self.damage = ""
        self._container = _opened(path)
        try:
            self._stream = _audio_stream(self._container)
        except errors.FfmpegFailed:
            self._container.close()
            raise
        decoder = self._stream.codec_context
        decoder.thread_count = 1
        self.sample_rate_hz, self.channels = decoder.sample_rate, decoder.channels
        stated = _seconds(self._container, self._stream) if headers.states_length(self._container.format.name) else 0.0
        self.seconds = headers.believed(max(stated, headers.own_seconds(path)), os.path.getsize(path))
        self.length_s = self.seconds
        self.tolerance_s = headers.tolerance_s(self.seconds, n_streams=len(self._container.streams))

    def pieces(self, first_frame: int) -> Iterator[np.ndarray]:
        """Yields float32 [n, channels], one second each, from this frame on.

        The frames before it are decoded and dropped: ffmpeg's own seeking is off by up to a packet.
        """
        held: list[np.ndarray] = []
        n_held, skip = 0, first_frame
        for decoded in self._decoded():
            samples, skip = decoded[skip:], max(0, skip - len(decoded))
            held.append(samples)
            n_held += len(samples)
            if n_held >= self.sample_rate_hz:
                joined = np.concatenate(held)
                whole = n_held - n_held % self.sample_rate_hz
                yield from np.split(joined[:whole], whole // self.sample_rate_hz)
                held, n_held = [joined[whole:]], n_held - whole
        if n_held:
            yield np.concatenate(held)

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def _decoded(self) -> Iterator[np.ndarray]:
        """Yields float32 [n, channels], the samples of one frame of a packet each.

        The rate and the channels of a damaged stream may change on the way. They are converted to those of the header.
        """
        import av

        resampler, shape = None, None
        try:
            for frame in self._frames():
                if resampler is None or shape != (frame.format.name, frame.layout.name, frame.sample_rate):
                    shape = (frame.format.name, frame.layout.name, frame.sample_rate)
                    resampler = av.AudioResampler("flt", self._stream.layout, self.sample_rate_hz)
                for part in resampler.resample(frame):
                    yield part.to_ndarray().reshape(-1, self.channels)
        except av.FFmpegError as error:
            self.damage = _reason(error)

    def _frames(self) -> "Iterator[av.AudioFrame]":
        """Yields the frames in the packets, and passes over packets that cannot be decoded, as the program does."""
        import av

        for packet in self._container.demux(self._stream):
            with contextlib.suppress(av.FFmpegError):
                yield from packet.decode()


def _opened(path: str) -> "av.container.InputContainer":
    import av

    try:
        # Without "file:", a name such as "a:b.m4a" would be taken for a protocol.
        confined = {"protocol_whitelist": "file", "format_whitelist": playlists.CONTAINERS}
        return av.open(f"file:{path}", options=confined, metadata_errors="replace", timeout=_PATIENCE_S)
    except (av.FFmpegError, ValueError) as error:
        raise errors.FfmpegFailed(_reason(error)) from None


def _audio_stream(container: "av.container.InputContainer") -> "av.AudioStream":
    """Returns the first audio stream. Raises errors.FfmpegFailed if there is none, or if its header is damaged."""
    if not container.streams.audio:
        raise errors.FfmpegFailed("no audio stream in it")
    stream = container.streams.audio[0]
    decoder = stream.codec_context  # None if ffmpeg does not know the codec.
    if decoder is None or not decoder.sample_rate or not decoder.channels:
        raise errors.FfmpegFailed("ffmpeg cannot tell its sample rate or its channels")
    return stream


def _seconds(container: "av.container.InputContainer", stream: "av.AudioStream") -> float:
    import av

    if stream.duration and stream.time_base:
        return round(float(stream.duration * stream.time_base), 6)
    return (container.duration or 0) / av.time_base


def _reason(error: Exception) -> str:
    return f"ffmpeg: {getattr(error, 'strerror', '') or error}"
