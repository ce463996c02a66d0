"""Reads audio files that libsndfile does not know (m4a, aac, webm, wma, video) through the ffmpeg program.

ffmpeg may open the file and nothing else, and as a container only, never as a playlist (see `playlists`). It is ended
if it gives nothing for `PATIENCE_S` seconds, and it ends with this process.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import headers, playlists
from nafp.jobs import child_programs

HOW_TO_GET_IT = "apt install ffmpeg, brew install ffmpeg, conda install ffmpeg, or https://ffmpeg.org"
PATIENCE_S = 60.0  # A file is read at many times its speed. Half of this is a network disk that wakes up.
_CONFINED = ["-protocol_whitelist", "file", "-format_whitelist", playlists.CONTAINERS]


def installed() -> bool:
    """Returns whether the programs ffmpeg and ffprobe are on the PATH."""
    return bool(shutil.which("ffmpeg") and shutil.which("ffprobe"))


class Reader:
    """The first audio stream of a file, at its own rate and with all its channels.

    seconds: the length that the container states, 0.0 if it states none. damage: why decoding stopped early, "" if it
    did not. Raises errors.FfmpegFailed for a file without audio.
    """

    def __init__(self, path: str):
        self.path, self.damage = path, ""
        header = _probe(path)
        streams = header.get("streams") or []
        if not streams:
            raise errors.FfmpegFailed("no audio stream in it")
        self.sample_rate_hz = int(streams[0].get("sample_rate") or 0)
        self.channels = int(streams[0].get("channels") or 0)
        if self.sample_rate_hz < 1 or self.channels < 1:
            raise errors.FfmpegFailed("ffprobe cannot tell its sample rate or its channels")
        self.seconds = _seconds(header, path)
        self.length_s = self.seconds
        self.tolerance_s = headers.tolerance_s(self.seconds, n_streams=int(header["format"].get("nb_streams", 1)))

    def pieces(self, first_frame: int) -> Iterator[np.ndarray]:
        """Yields float32 [n, channels], one second each, from this frame on.

        The frames before it are decoded and dropped: ffmpeg's own seeking is off by up to a packet.
        """
        frame = 4 * self.channels  # Bytes.
        skip = frame * first_frame
        arguments = ["-nostdin", "-v", "error", *_CONFINED, "-threads", "1", "-i", f"file:{self.path}"]
        # The rate and the channels of a damaged stream may change on the way. They stay those of the header.
        arguments += ["-map", "0:a:0", "-ar", str(self.sample_rate_hz), "-ac", str(self.channels)]
        with _running([*arguments, "-c:a", "pcm_f32le", "-f", "f32le", "-"]) as decoder:
            try:
                while skip and (dropped := decoder.read(min(skip, 1 << 20), PATIENCE_S)):
                    skip -= len(dropped)
                while data := decoder.read(frame * self.sample_rate_hz, PATIENCE_S):
                    yield np.frombuffer(data[: len(data) - len(data) % frame], "<f4").reshape(-1, self.channels)
                # Without a stated length, only ffmpeg's remarks tell that there was more.
                self.damage = decoder.failure(self.path, strict=not self.seconds)
            except TimeoutError as error:
                self.damage = f"ffmpeg {error} and was ended"

    def close(self) -> None:
        """Does nothing: ffmpeg runs only while pieces are drawn."""


def listen(
    inputs: list[str],
    *,
    sample_rate_hz: int,
    block_s: float,
    stdin: IO[bytes] | None = None,
    patience_s: float = 0.0,
    memory_bytes: int = 0,
) -> Iterator[np.ndarray]:
    """Yields the audio of an input of any kind, float32 [S, 2], until it ends or the iterator is closed.

    It is stereo whatever the input is: ffmpeg would add opposite channels up to silence (see `channels`).

    inputs: ffmpeg's arguments up to the input, such as ["-i", URL]. block_s: the longest block in seconds. stdin: the
    file that the input "pipe:0" reads. patience_s: ffmpeg is ended after so many seconds without sound, 0 for never.
    memory_bytes: what it may take, 0 for no limit.
    Raises errors.FfmpegFailed if no audio comes, or if the input breaks off.
    """
    arguments = [*([] if stdin else ["-nostdin"]), "-v", "error", *inputs, "-map", "0:a:0"]
    arguments += ["-ac", "2", "-ar", str(sample_rate_hz), "-c:a", "pcm_f32le", "-f", "f32le"]
    n_bytes = 8 * max(1, round(block_s * sample_rate_hz))
    with _running([*arguments, "-flush_packets", "1", "-"], stdin, memory_bytes) as decoder:
        try:
            while data := decoder.read(n_bytes, patience_s):
                yield np.frombuffer(data[: len(data) - len(data) % 8], "<f4").reshape(-1, 2)
            failure = decoder.failure(inputs[-1])
        except TimeoutError as error:
            failure = f"ffmpeg {error} and was ended"
        if failure:
            raise errors.FfmpegFailed(failure)


class _Decoder(NamedTuple):
    """A running ffmpeg. output: the samples that it writes. remarks: what it writes to standard error."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    remarks: IO[bytes]

    def read(self, n_bytes: int, patience_s: float = 0.0) -> bytes:
        """Reads n_bytes of samples, fewer at the end only. Raises what `child_programs.read` raises."""
        return child_programs.read(self.output, n_bytes, patience_s=patience_s)

    def failure(self, name: str, *, strict: bool = False) -> str:
        """Waits until ffmpeg ends, and returns why it failed, "" if it did not. strict: whether any remark counts."""
        code = self.process.wait()
        self.remarks.seek(0)
        text = self.remarks.read()
        return _reason(text, name) if code or (strict and text.strip()) else ""


