"""Finds how long a FLAC file is by its last frame, and where another FLAC file begins in it.

The header (STREAMINFO) states the number of samples. It is 0 if the file was written through a pipe, and may be wrong.
Every frame carries its own number, and a checksum of its head: https://www.rfc-editor.org/rfc/rfc9639.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from nafp.audio.windows import WHOLE, Link

_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_TAIL_BYTES = 1 << 18  # Holds the last two frames of any usual file: a frame of stereo at 24 bits has 30 kB.
# Code of a block's size -> its samples. Codes 6 and 7 say that the number follows.
_BLOCK = {1: 192} | {code: 576 << (code - 2) for code in range(2, 6)} | {code: 1 << code for code in range(8, 16)}
_LEAST_FRAME_BYTES = 11  # The smallest frame: a head of 6, a constant of 3 and a checksum of 2 bytes.
_MOST_BLOCK = 65535
_TOTAL = 21  # The byte after "fLaC" + 17 that holds the highest four bits of the number of samples.


class _Info(NamedTuple):
    """STREAMINFO. block: samples of a block. total: samples, 0 if unknown."""

    block: int
    rate_hz: int
    total: int


def links(data: mmap.mmap, *, thorough: bool) -> list[Link]:
    """Returns the links of a file that begins with "fLaC". Two files that were joined are two links.

    thorough: whether to read the file through. Otherwise only a file whose last frame contradicts its header is read
    through.
    """
    first = _info(data, 0)
    last = _end(data, 0, len(data))
    if not thorough and first and last == first.total:
        return [WHOLE]
    starts = [match.start() for match in _START.finditer(data)][:1000]
    if len(starts) < 2 or starts[0]:
        return [_link(data, 0, 0)]
    ends = [*starts[1:], 0]
    return [_link(data, start, end) for start, end in zip(starts, ends)]


def _link(data: mmap.mmap, start: int, end: int) -> Link:
    info = _info(data, start)
    window = Link(start=start, end=end)
    if info is None or not info.rate_hz:
        return window
    n_bytes = (end or len(data)) - start
    last = _end(data, start, end or len(data))
    possible = n_bytes // _LEAST_FRAME_BYTES * _MOST_BLOCK + _MOST_BLOCK
    if info.total == last or not last:
        is_lie = not info.total or info.total > possible
        return window._replace(promise_s=0.0) if is_lie else window
    promise_s = info.total / info.rate_hz if 0 < info.total <= possible else None
    return Link(_restated(data, start, last), start + _TOTAL + 5, end, promise_s)


def _info(data: mmap.mmap, start: int) -> _Info | None:
    body = data[start + 8 : start + 42]
    if len(body) < 34 or not _START.match(data, start):
        return None
    block = struct.unpack(">H", body[2:4])[0]
    bits = int.from_bytes(body[10:18], "big")
    return _Info(block, bits >> 44, bits & (1 << 36) - 1)


def _restated(data: mmap.mmap, start: int, total: int) -> bytes:
    """Returns the first bytes of a link with another number of samples in them."""
    head = bytearray(data[start : start + _TOTAL + 5])
    high = head[_TOTAL] & 0xF0 | total >> 32 & 0x0F
    head[_TOTAL:] = struct.pack(">BI", high, total & 0xFFFFFFFF)
    return bytes(head)


def _end(data: mmap.mmap, start: int, end: int) -> int:
    """Returns the sample at which the last frame ends, 0 if it is not found.

    Bytes of sound may look like the head of a frame. A frame counts if another one ends where it begins, or if it is
    the only frame of a short file.
    """
    info = _info(data, start)
    if info is None:
        return 0
    ends: dict[int, int] = {}
    for first, last in _frames_backwards(data, max(start + 42, end - _TAIL_BYTES), end, info.block):
        if last in ends:
            return ends[last]
        ends[first] = last
    return ends.get(0, 0) if end - start < _TAIL_BYTES else 0


def _frames_backwards(data: mmap.mmap, start: int, end: int, block: int) -> Iterator[tuple[int, int]]:
    """Yields the first sample and the end of each frame, the last frame first."""
    at = end
    while (at := data.rfind(b"\xff", start, at)) >= 0:
        frame = _frame(data[at : at + 16], block)
        if frame:
            yield frame


def _frame(head: bytes, block: int) -> tuple[int, int] | None:
    """Returns the first sample and the end of a frame by its head, None for bytes that are no head."""
    if len(head) < 6 or head[1] not in (0xF8, 0xF9) or head[3] & 1 or head[2] & 15 == 15:
        return None
    number, at = _utf8(head, 4)
    code = head[2] >> 4
    if at == 0 or code == 0:
        return None
    n_samples = _BLOCK.get(code, 0)
    if code in (6, 7):
        width = code - 5
        n_samples = int.from_bytes(head[at : at + width], "big") + 1
        at += width
    at += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    first = number if head[1] == 0xF9 else number * block
    return first, first + n_samples


def _utf8(head: bytes, at: int) -> tuple[int, int]:
    """Returns the number that is coded as UTF-8 codes letters, and the place of the byte after it. (0, 0) is none."""
    first = head[at]
    if first < 0x80:
        return first, at + 1
    n_more = 8 - (first ^ 0xFF).bit_length() - 1
    more = head[at + 1 : at + 1 + n_more]
    if not 1 <= n_more <= 6 or len(more) < n_more or any(byte & 0xC0 != 0x80 for byte in more):
        return 0, 0
    value = first & (1 << (6 - n_more)) - 1 if n_more < 6 else 0
    for byte in more:
        value = value << 6 | byte & 0x3F
    return value, at + 1 + n_more


def _crc8(data: bytes) -> int:
    """Returns the checksum of a frame's head: the polynomial x^8 + x^2 + x + 1."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc
