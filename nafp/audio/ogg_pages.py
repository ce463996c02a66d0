"""Where the links of a chained Ogg file begin, and whether its last page is whole.

Radio recorders and `cat` chain Ogg files. libsndfile reads the first link of a chain. An Ogg file states no length, but
each page states its own: https://www.rfc-editor.org/rfc/rfc3533.
"""

from __future__ import annotations

import mmap
import re
import struct

from nafp.audio.windows import WHOLE, Link

_FIRST = re.compile(rb"OggS\x00[\x02\x03\x06\x07]")
_HEAD_BYTES = 27
_TAIL_BYTES = 1 << 17  # Two pages of the greatest size.
# The first bytes of the codecs in Ogg: Vorbis, Opus, FLAC, Speex, Theora, Skeleton, OggPCM, Kate, CELT.
_CODECS = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex", b"\x80theora", b"fishead", b"PCM", b"\x80kate", b"CELT")


def links(data: mmap.mmap, *, thorough: bool) -> list[Link]:
    """Returns the links of a file that begins with "OggS".

    thorough: whether to read the file through. Otherwise only one that ends in another stream than it begins with is.
    """
    if not thorough and _serial(data, _last(data)) == _serial(data, 0):
        return [WHOLE._replace(torn=_torn(data))]
    starts = _starts(data)
    if len(starts) < 2:
        return [WHOLE._replace(torn=_torn(data))]
    found = [Link(start=start, end=end) for start, end in zip(starts, [*starts[1:], 0])]
    return [*found[:-1], found[-1]._replace(torn=_torn(data))]


def _starts(data: mmap.mmap) -> list[int]:
    """Returns the bytes at which links begin. The first pages of several streams in a row begin one link."""
    starts, expected = [0], 0
    for match in _FIRST.finditer(data):
        at = match.start()
        length = _page_bytes(data, at)
        payload = at + _HEAD_BYTES + data[at + _HEAD_BYTES - 1] if length else 0
        if not length or not data[payload : payload + 8].startswith(_CODECS):
            continue
        if at not in (0, expected):
            starts.append(at)
        expected = at + length
    return starts


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


def _torn(data: mmap.mmap) -> str:
    """Returns in words that the last page is not whole, "" if it is."""
    at = _last(data)
    if at < 0:
        return ""
    length = _page_bytes(data, at)
    return "" if length and at + length <= len(data) else "its last Ogg page is not whole"
