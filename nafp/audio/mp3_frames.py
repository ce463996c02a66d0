"""How many frames an MP3 file has, whatever its header states.

A Xing header states the number of frames, but not of those that were joined behind with `cat`. libsndfile guesses the
length of a file of variable bit rate without that header from its first frame, and stops reading there: it may read
only a third of the file. So frames are counted, and libsndfile gets a Xing header with their number.
"""

from __future__ import annotations

import functools
import mmap
import re
import struct
from typing import NamedTuple

from nafp.audio.windows import WHOLE, Link

# kbit/s of MPEG layer III by index, and Hz of version 1 (halved and quartered for 2 and 2.5):
# ISO/IEC 11172-3 and 13818-3, table of the frame header.
_KBPS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HZ = (44100, 48000, 32000)
_VERSION = {3: 1, 2: 2, 0: 3}  # The two version bits: MPEG 1, 2 and 2.5.
_SIDE_INFO = {(1, False): 32, (1, True): 17, (2, False): 17, (2, True): 9}  # Bytes; (version, mono)
# The first bytes of a frame of layer III whose bit rate and sampling rate are not reserved values.
_HEAD = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xeb]", re.DOTALL)
_LEAST_BYTES = 24  # The smallest frame: 8 kbit/s at 24 kHz.
_MOST_BYTES = 1441  # The greatest frame: 320 kbit/s at 32 kHz.
_LONGEST_S = 3600.0  # A file of a few bytes may be what is left of a longer one.
_TAG_BYTES = 1 << 20  # So much of a tag is searched for frames.
_JUNK_BYTES = 1 << 20  # There may be so much between a tag and the first frame.
_STRAY_BYTES = 1 << 16  # Less may stand before the first frame of a file without a tag, which may be of another kind.
_MOST_TAGS = 64


class _Frame(NamedTuple):
    n_samples: int
    n_bytes: int
    version: int  # 1, or 2 for MPEG 2 and 2.5
    mono: bool
    hz: int


class _Stated(NamedTuple):
    """What the header in the first frame states. at: where its number of frames is. n_bytes: 0 if it states none."""

    is_xing: bool
    at: int
    n_frames: int
    n_bytes: int


def links(data: mmap.mmap, *, thorough: bool) -> list[Link]:
    """Returns the one link of an MP3 file, with a header that states the number of its frames.

    A file without frames is one link too. thorough: whether to count the frames. Otherwise a header is believed if it
    fits the size of the file.
    """
    tags_end, first = _first_frame(data)
    if first is None:
        return [WHOLE]
    stated, start = _stated(data, first), first if first > tags_end else 0
    if stated and stated.is_xing and not thorough and _fits(stated, len(data) - first) and _is_silent(data, first):
        return [Link(start=start)]
    link = _counted(data, first, start, stated)
    n_strange = len(data[tags_end:first].strip(b"\0"))
    if n_strange > _MOST_BYTES and not link.torn:  # Zeros are filling; a few bytes are the end of a frame.
        return [link._replace(torn=f"{n_strange} bytes of something else stand before its first frame")]
    return [link]


def _counted(data: mmap.mmap, first: int, start: int, stated: _Stated | None) -> Link:
    frame = _frame(data[first : first + 4])
    assert frame is not None
    counted, joined, n_framed = _count_frames(data, first)
    n_frames = counted - (stated is not None)
    promise_s = stated.n_frames * frame.n_samples / frame.hz if stated else 0.0
    if stated is None or not stated.is_xing:
        is_cut = stated is not None and n_frames + 1 < stated.n_frames
        extra = stated is not None  # The frame of another header is sound to the decoder: silence.
        prefix = _xing(data[first : first + 4], n_frames + extra)
        return Link(prefix, first, promise_s=promise_s if is_cut else None)
    torn = _torn(n_frames, stated, joined)
    is_right, is_silent = abs(n_frames - stated.n_frames) <= 1, _is_silent(data, first)
    if is_right and is_silent:
        return Link(start=start, torn=torn)
    is_possible = promise_s <= _LONGEST_S + len(data)
    # If frame follows frame through all that is stated, the number of frames is a lie.
    is_full = _fits(stated, len(data) - first) and len(data) - first - n_framed <= _MOST_BYTES
    is_cut = not is_right and n_frames < stated.n_frames and is_possible and not is_full
    if is_cut and is_silent:
        return Link(start=start)
    n_bytes, at = frame.n_bytes, stated.at - first
    head = bytearray(data[first : first + n_bytes])
    head[4 : at - 8] = bytes(at - 12)
    head[at : at + 4] = struct.pack(">I", n_frames)
    if stated.n_bytes:
        head[at + 4 : at + 8] = struct.pack(">I", min(len(data) - first, 0xFFFFFFFF))
    is_told = is_cut or (not is_right and stated.n_frames < n_frames)
    return Link(bytes(head), first + n_bytes, promise_s=promise_s if is_told else None, torn=torn)


def _is_silent(data: mmap.mmap, first: int) -> bool:
    """Returns whether the side information of the first frame is all zeros.

    libmpg123 takes a frame with other side information for sound, even if a Xing header is in it. The two bytes before
    may be a checksum.
    """
    frame = _frame(data[first : first + 4])
    return frame is not None and not any(data[first + 6 : first + 4 + _SIDE_INFO[frame.version, frame.mono]])


def _torn(n_frames: int, stated: _Stated, joined: list[int]) -> str:
    """Says that the last of several joined files is cut off. Returns "" if it is not.

    joined: the frames that each header of a file joined behind states, from `_count_frames`.
    """
    n_stated = stated.n_frames + sum(joined) + len(joined)  # The frame of each header is counted, too.
    is_cut = bool(joined) and n_frames + 1 < n_stated <= n_frames + joined[-1] + 1
    return f"{n_frames} frames found of the {n_stated} that the headers of joined files state" if is_cut else ""


