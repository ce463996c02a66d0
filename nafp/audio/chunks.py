"""Where the samples of WAV, RF64, W64, AIFF, AU and CAF files begin, and how many bytes of them the header states.

libsndfile opens such a file that was cut off without a warning, only shorter. A writer to a pipe, and a recorder that
lost power, leave a size that means nothing. A WAV file of more than 4 GiB states its size modulo 4 GiB.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from nafp.audio.windows import WHOLE, Link

# Sizes that writers to a pipe state: sox 0x7ffff000, arecord 0x80000000, others 0x7fff0000 or 0xffffffff, each plus or
# minus a header. A real file would have one of these sizes by chance only.
_UNKNOWN = ((0x7FFF0000, 0x80000100), (0xFFFF0000, 0x100000000), (0x7FFFFFFFFFFF0000, 1 << 64))
_NAME = re.compile(rb"[ -~\xa9]{4}")
_W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_W64_TAILS = (b"\x91\xcf\x11", b"\xac\xd3\x11")  # In the middle of the names of its chunks.
_FORMS = {b"RIFX": ">I", b"FORM": ">I", b"caff": ">q"}  # The struct formats of the sizes of chunks. Others have "<I".
_MOST_CHUNKS = 10_000  # A file of zeros would have millions of them.
_TAGS = (b"ID3", b"TAG", b"APETAGEX")  # What taggers put behind the chunks.


class _Data(NamedTuple):
    """The samples of a file.

    start: their first byte. stated: their number of bytes as the header says. field: the byte at which the header says
    so. form: the struct format of that number. offset: how much more than `stated` the field holds.
    """

    start: int
    stated: int
    field: int
    form: str
    offset: int = 0


def looks_like(data: mmap.mmap) -> bool:
    """Returns whether the first bytes of a file are those of one of these kinds."""
    return data[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"caff") or data[:16] == _W64_RIFF


def links(data: mmap.mmap) -> list[Link]:
    """Returns the links of a file of one of these kinds. A file of another kind is one link.

    Two WAV files that were joined are two links.
    """
    stretches, at = [], 0
    while True:
        link, following = _link(data, at)
        stretches.append(link)
        if not following:
            return stretches
        at = following


def _link(data: mmap.mmap, at: int) -> tuple[Link, int]:
    """Returns the link that begins at a byte, and the byte at which another WAV file begins, 0 if there is none."""
    samples = _data(data, at)
    window = Link(start=at) if at else WHOLE
    if samples is None or samples.start >= len(data):
        return window, 0
    present = len(data) - samples.start
    if samples.stated > present:
        is_known = not any(low <= samples.stated < high for low, high in _UNKNOWN)
        if samples.form == ">q" and is_known:  # libsndfile refuses a CAF file that was cut off.
            return _regained(data, at, samples, present), 0
        return window._replace(factor=samples.stated / present if is_known else 1.0), 0
    end = samples.start + samples.stated
    following = _following(data, end, at) if samples.stated else None
    if following:
        return window._replace(end=following), following
    if following is not None:
        # libsndfile reads the chunks behind the samples of a W64 file as sound.
        return (window._replace(end=end) if data[at : at + 16] == _W64_RIFF and end < len(data) else window), 0
    if not samples.stated and _following(data, end, at) is not None:
        return window, 0  # Chunks follow: it holds no samples, as it says.
    return _regained(data, at, samples, present), 0


def _following(data: mmap.mmap, end: int, first: int) -> int | None:
    """Returns the byte of the WAV file that follows the samples, 0 for nothing or chunks, None for more samples.

    end: the byte behind the samples. first: the first byte of the link.
    """
    if data[first : first + 16] == _W64_RIFF:
        return _following_w64(data, end + -(end - first) % 8)
    form = _FORMS.get(data[first : first + 4], "<I")
    at, width = end, struct.calcsize(form)
    if at + 1 < len(data) and at % 2 and _NAME.fullmatch(data[at + 1 : at + 5]):
        at += 1
    for _ in range(_MOST_CHUNKS):
        name = data[at : at + 4]
        if name in (b"RIFF", b"RIFX") and data[at + 8 : at + 12] == b"WAVE":
            return at
        rest = len(data) - at
        if rest < 4 + width or name.startswith(_TAGS) or _is_blank(data, at):
            return 0
        size = struct.unpack(form, data[at + 4 : at + 4 + width])[0]
        if not _NAME.fullmatch(name) or not 0 <= size <= rest:
            return None
        at += 4 + width + size + _padding(size, form)
    return 0


def _following_w64(data: mmap.mmap, at: int) -> int | None:
    """Returns 0 if a chunk of a W64 file, or nothing, begins at a byte. Returns None for more samples."""
    rest = len(data) - at
    if rest < 24 or data[at : at + 8].startswith(_TAGS) or _is_blank(data, at):
        return 0
    size = int.from_bytes(data[at + 16 : at + 24], "little")
    return 0 if data[at + 5 : at + 8] in _W64_TAILS and 24 <= size <= rest else None


def _is_blank(data: mmap.mmap, at: int) -> bool:
    """Returns whether only zeros follow, and not so many that they might be silence."""
    return not any(data[at : at + 16]) and len(data) - at < 1 << 20 and not any(data[at:])


def _padding(size: int, form: str) -> int:
    """Returns the number of bytes between a chunk of this size and the next one. Only CAF (">q") has none."""
    return size % 2 if form != ">q" else 0


def _regained(data: mmap.mmap, at: int, samples: _Data, present: int) -> Link:
    """Returns a link whose header states the size that the samples have. The size stated before is its promise."""
    factor = samples.stated / present if samples.stated else 1.0
    header = bytes(data[at : samples.start])
    field = samples.field - at
    if samples.form == "<I" and present > 0xFFFFFFFF - len(header):
        return Link(_rf64(header, present), samples.start, factor=factor)
    width = struct.calcsize(samples.form)
    value = struct.pack(samples.form, min(present + samples.offset, 256**width - 1))
    return Link(header[:field] + value + header[field + width :], samples.start, factor=factor)


def _rf64(header: bytes, n_bytes: int) -> bytes:
    """Converts the header of a WAV file to that of RF64, whose sizes have 64 bits (EBU Tech 3306)."""
    sizes = struct.pack("<QQQI", n_bytes + len(header) + 28, n_bytes, 0, 0)
    unknown = b"\xff\xff\xff\xff"
    return b"RF64" + unknown + b"WAVEds64" + struct.pack("<I", 28) + sizes + header[12:-4] + unknown


def _data(data: mmap.mmap, at: int) -> _Data | None:
    """Returns where the samples of the file that begins at a byte are, None for another kind of file."""
    start = data[at : at + 16]
    if start[:4] in (b"RIFF", b"RIFX") and start[8:12] == b"WAVE":
        return _chunk(data, at + 12, b"data", "<I" if start[:4] == b"RIFF" else ">I")
    if start[:4] == b"RF64" and start[8:16] == b"WAVEds64":
        samples = _chunk(data, at + 12, b"data", "<I")
        stated = struct.unpack("<Q", data[at + 28 : at + 36])[0]
        return samples and samples._replace(stated=stated, field=at + 28, form="<Q")
    if start[:4] == b"FORM" and start[8:12] in (b"AIFF", b"AIFC"):
        return _chunk(data, at + 12, b"SSND", ">I")
    if start[:4] == b".snd" and len(start) == 16:
        first, stated = struct.unpack(">II", start[4:12])
        return _Data(at + first, stated, at + 8, ">I")
    if start[:4] == b"caff":
        return _chunk(data, at + 8, b"data", ">q")
    if start == _W64_RIFF:
        return _w64(data, at)
    return None


def _chunk(data: mmap.mmap, at: int, wanted: bytes, form: str) -> _Data | None:
    """Finds a chunk by its name. form: as of `_chunks`."""
    for name, stated, first in _chunks(data, at, form):
        if name == wanted:
            stated = (1 << 63) - 1 if stated < 0 else stated  # CAF: -1 is unknown.
            return _Data(first, stated, first - struct.calcsize(form), form)
    return None


def _chunks(data: mmap.mmap, at: int, form: str) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, size and first byte of each chunk, of _MOST_CHUNKS at most.

    form: the struct format of the size, which stands behind the four bytes of a chunk's name.
    """
    width = struct.calcsize(form)
    for _ in range(_MOST_CHUNKS):
        if at + 4 + width > len(data):
            return
        size = struct.unpack(form, data[at + 4 : at + 4 + width])[0]
        yield data[at : at + 4], size, at + 4 + width
        at += 4 + width + max(size, 0) + _padding(size, form)


def _w64(data: mmap.mmap, at: int) -> _Data | None:
    """Finds the samples of a W64 file. Its sizes count the 24 bytes of the chunk's own head."""
    at += 40
    while at + 24 <= len(data):
        size = struct.unpack("<Q", data[at + 16 : at + 24])[0]
        if data[at : at + 16] == _W64_DATA:
            return _Data(at + 24, max(0, size - 24), at + 16, "<Q", 24)
        if size < 24:
            return None
        at += size + -size % 8
    return None
