"""Stretches of a file. A decoder reads each as a file of its own, perhaps with another header."""

from __future__ import annotations

import io
import os
from typing import NamedTuple


class Link(NamedTuple):
    """A stretch of an audio file that is a whole recording to a decoder. Most files are one link.

    prefix: bytes to read before the stretch, in place of the header that it has. start, end: bytes of the file, end 0
    for the end of the file. promise_s: seconds that the header states, 0.0 if it states none that can be true, None if
    the decoder's own reading of the header is right. factor: what is promised as a multiple of what the decoder finds.
    torn: why the stretch is known to be cut off, "" if it is not.
    """

    prefix: bytes = b""
    start: int = 0
    end: int = 0
    promise_s: float | None = None
    factor: float = 1.0
    torn: str = ""

    @property
    def is_whole_file(self) -> bool:
        """Whether the decoder may read the file itself."""
        return not (self.prefix or self.start or self.end)


WHOLE = Link()


class Window(io.RawIOBase):
    """The bytes of a link: its prefix, and then its stretch of the file."""

    def __init__(self, path: str, link: Link):
        self._file = open(path, "rb")  # noqa: SIM115 - closed with this object
        self._prefix, self._start, self._at = link.prefix, link.start, 0
        end = link.end or os.fstat(self._file.fileno()).st_size
        self._size = max(0, end - link.start) + len(link.prefix)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, (0, self._at, self._size)[whence] + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # soundfile passes a memoryview.
        n_bytes = min(len(buffer), max(0, self._size - self._at))
        if self._at < len(self._prefix):
            part = self._prefix[self._at : self._at + n_bytes]
            buffer[: len(part)] = part
            n_bytes = len(part)
        elif n_bytes:
            self._file.seek(self._at - len(self._prefix) + self._start)
            n_bytes = self._file.readinto(memoryview(buffer)[:n_bytes])
        self._at += n_bytes
        return n_bytes

    def close(self) -> None:
        self._file.close()
        super().close()
