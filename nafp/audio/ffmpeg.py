"""Audio out of files that libsndfile does not know (m4a, aac, webm, wma, video), through ffmpeg."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import numpy as np

from nafp import errors

HOW_TO_GET_IT = "apt install ffmpeg, brew install ffmpeg, conda install ffmpeg, or https://ffmpeg.org"


def installed() -> bool:
    return bool(shutil.which("ffmpeg") and shutil.which("ffprobe"))


class Reader:
    """The first audio stream of a file, at its own rate and with all its channels.

    seconds: as the container says, 0.0 when it does not. damage: why decoding stopped early, else "".
    """

    def __init__(self, path: str):
        self.path, self.damage = path, ""
        found = _probe(path)
        streams = found.get("streams") or []
        if not streams:
            raise errors.FfmpegFailed("no audio stream in it")
        self.sample_rate_hz = int(streams[0].get("sample_rate") or 0)
        self.channels = int(streams[0].get("channels") or 0)
        if self.sample_rate_hz < 1 or self.channels < 1:
            raise errors.FfmpegFailed("ffprobe cannot tell its sample rate or its channels")
        promised = streams[0].get("duration") or found.get("format", {}).get("duration")
        self.seconds = float(promised or 0.0)
        self.tolerance_s = 1.0 + 0.05 * self.seconds  # A video may run on without its sound.

    def pieces(self, first_frame: int) -> Iterator[np.ndarray]:
        """Yields float32 [n, channels], one second each, from this frame on.

        What comes before is decoded and dropped: ffmpeg's own seeking lands up to a packet away.
        """
        n_bytes = 4 * self.channels * self.sample_rate_hz
        skip = 4 * self.channels * first_frame
        with tempfile.TemporaryFile() as complaints:
            process = _decoder(self.path, complaints)
            try:
                while skip and (dropped := process.stdout.read(min(skip, 1 << 20))):
                    skip -= len(dropped)
                while data := process.stdout.read(n_bytes):
                    whole = len(data) - len(data) % (4 * self.channels)
                    yield np.frombuffer(data[:whole], "<f4").reshape(-1, self.channels)
                if process.wait():
                    complaints.seek(0)
                    self.damage = _reason(complaints.read(), self.path)
            finally:
                process.kill()
                process.stdout.close()
                process.wait()

    def close(self) -> None:
        """Does nothing: ffmpeg runs only while pieces are drawn."""


def listen(inputs: list[str], *, sample_rate_hz: int, block_s: float, stdin: object = None) -> Iterator[np.ndarray]:
    """Yields what an input of any kind gives, mono float32 [S], until it ends or nobody draws any more.

    inputs: ffmpeg's arguments up to the input, such as ["-i", URL]; block_s: at most so much at a time.
    stdin: a file that the input "pipe:0" reads. Raises FfmpegFailed when nothing comes, or when it breaks off.
    """
    command = ["ffmpeg", *([] if stdin else ["-nostdin"]), "-v", "error", *inputs, "-map", "0:a:0"]
    command += ["-ac", "1", "-ar", str(sample_rate_hz), "-c:a", "pcm_f32le", "-f", "f32le"]
    command += ["-flush_packets", "1", "-"]
    n_bytes = 4 * max(1, round(block_s * sample_rate_hz))
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command,
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        )
        try:
            while data := process.stdout.read(n_bytes):
                yield np.frombuffer(data[: len(data) - len(data) % 4], "<f4")
            if process.wait():
                complaints.seek(0)
                raise errors.FfmpegFailed(_reason(complaints.read(), inputs[-1]))
        finally:
            process.kill()
            process.stdout.close()
            process.wait()


def _probe(path: str) -> dict:
    wanted = "stream=sample_rate,channels,duration:format=duration"
    command = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", wanted]
    command += ["-of", "json", f"file:{path}"]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise errors.FfmpegFailed(_reason(done.stderr, path))
    return json.loads(done.stdout or b"{}")


def _decoder(path: str, complaints: object) -> subprocess.Popen:
    """Starts ffmpeg writing raw float32 to a pipe.

    In a session of its own, so that Ctrl-C in a terminal does not end it before its reader: a file
    would look cut off there.
    """
    command = ["ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-i", f"file:{path}"]
    command += ["-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "f32le", "-"]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=complaints,
        start_new_session=True,
    )


def _reason(complaints: bytes, path: str) -> str:
    """Gives the last two lines ffmpeg wrote, without its own addresses and the file's name."""
    lines = complaints.decode(errors="replace").strip().splitlines()[-2:]
    said = [re.sub(r"^\[[^]]*\] ", "", line).removeprefix(f"file:{path}: ") for line in lines]
    return f"ffmpeg: {', '.join(said) or 'no reason given'}"
