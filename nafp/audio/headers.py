"""Finds the sound in a file, whatever its header states. A header is a hint, and neither a promise nor a ceiling.

Some files are several recordings that were joined. Some state a length that is too small, that their writer did not
know, or that is impossible. `links` tells the kind of a file by its content, never by its suffix.
"""

from __future__ import annotations

import mmap
import struct

from nafp.audio import chunks, flac_frames, mp3_frames, ogg_pages
from nafp.audio.windows import WHOLE, Link

# Not even silence is coded in less than a byte a second, so a header that states more seconds is damaged. An hour is
# allowed on top, because a few bytes may be the beginning of a file that was cut off, and still state its full length.
_LEAST_BYTES_PER_S, _GRACE_S = 1.0, 3600.0
# Microsoft's Advanced Systems Format: the first bytes of a file, and of its File Properties Object.
_ASF_START = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_WAVPACK_HZ = (6000, 8000, 9600, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000, 192000)
_ASF_HEAD_BYTES = 1 << 16
# Containers of these names (ffmpeg's) state their length. ffmpeg guesses that of the others from a bit rate.
_STATING = frozenset(
    "aiff ape asf au avi caf flac flv matroska mov mp4 mpc mpc8 ogg tak tta w64 wav webm wv".split()  # noqa: SIM905
)


def links(path: str, *, thorough: bool = True) -> list[Link]:
    """Returns the stretches of a file that libsndfile is to read one after the other.

    thorough: whether the file is about to be decoded, so that reading it through costs little. Otherwise only a file
    whose end contradicts its header is read through.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _links(data, thorough)
    except (OSError, ValueError, LookupError, struct.error):  # A file without a whole header is read as it is.
        return [WHOLE]


def _links(data: mmap.mmap, thorough: bool) -> list[Link]:
    start = data[:4]
    if start == b"OggS":
        return ogg_pages.links(data, thorough=thorough)
    if start == b"fLaC":
        return flac_frames.links(data, thorough=thorough)
    if chunks.looks_like(data):
        return chunks.links(data)
    return mp3_frames.links(data, thorough=thorough)


def believed(seconds: float, n_bytes: int) -> float:
    """Returns the length that a header states, 0.0 (unknown) if a file of this size cannot be that long."""
    return seconds if 0.0 < seconds <= _GRACE_S + n_bytes / _LEAST_BYTES_PER_S else 0.0


def own_seconds(path: str) -> float:
    """Returns the length that a WMA or WavPack file states, 0.0 for others.

    Of these ffmpeg reports the length that it finds, which is shorter for a file that was cut off.
    """
    with open(path, "rb") as file:
        head = file.read(_ASF_HEAD_BYTES)
    return _asf_seconds(head) or _wavpack_seconds(head)


def _wavpack_seconds(head: bytes) -> float:
    """Reads the header of the first block: https://www.wavpack.com/WavPack5FileFormat.pdf, section 2.0."""
    if not head.startswith(b"wvpk") or len(head) < 32:
        return 0.0
    n_samples, flags = struct.unpack("<I8xI", head[12:28])
    rate = flags >> 23 & 15
    return n_samples / _WAVPACK_HZ[rate] if n_samples < 2**32 - 1 and rate < len(_WAVPACK_HZ) else 0.0


def _asf_seconds(head: bytes) -> float:
    at = head.find(_ASF_PROPERTIES) if head.startswith(_ASF_START) else -1
    if at < 0 or len(head) < at + 92:
        return 0.0
    duration, _, preroll_ms, flags = struct.unpack("<QQQI", head[at + 64 : at + 92])  # In steps of 100 ns.
    return 0.0 if flags & 1 else max(0.0, duration / 1e7 - preroll_ms / 1e3)  # 1: a broadcast, of unknown length.


def tolerance_s(seconds: float, *, n_streams: int) -> float:
    """Returns by how many seconds the sound may be shorter than its container states.

    n_streams: the number of streams. Of a container with several, one may be a video that runs on without sound.
    """
    return 0.5 if n_streams == 1 else 1.0 + 0.05 * seconds


def states_length(container: str) -> bool:
    """Returns whether a container states its length. container: ffmpeg's names for it, such as "mov,mp4,m4a"."""
    return not _STATING.isdisjoint(container.split(","))
