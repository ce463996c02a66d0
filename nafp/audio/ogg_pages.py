"""Finds where the links of a chained Ogg file begin, and whether all of its pages are present and whole.

Radio recorders and `cat` chain Ogg files. libsndfile reads the first link of a chain, and passes over damaged pages
without a word. An Ogg file states no length, but each page states its own length, its number and a checksum:
https://www.rfc-editor.org/rfc/rfc3533.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from nafp.audio.windows import WHOLE, Link

_PAGE = re.compile(rb"OggS\x00[\x00-\x07]")
_HEAD_BYTES = 27
_FIRST = 2  # The flag of the first page of a stream.
_TAIL_BYTES = 1 << 17  # Two pages of the greatest size.
# The first bytes of the codecs in Ogg: Vorbis, Opus, FLAC, Speex, Theora, Skeleton, OggPCM, Kate, CELT.
_CODECS = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex", b"\x80theora", b"fishead", b"PCM", b"\x80kate", b"CELT")
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Page(NamedTuple):
    """A page that fits its checksum: its bytes in the file, its stream, and its number in the stream."""

    start: int
    end: int
    is_first: bool
    serial: int
    number: int


def links(data: mmap.mmap, *, thorough: bool) -> list[Link]:
    """Returns the links of a file that begins with "OggS".

    thorough: whether to read the file through. Otherwise only a file that ends in another stream than it begins with is
    read through.
    """
    if not thorough and _serial(data, _last(data)) == _serial(data, 0):
        return [WHOLE]
    starts, torn = [0], [""]
    before: dict[int, int] = {}  # Number of the last page of each stream of this link.
    expected, was_first = 0, True
    for page in _pages(data):
        if page.is_first and not was_first:
            starts.append(page.start)
            torn.append("")
            before = {}
        is_next = page.start == expected and page.number == before.get(page.serial, page.number - 1) + 1
        if not is_next and page.start != starts[-1]:
            torn[-1] = torn[-1] or "Ogg pages are damaged or missing"
        before[page.serial] = page.number
        expected, was_first = page.end, page.is_first
    if _last(data) >= expected:
        torn[-1] = torn[-1] or "its last Ogg page is not whole"
    ends = [*starts[1:], 0]
    return [Link(start=start, end=end, torn=why) for start, end, why in zip(starts, ends, torn)]


def _pages(data: mmap.mmap) -> Iterator[_Page]:
    """Yields the whole pages of a file."""
    at = 0
    while match := _PAGE.search(data, at):
        at = match.start()
        length = _page_bytes(data, at)
        page = data[at : at + length]
        if not length or len(page) < length or struct.unpack("<I", page[22:26])[0] != _checksum(page):
            at += 1
            continue
        payload = page[_HEAD_BYTES + page[26] :]
        serial, number = struct.unpack("<II", page[14:22])
        yield _Page(at, at + length, bool(page[5] & _FIRST) and payload.startswith(_CODECS), serial, number)
        at += length


def _checksum(page: bytes) -> int:
    """Returns the checksum of a page: that of zlib, from zero, with mirrored bits."""
    mirrored = (page[:22] + bytes(4) + page[26:]).translate(_MIRRORED)
    crc = zlib.crc32(mirrored, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


def _page_bytes(data: mmap.mmap, at: int) -> int:
    """Returns the length of the page that begins at a byte, 0 if its head is not whole."""
    head = data[at : at + _HEAD_BYTES]
    if len(head) < _HEAD_BYTES:
        return 0
    lengths = data[at + _HEAD_BYTES : at + _HEAD_BYTES + head[26]]
    return _HEAD_BYTES + len(lengths) + sum(lengths) if len(lengths) == head[26] else 0


def _last(data: mmap.mmap) -> int:
    return data.rfind(b"OggS\x00", max(0, len(data) - _TAIL_BYTES))


def _serial(data: mmap.mmap, at: int) -> int:
    serial = data[at + 14 : at + 18] if at >= 0 else b""
    return struct.unpack("<I", serial)[0] if len(serial) == 4 else -1
