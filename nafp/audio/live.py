"""Reads sound block by block from any input. The name of an input tells its kind:

set.mp3                         a file
https://radio.example/stream    a URL that ffmpeg opens: http, rtmp, hls, srt, udp, ...
-                               standard input: an audio file of any kind, or bare float32
microphone                      the default microphone
ffmpeg:-f pulse -i default      anything else, as ffmpeg's own arguments
"""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, ffmpeg, playlists

STDIN, MICROPHONE, FFMPEG = "-", "microphone", "ffmpeg:"
MICROPHONE_HZ = 16_000  # Every driver offers this rate, and some do not offer 8 kHz.
RAW_HZ = (1000, 384_000)  # Rates that bare samples may have.
FILE_BLOCK_S, LIVE_BLOCK_S = 30.0, 1.0
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# A station that sends nothing for half a minute is gone. After a broken connection ffmpeg connects again.
# fmt: off
_PATIENT = [
    "-rw_timeout", "30000000", "-reconnect", "1", "-reconnect_streamed", "1",
    "-reconnect_on_network_error", "1", "-reconnect_delay_max", "30",
]
# fmt: on
# A stream of somebody else must not open a file of this machine. Protocols as ffmpeg names them.
_REMOTE = "async,cache,crypto,data,ftp,gopher,gophers,hls,http,httpproxy,https,mmsh,mmst,rist,rtmp,rtmpe,rtmps,rtmpt,"
_REMOTE += "rtp,rtsp,sctp,sftp,srt,srtp,tcp,tls,udp,udplite,unix"


class Input(NamedTuple):
    """Something to listen to.

    is_live: whether it can be heard only once, and only from now on. seconds: its length, 0 if unknown.
    """

    name: str
    is_live: bool
    seconds: float = 0.0


def opened(name: str) -> Input:
    """Returns the input of this name. Raises errors.Undecodable for a file that cannot be read."""
    if name in (STDIN, MICROPHONE) or name.startswith(FFMPEG) or _URL.match(name):
        return Input(name, True)
    if os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name):
        return Input(name, True)  # A pipe, or a device.
    return Input(name, False, decode.probe(name).seconds)


def check(name: str, *, raw_hz: int = 0) -> None:
    """Raises errors.Undecodable if the input needs ffmpeg, and ffmpeg is not installed or its arguments are wrong."""
    if name == MICROPHONE or (name == STDIN and raw_hz) or not opened(name).is_live:
        return
    if not ffmpeg.installed():
        hint = "; bare float32 needs none: --raw_hz" if name == STDIN else ""
        reason = f"needs ffmpeg, which is not installed ({ffmpeg.HOW_TO_GET_IT}{hint})"
        raise errors.Undecodable(name, reason, tool_missing=True)
    _arguments(name)


def require_raw(raw_hz: int) -> None:
    """Raises errors.Invalid for a rate that bare samples cannot have. 0 is that of an audio file."""
    if raw_hz and not RAW_HZ[0] <= raw_hz <= RAW_HZ[1]:
        raise errors.Invalid(f"--raw_hz={raw_hz}: samples per second, {RAW_HZ[0]} to {RAW_HZ[1]}, such as 16000")


def blocks(name: str, *, sample_rate_hz: int, start_s: float = 0.0, raw_hz: int = 0) -> Iterator[np.ndarray]:
    """Yields the sound of an input as mono float32 [S].

    start_s: the second from which on a file is read. A live input is read as it arrives. raw_hz: the rate of standard
    input if it is bare little-endian mono float32, 0 if it is an audio file. Silence takes the place of samples that
    are not finite or absurdly large. Raises errors.Undecodable if nothing can be decoded, and if a live input breaks
    off.
    """
    if name == MICROPHONE:
        from nafp.audio import microphone  # Here: sounddevice is an extra.

        recording = microphone.blocks(sample_rate_hz=MICROPHONE_HZ, block_s=LIVE_BLOCK_S)
        return decode.resampled(recording, from_hz=MICROPHONE_HZ, to_hz=sample_rate_hz)
    if name == STDIN and raw_hz:
        return decode.resampled(_bare(sys.stdin.buffer, raw_hz), from_hz=raw_hz, to_hz=sample_rate_hz)
    if opened(name).is_live:
        return _through_ffmpeg(name, sample_rate_hz)
    return decode.stream(name, sample_rate_hz=sample_rate_hz, block_s=FILE_BLOCK_S, start_s=start_s, mend=True)


def _bare(stream: BinaryIO, rate_hz: int) -> Iterator[np.ndarray]:
    """Yields bare float32 samples from a binary stream, one second at a time."""
    while data := stream.read(4 * rate_hz):
        samples = np.frombuffer(data[: len(data) - len(data) % 4], "<f4")
        if not np.isfinite(samples).all() or np.abs(samples).max(initial=0) > 100:
            reason = f"not bare float32 at {rate_hz} Hz (ffmpeg writes it with: -f f32le -ac 1 -ar {rate_hz})"
            raise errors.Undecodable(STDIN, reason)
        yield samples


def _through_ffmpeg(name: str, sample_rate_hz: int) -> Iterator[np.ndarray]:
    stdin = sys.stdin.buffer if name == STDIN else None
    try:
        heard = ffmpeg.listen(_arguments(name), sample_rate_hz=sample_rate_hz, block_s=LIVE_BLOCK_S, stdin=stdin)
        yield from decode.mono(heard)
    except errors.FfmpegFailed as error:
        raise errors.Undecodable(name, str(error)) from None


def _arguments(name: str) -> list[str]:
    if name == STDIN:
        return [*_confined("pipe"), "-i", "pipe:0"]
    if name.startswith(FFMPEG):
        return _spoken(name)
    if not _URL.match(name):
        return [*_confined("file"), "-i", f"file:{name}"]
    if name.lower().startswith("file:"):
        return [*_confined("file"), "-i", name]
    patient = _PATIENT if re.match("https?://", name, re.IGNORECASE) else []
    return [*patient, "-protocol_whitelist", _REMOTE, "-i", name]


def _spoken(name: str) -> list[str]:
    """Returns the arguments of an input in ffmpeg's own words. They are the user's, and are not confined."""
    try:
        arguments = shlex.split(name.removeprefix(FFMPEG))
    except ValueError as error:
        raise errors.Undecodable(name, f"the arguments of ffmpeg cannot be told apart: {error}") from None
    if not arguments:
        raise errors.Undecodable(name, f"names no input; write ffmpeg's arguments behind {FFMPEG}, such as -i ADDRESS")
    return arguments


def _confined(protocol: str) -> list[str]:
    """Returns ffmpeg's arguments that let it read a container through this protocol, and no playlist."""
    return ["-protocol_whitelist", protocol, "-format_whitelist", playlists.CONTAINERS]
