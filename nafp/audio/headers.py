"""Lengths that the headers of WAV and MP3 files state, where libsndfile does not tell them.

libsndfile opens a WAV file that was cut off without a warning, only shorter. It guesses the length of an MP3 file of
variable bit rate without a Xing header from the first frame, and stops reading there: it may read only a third of the
file.
"""

import io
import mmap
import os
import struct
from typing import NamedTuple

# kbit/s of MPEG layer III by index, and Hz of version 1 (halved and quartered for 2 and 2.5):
# ISO/IEC 11172-3 and 13818-3, table of the frame header.
_KBPS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HZ = (44100, 48000, 32000)
_VERSION = {3: 1, 2: 2, 0: 3}  # The two version bits: MPEG 1, 2 and 2.5.
_SIDE_INFO = {(1, False): 32, (1, True): 17, (2, False): 17, (2, True): 9}  # Bytes; (version, mono)
_UNKNOWN_SIZE = 0xFFFFFF00  # A writer to a pipe does not know the size, and states one from here on.


class _Frame(NamedTuple):
    n_samples: int
    n_bytes: int
    version: int  # 1, or 2 for MPEG 2 and 2.5
    mono: bool


def wav_promise(path: str) -> float:
    """Returns the size of the samples that a WAV header states, as a multiple of their size in the file.

    1.0 means a whole file, 4.0 one of which a quarter is left. It is 1.0 too for a file that is not WAV, or whose
    writer did not know the size.
    """
    with open(path, "rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        start = file.read(12)
        if start[:4] != b"RIFF" or start[8:] != b"WAVE":
            return 1.0
        while len(chunk := file.read(8)) == 8:
            name, stated = struct.unpack("<4sI", chunk)
            if name == b"data":
                present = n_bytes - file.tell()
                is_known = 0 < stated < _UNKNOWN_SIZE
                return max(1.0, stated / present) if is_known and present > 0 else 1.0
            file.seek(stated + stated % 2, os.SEEK_CUR)
    return 1.0


def open_untagged_mp3(path: str) -> io.RawIOBase | None:
    """Opens an MP3 file that lacks a length header as if it had one. Returns None for a file that has one.

    The frame headers are counted, and a Xing header with their number is put before the first frame.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        first = _first_frame(data)
        if first is None or _has_length(data, first):
            return None
        return _Prefixed(path, _xing(data[first : first + 4], _count_frames(data, first)), first)


def _parse(header: bytes) -> _Frame | None:
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = _VERSION.get(header[1] >> 3 & 3), header[1] >> 1 & 3
    rate, hz = header[2] >> 4, header[2] >> 2 & 3
    if version is None or layer != 1 or rate in (0, 15) or hz == 3:
        return None
    n_samples = 1152 if version == 1 else 576
    bits_per_s = _KBPS[min(version, 2)][rate] * 1000
    padding = header[2] >> 1 & 1
    n_bytes = n_samples // 8 * bits_per_s // (_HZ[hz] >> (version - 1)) + padding
    return _Frame(n_samples, n_bytes, min(version, 2), header[3] >> 6 == 3)


def _first_frame(data: mmap.mmap) -> int | None:
    """Returns the position of the first frame that another frame follows, past ID3v2 tags and 64 KiB of junk."""
    at = 0
    while data[at : at + 3] == b"ID3" and len(data) >= at + 10:
        a, b, c, d = data[at + 6 : at + 10]
        at += 10 + (a << 21 | b << 14 | c << 7 | d)
    last = at + 65536
    while 0 <= at < last:
        frame = _parse(data[at : at + 4])
        if frame and _parse(data[at + frame.n_bytes : at + frame.n_bytes + 4]):
            return at
        at = data.find(b"\xff", at + 1)
    return None


def _has_length(data: mmap.mmap, first: int) -> bool:
    start = data[first : first + 200]
    return any(tag in start for tag in (b"Xing", b"Info", b"VBRI"))


def _count_frames(data: mmap.mmap, at: int) -> int:
    n_frames = 0
    while 0 <= at < len(data) - 4:
        frame = _parse(data[at : at + 4])
        n_frames += frame is not None
        at = at + frame.n_bytes if frame else data.find(b"\xff", at + 1)
    return n_frames


def _xing(header: bytes, n_frames: int) -> bytes:
    """Returns the silent frame that an encoder writes first: the file's own header, "Xing", the number of frames.

    header: the first four bytes of a frame.
    """
    highest = bytes([header[0], header[1] | 1, 14 << 4 | header[2] & 0x0C, header[3]])
    frame = _parse(highest)  # The highest bit rate, so that the count fits in.
    assert frame is not None
    start = highest + bytes(_SIDE_INFO[frame.version, frame.mono])
    start += b"Xing" + struct.pack(">II", 1, n_frames)
    return start + bytes(frame.n_bytes - len(start))


class _Prefixed(io.RawIOBase):
    """A file read from the byte `start` on, with the bytes `prefix` before it."""

    def __init__(self, path: str, prefix: bytes, start: int):
        self._file = open(path, "rb")  # noqa: SIM115 - closed with this object
        self._prefix, self._start, self._at = prefix, start, 0
        self._size = os.fstat(self._file.fileno()).st_size - start + len(prefix)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = (0, self._at, self._size)[whence] + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # soundfile passes a memoryview.
        if self._at < len(self._prefix):
            part = self._prefix[self._at : self._at + len(buffer)]
            buffer[: len(part)] = part
            n_bytes = len(part)
        else:
            self._file.seek(self._at - len(self._prefix) + self._start)
            n_bytes = self._file.readinto(buffer)
        self._at += n_bytes
        return n_bytes

    def close(self) -> None:
        self._file.close()
        super().close()
