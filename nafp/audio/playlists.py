"""Recognises a playlist by its first bytes, whatever the file is called.

ffmpeg takes a playlist for audio. It would open the files and addresses in it, wait for them, or play one of them for
ever. A playlist from elsewhere must not read files of this machine.
"""

from __future__ import annotations

import re

_KINDS = {
    "HLS": rb"#EXT(?:M3U|INF|-X-)",
    "ffconcat": rb"ffconcat",
    "PLS": rb"\[playlist\]",
    "ASX": rb"<asx|\[Reference\]",
    "SMIL": rb"<smil",
    "XSPF": rb"<playlist",
    "DASH": rb"<MPD",
    "Smooth Streaming": rb"<SmoothStreamingMedia",
    "SDP": rb"v=0\r?\n",
    "RTSP": rb"RTSPtext|rtsp://",
    "XML": rb"<\?xml",
}
_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:" + b"|".join(b"(%b)" % pattern for pattern in _KINDS.values()) + b")", re.IGNORECASE
)
# The containers that ffmpeg may read, by its names for them. None opens another file.
# fmt: off
CONTAINERS = ",".join((
    "aac", "ac3", "aiff", "amr", "amrnb", "amrwb", "ape", "asf", "au", "avi", "caf", "dsf", "dts", "dtshd", "eac3",
    "flac", "flv", "gsm", "iff", "loas", "m4a", "matroska", "mlp", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "mxf",
    "nut", "ogg", "oma", "rm", "sox", "tak", "truehd", "tta", "voc", "w64", "wav", "webm", "wv", "xwma",
))
# fmt: on


def kind(path: str) -> str:
    """Returns the kind of playlist that a file is, "" if it is none."""
    with open(path, "rb") as file:
        match = _START.match(file.read(512))
    return list(_KINDS)[(match.lastindex or 1) - 1] if match else ""
