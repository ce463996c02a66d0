"""Files of strangers become samples in processes of their own, which may die, and which have little to break.

A decoder is C code. One that crashes takes its process along, and one that never ends is killed, with the ffmpeg that
it started. Each process has a limit of memory and of files. What a client calls its file is not known here: the suffix
that the decoders look at comes from the first bytes.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import secrets
import shutil
import tempfile
import threading
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, tags
from nafp.jobs import worker_processes
from nafp.serving import refusals

_MEMORY_BYTES = 2 << 30  # Beyond what the process has when it starts: three hours at 8 kHz are 0.35 GB.
_FILES = 128
_FULL_SCALE = 32767
EXCERPT_HZ = 24_000  # Of what people hear: all that small loudspeakers have.
_CLIP = "the clip"  # What a message calls the file.


class DecodeTask(NamedTuple):
    """Something to decode.

    path: where to put it meanwhile. seconds: of audio to return, at most. with_tags: whether tags are wanted, too.
    start_s: second of the file to begin at. data: None for a file that lies at `path` and stays there.
    """

    data: bytes | None
    path: str
    sample_rate_hz: int
    seconds: float
    with_tags: bool = False
    start_s: float = 0.0


class DecodedClip(NamedTuple):
    """samples: mono float32 [S]. seconds: of the whole file. tags: title, artist, ... damage: the decoder's remark."""

    samples: np.ndarray
    seconds: float
    tags: dict[str, str]
    damage: str


class Decoders:
    """Some processes that decode. `close` ends them.

    n_killed: how many were killed because they took too long, or died.
    """

    def __init__(self, *, jobs: int):
        self._folder = tempfile.mkdtemp(prefix="nafp-serve-")  # Readable for this user only.
        self._workers = worker_processes.Workers(decoded, jobs=jobs, greeting=None)
        self.n_killed, self._counting = 0, threading.Lock()

    def decode(
        self, data: bytes, *, sample_rate_hz: int, seconds: float, within_s: float, with_tags: bool = False
    ) -> DecodedClip:
        """Decodes the first `seconds` of an audio file, and reads its tags if they are wanted.

        Raises errors.Undecodable, which names no path, for a file that gives no audio, crashes its decoder, or takes
        longer than `within_s`. Raises Refusal 503 if all decoders died a moment ago.
        """
        path = Path(self._folder, f"{secrets.token_hex(8)}{_suffix(data)}")
        try:
            return self._ask(DecodeTask(data, str(path), sample_rate_hz, seconds, with_tags), within_s)
        finally:
            path.unlink(missing_ok=True)

    def excerpt(self, file: str, *, start_s: float, seconds: float, within_s: float) -> bytes:
        """Returns `seconds` of a file of this machine from `start_s` on, as a mono WAV file. Errors: as of `decode`."""
        part = self._ask(DecodeTask(None, file, EXCERPT_HZ, seconds, start_s=start_s), within_s)
        if not len(part.samples):
            raise errors.Undecodable(_CLIP, f"ends before second {start_s:g}")
        return _wav(part.samples, EXCERPT_HZ)

    def _ask(self, task: DecodeTask, within_s: float) -> DecodedClip:
        try:
            answer = self._workers.ask(task, within_s=within_s)
        except worker_processes.NoneFree:
            raise refusals.busy("all decoders are being started") from None
        except TimeoutError as error:
            self._note_killed()
            raise errors.Undecodable(_CLIP, f"its decoder {error} and was ended") from None
        if isinstance(answer, worker_processes.Crash):
            self._note_killed()
            raise errors.Undecodable(_CLIP, answer.reason)
        return answer

    def close(self) -> None:
        """Kills the processes and removes their folder."""
        self._workers.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _note_killed(self) -> None:
        with self._counting:
            self.n_killed += 1


def decoded(task: DecodeTask | None) -> DecodedClip | None:
    """Decodes one file, in a process of its own. None as the first task confines the process."""
    if task is None:
        _confine()
        return None
    remarks: list[str] = []
    if task.data is not None:
        Path(task.path).write_bytes(task.data)
    try:
        samples = decode.load(
            task.path,
            sample_rate_hz=task.sample_rate_hz,
            start_s=task.start_s,
            seconds=task.seconds,
            complain=remarks.append,
        )
        heard_s = len(samples) / task.sample_rate_hz
        is_cut = task.data is not None and heard_s >= task.seconds
        whole_s = decode.probe(task.path).seconds if is_cut else 0.0
        found = tags.read(task.path) if task.with_tags else {}
        return DecodedClip(samples, max(heard_s, whole_s), found, "; ".join(remarks))
    except errors.Undecodable as error:
        reason = error.reason.replace(task.path, _CLIP)
        raise errors.Undecodable(_CLIP, reason, error.tool_missing) from None
    except MemoryError:
        raise errors.Undecodable(_CLIP, "asks for more memory than a clip may") from None
    finally:
        if task.data is not None:
            with contextlib.suppress(OSError):
                os.unlink(task.path)


def _wav(samples: np.ndarray, sample_rate_hz: int) -> bytes:
    """Returns samples [S] as a WAV file of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate_hz)
        out.writeframes((np.clip(samples, -1, 1) * _FULL_SCALE).round().astype("<i2").tobytes())
    return file.getvalue()


def _suffix(data: bytes) -> str:
    """Returns the suffix that decoders need to see: MP3 has no magic number that libsndfile looks for everywhere."""
    is_mp3 = data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 in (0xE2, 0xE4))
    return ".mp3" if is_mp3 else ""


def _confine() -> None:
    """Limits what a decoder, and the ffmpeg that it starts, can use up."""
    with contextlib.suppress(OSError, ValueError):  # No /proc: then memory is not limited.
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + _MEMORY_BYTES)
    _limit(resource.RLIMIT_NOFILE, _FILES)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(what, (least, least))