def _fits(stated: _Stated, n_bytes: int) -> bool:
    """Returns whether the stated number of bytes fits the file, apart from tags, and the stated number of frames."""
    is_possible = _LEAST_BYTES * stated.n_frames <= n_bytes <= _MOST_BYTES * (stated.n_frames + 2) + 4096
    return bool(stated.n_bytes) and 0 <= n_bytes - stated.n_bytes <= 4096 + n_bytes // 200 and is_possible


@functools.lru_cache(4096)
def _frame(header: bytes) -> _Frame | None:
    """Returns what the first four bytes of a frame say, None for bytes that begin no frame."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = _VERSION.get(header[1] >> 3 & 3), header[1] >> 1 & 3
    rate, hz = header[2] >> 4, header[2] >> 2 & 3
    if version is None or layer != 1 or rate in (0, 15) or hz == 3:
        return None
    n_samples = 1152 if version == 1 else 576
    bits_per_s = _KBPS[min(version, 2)][rate] * 1000
    padding = header[2] >> 1 & 1
    rate_hz = _HZ[hz] >> (version - 1)
    return _Frame(
        n_samples, n_samples // 8 * bits_per_s // rate_hz + padding, min(version, 2), header[3] >> 6 == 3, rate_hz
    )


def _first_frame(data: mmap.mmap) -> tuple[int, int | None]:
    """Returns where ID3v2 tags end, and the position of the first frame that two others follow, past some junk."""
    at = 0
    for _ in range(_MOST_TAGS):
        if data[at : at + 3] != b"ID3" or len(data) < at + 10:
            break
        a, b, c, d = data[at + 6 : at + 10]
        end = at + 10 + (a << 21 | b << 14 | c << 7 | d)
        hidden = _hidden(data, at + 10, end)
        if hidden is not None:
            return at, hidden
        at = end
    return at, _resumed(data, at, min(len(data), at + (_JUNK_BYTES if at else _STRAY_BYTES)), n_more=2)


def _hidden(data: mmap.mmap, start: int, end: int) -> int | None:
    """Returns the first frame inside a tag, if frame follows frame from there to beyond the end that the tag states.

    Then the stated size is damaged. Bytes of a picture may look like a frame or two, but not like a row of them.
    """
    beyond = min(end, len(data) - 4)
    for match in _HEAD.finditer(data, start, min(end, start + _TAG_BYTES)):
        position = match.start()
        while position < beyond and (frame := _frame(data[position : position + 4])):
            position += frame.n_bytes
        if position >= beyond and position - match.start() > _MOST_BYTES:
            return match.start()
    return None


def _resumed(data: mmap.mmap, at: int, end: int, *, n_more: int = 1) -> int | None:
    """Returns the first frame in these bytes that `n_more` others follow, or the end of the file."""
    for match in _HEAD.finditer(data, at, end):
        first = position = match.start()
        for _ in range(n_more + 1):
            frame = _frame(data[position : position + 4])
            if frame is None:
                break
            position += frame.n_bytes
            if position >= len(data):
                return first
        else:
            return first
    return None


def _stated(data: mmap.mmap, first: int) -> _Stated | None:
    """Returns what a Xing, Info or VBRI header in the first frame states."""
    frame = _frame(data[first : first + 4])
    if frame is None:
        return None
    at = first + 4 + _SIDE_INFO[frame.version, frame.mono]
    if data[at : at + 4] in (b"Xing", b"Info"):
        flags = struct.unpack(">I", data[at + 4 : at + 8])[0]
        n_frames, n_bytes = struct.unpack(">II", data[at + 8 : at + 16])
        return _Stated(True, at + 8, n_frames, n_bytes if flags & 2 else 0) if flags & 1 else None
    if data[first + 36 : first + 40] == b"VBRI":
        n_bytes, n_frames = struct.unpack(">II", data[first + 46 : first + 54])
        return _Stated(False, first + 50, n_frames, n_bytes)
    return None


def _count_frames(data: mmap.mmap, at: int) -> tuple[int, list[int], int]:
    """Counts the frames from a frame on.

    Returns their number, what each header of a file joined behind states, and how many bytes the frames have.
    """
    n_frames, last, joined, n_framed = 0, len(data) - 4, list[int](), 0
    while at < last:
        frame = _frame(data[at : at + 4])
        if frame:
            n_frames, n_framed = n_frames + 1, n_framed + frame.n_bytes
            tag = at + 4 + _SIDE_INFO[frame.version, frame.mono]
            if n_frames > 1 and data[tag : tag + 4] in (b"Xing", b"Info") and (stated := _stated(data, at)):
                is_possible = stated.n_frames * frame.n_samples / frame.hz <= _LONGEST_S + len(data)
                joined += [stated.n_frames] if is_possible else []
            at += frame.n_bytes
            continue
        resumed = _resumed(data, at + 1, len(data))
        if resumed is None:
            break
        at = resumed
    return n_frames, joined, n_framed


def _xing(header: bytes, n_frames: int) -> bytes:
    """Returns the silent frame that an encoder writes first: the file's own header, "Xing", the number of frames.

    header: the first four bytes of a frame.
    """
    highest = bytes([header[0], header[1] | 1, 14 << 4 | header[2] & 0x0C, header[3]])
    frame = _frame(highest)  # The highest bit rate, so that the count fits in.
    assert frame is not None
    start = highest + bytes(_SIDE_INFO[frame.version, frame.mono])
    start += b"Xing" + struct.pack(">II", 1, n_frames)
    return start + bytes(frame.n_bytes - len(start))
