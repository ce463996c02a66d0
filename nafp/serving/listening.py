"""A stream of sound in, what is played in it out, as it is found: what `nafp monitor` does, over a WebSocket.

The client sends binary messages: bare samples, or any container that ffmpeg reads from a pipe. An empty message, or the
text "end", ends the stream. The server sends JSON, one object a message, each with an `event`:

    playing   a track was recognised; its end is not known yet
    stretch   a track has ended, or a time without a known one: the object of `nafp monitor --format=json`
    end       the stream has ended; `seconds` of it were heard. `damaged`, if it is there, names tracks that were heard,
              but whose fingerprints in the database are not those written
    error     `error` says what was wrong

A thread hears the stream, with the lines of this file around it. It sees no more of the network than two queues.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, ffmpeg, playlists
from nafp.identify import asking
from nafp.monitor import lines, stretches

ENCODINGS = {"f32le": "<f4", "s16le": "<i2"}
BLOCK_S = 1.0
_AHEAD = 16  # Messages that may wait for the thread; then the client waits.
_FULL_SCALE = 32768.0
_MEMORY_BYTES = 2 << 30  # For ffmpeg with its libraries, of which it takes a tenth.
_CONFINED = ["-protocol_whitelist", "pipe", "-format_whitelist", playlists.CONTAINERS, "-i", "pipe:0"]


class ListenRequest(NamedTuple):
    """How to listen. raw_hz: rate of bare samples, 0 for a container. encoding: of bare samples, one of ENCODINGS.

    max_speed: percent, as of `nafp monitor`. unknown: whether to tell times without a known track. name: of the stream.
    """

    raw_hz: int = 0
    encoding: str = "f32le"
    max_speed: float = asking.MAX_SPEED
    unknown: bool = True
    name: str = "stream"


Tell = Callable[[dict[str, Any]], None]


class Stream:
    """A stream that is heard in a thread. `feed` and `finish` are for the event loop, `hear` is for the thread.

    sample_rate_hz: of the network. patience_s: after so long without sound from it, ffmpeg is killed.
    """

    def __init__(self, request: ListenRequest, monitor: stretches.Monitor, *, sample_rate_hz: int, patience_s: float):
        if not request.raw_hz and not ffmpeg.installed():
            raise errors.Invalid("this server has no ffmpeg: send bare samples, with raw_hz=RATE")
        self._request, self._monitor, self._rate_hz = request, monitor, sample_rate_hz
        self._patience_s = patience_s
        self._waiting: queue.Queue[bytes] = queue.Queue(_AHEAD)
        self._is_cut = False
        self._announced: set[tuple[str, int]] = set()

    async def feed(self, data: bytes) -> None:
        """Takes in the next bytes. Waits while the thread is behind."""
        while not self._is_cut:
            with contextlib.suppress(queue.Full):
                self._waiting.put_nowait(data)
                return
            await asyncio.sleep(0.02)

    async def finish(self) -> None:
        """Ends the stream. What was taken in is still heard."""
        await self.feed(b"")

    def cut(self) -> None:
        """Ends the stream at once, because nobody listens to its answers any more."""
        self._is_cut = True

    def hear(self, tell: Tell) -> None:
        """Hears the stream to its end and tells what is found. Runs in a thread."""
        try:
            with contextlib.closing(self._blocks()) as blocks:
                for block in blocks:
                    if self._is_cut:
                        return
                    self._tell(self._monitor.hear(block), tell)
            self._tell(self._monitor.finish(), tell)
            lost = {"damaged": self._monitor.lost} if self._monitor.lost else {}
            tell({"event": "end", "seconds": round(self._monitor.heard_s, 2), **lost})
        except (errors.FfmpegFailed, errors.Invalid) as error:
            tell({"event": "error", "error": str(error)})
        except errors.EngineFailed as error:
            logging.getLogger(__name__).error("%s", error)
            tell({"event": "error", "error": "the search engine of this database does not answer"})
        finally:
            self._is_cut = True

    def _tell(self, ended: list[stretches.Stretch], tell: Tell) -> None:
        for stretch in ended:
            if stretch.track or self._request.unknown:
                tell(self._record("stretch", stretch))
        playing = {(stretch.track, round(stretch.start_s)): stretch for stretch in self._monitor.now}
        for key in playing.keys() - self._announced:
            tell(self._record("playing", playing[key]))
        self._announced = set(playing)

    def _record(self, event: str, stretch: stretches.Stretch) -> dict[str, Any]:
        record = lines.as_record(stretch, self._request.name)
        return {"event": event} | {key: value for key, value in record.items() if key != "heard_at"}

    def _parts(self) -> Iterator[bytes]:
        """Yields the bytes of the stream as they come."""
        while not self._is_cut:
            with contextlib.suppress(queue.Empty):
                part = self._waiting.get(timeout=0.5)
                if not part:
                    return
                yield part

    def _blocks(self) -> Generator[np.ndarray, None, None]:
        """Yields the sound of the stream, mono float32 [S] at the rate of the network."""
        if not self._request.raw_hz:
            yield from self._from_ffmpeg()
        else:
            yield from decode.resampled(self._bare(), from_hz=self._request.raw_hz, to_hz=self._rate_hz)

    def _bare(self) -> Iterator[np.ndarray]:
        dtype, rest = np.dtype(ENCODINGS[self._request.encoding]), b""
        for part in self._parts():
            rest += part
            whole = len(rest) - len(rest) % dtype.itemsize
            samples, rest = np.frombuffer(rest[:whole], dtype).astype(np.float32), rest[whole:]
            yield decode.mended(samples / np.float32(_FULL_SCALE) if dtype.kind == "i" else samples)

    def _from_ffmpeg(self) -> Generator[np.ndarray, None, None]:
        """Yields what ffmpeg makes of the bytes, which another thread writes into its pipe."""
        reading, writing = os.pipe()
        writer = threading.Thread(target=self._pour, args=(os.fdopen(writing, "wb", buffering=0),), daemon=True)
        writer.start()
        try:
            with os.fdopen(reading, "rb") as source:
                heard = ffmpeg.listen(
                    _CONFINED,
                    sample_rate_hz=self._rate_hz,
                    block_s=BLOCK_S,
                    stdin=source,
                    patience_s=self._patience_s,
                    memory_bytes=_MEMORY_BYTES,
                )
                yield from decode.mono(heard)
        finally:
            self._is_cut = True
            writer.join()  # Its pipe has no reader any more.

    def _pour(self, into: BinaryIO) -> None:
        with contextlib.suppress(BrokenPipeError), into:  # ffmpeg has had enough, and says why.
            for part in self._parts():
                view = memoryview(part)
                while view:
                    view = view[into.write(view) :]