@contextlib.contextmanager
def _running(arguments: list[str], stdin: IO[bytes] | None = None, memory_bytes: int = 0) -> Iterator[_Decoder]:
    """Runs ffmpeg during the block.

    ffmpeg gets a session of its own, so that Ctrl-C in a terminal does not end it before its reader ends. Otherwise the
    file would look cut off at that moment.
    """
    with tempfile.TemporaryFile() as remarks:
        options = dict(stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=remarks, bufsize=0)
        with child_programs.running(["ffmpeg", *arguments], start_new_session=True, **options) as process:
            assert process.stdout is not None
            if memory_bytes:
                child_programs.confine(process, memory_bytes)
            yield _Decoder(process, process.stdout, remarks)


def _probe(path: str) -> dict[str, Any]:
    """Returns what ffprobe finds out about a file: {"streams": [...], "format": {...}}."""
    wanted = "stream=sample_rate,channels,duration:format=duration,format_name,nb_streams"
    command = ["ffprobe", "-v", "error", *_CONFINED, "-select_streams", "a:0", "-show_entries", wanted]
    try:
        code, output, remarks = child_programs.answer([*command, "-of", "json", f"file:{path}"], patience_s=PATIENCE_S)
    except TimeoutError as error:
        raise errors.FfmpegFailed(f"ffprobe {error} and was ended") from None
    if code:
        raise errors.FfmpegFailed(_reason(remarks, path))
    return json.loads(output or b"{}")


def _seconds(header: dict[str, Any], path: str) -> float:
    """Returns the length that a container states, 0.0 if it states none, or one that cannot be true."""
    about = header.get("format", {})
    if not headers.states_length(about.get("format_name", "")):
        return 0.0
    seconds = header["streams"][0].get("duration") or about.get("duration")
    return headers.believed(max(float(seconds or 0.0), headers.own_seconds(path)), os.path.getsize(path))


def _reason(remarks: bytes, path: str) -> str:
    """Returns the last two lines that ffmpeg wrote, without its memory addresses and the file's name."""
    lines = remarks.decode(errors="replace").strip().splitlines()[-2:]
    texts = [re.sub(r"^\[[^]]*\] ", "", line).removeprefix(f"file:{path}: ") for line in lines]
    return f"ffmpeg: {', '.join(texts) or 'no reason given'}"
