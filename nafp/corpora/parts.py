"""One track decoded into a part file of int16, by a worker, for `corpus.build` to put in its place.

A part is two files: NAME.i16 with the samples, and NAME.json with the outcome, written last. What a
killed build leaves behind is thus either finished, and is not decoded again, or not there.
"""

import contextlib
import glob
import hashlib
import json
import os
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode

# Two steps of int16, -84 dB: dither and rounding, nothing to recognise anything by.
SILENT = 2.5 / 32768
# Music decoded from a lossy file or resampled peaks up to some 3 dB above full scale; there the few
# peaks are clipped, as every player does. A file louder than that is in another unit (a float file
# in int16 steps, say): it is turned down as a whole, to peak at full scale.
LOUDEST = 10 ** (3 / 20)
LONGEST_RESPONSE_S = 30.0  # A longer file is a recording in the wrong folder.
SHORTEST_REST_S = 1.0  # Of a file that is cut off, less is not worth keeping: one segment.
BLOCK_S = 20.0


class Job(NamedTuple):
    path: str
    stamp: tuple[int, int] | None  # Size and modification time of the file; None: not there.
    response: bool  # A room or microphone response: peak-normalised.
    sample_rate_hz: int
    folder: str  # Where parts go.

    @property
    def part(self) -> str:
        """The path of the part file, without a suffix; another for any other input."""
        text = repr(self[:4]).encode(errors="surrogateescape")
        return os.path.join(self.folder, hashlib.sha256(text).hexdigest()[:24])


class Outcome(NamedTuple):
    n_samples: int = 0
    failure: str = ""  # Why there is nothing, if so.
    damage: str = ""  # Why there is less than promised, if so.
    lasting: bool = True  # Whether trying again on the same file is no use.


def stamp(path: str) -> tuple[int, int] | None:
    """Gives what changes when a file does: its size and its modification time in ns."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def pack(job: Job) -> Outcome:
    """Decodes a track into its part file; what goes wrong with the file is in the outcome."""
    complaints = []
    try:
        n_samples = _pack_response(job) if job.response else _pack_music(job, complaints.append)
        outcome = Outcome(n_samples, damage="; ".join(complaints))
        if complaints and n_samples < SHORTEST_REST_S * job.sample_rate_hz and not job.response:
            outcome = Outcome(failure=f"{complaints[0]}; less than {SHORTEST_REST_S:g} s is left")
    except errors.Undecodable as error:
        outcome = Outcome(failure=error.reason, lasting=not error.tool_missing)
    _write(f"{job.part}.json", json.dumps(outcome._asdict()).encode())
    return outcome


def finished(job: Job) -> Outcome | None:
    """Gives the outcome of a part that an earlier build finished, None if there is none."""
    try:
        with open(f"{job.part}.json", encoding="utf-8") as file:
            return Outcome(**json.load(file))
    except FileNotFoundError:
        return None


def remove(job: Job) -> None:
    for suffix in (".json", ".i16"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(job.part + suffix)


def tidy(folder: str) -> None:
    """Removes what workers of a killed build had not finished."""
    for path in glob.glob(os.path.join(glob.escape(folder), "*.part")):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def _pack_music(job: Job, complain: decode.Complain) -> int:
    n_samples, peak = _copy(job, complain, gain=1.0)
    if peak < SILENT:
        raise errors.Undecodable(job.path, "silent throughout")
    if peak > LOUDEST:
        n_samples, _ = _copy(job, lambda reason: None, gain=1 / peak)
    return n_samples


def _copy(job: Job, complain: decode.Complain, *, gain: float) -> tuple[int, float]:
    """Writes the part file block by block; returns the samples and the peak before the gain."""
    n_samples, peak = 0, 0.0
    blocks = decode.stream(job.path, sample_rate_hz=job.sample_rate_hz, block_s=BLOCK_S, complain=complain)
    unfinished = _unfinished(job.part)
    with open(unfinished, "wb") as file:
        for block in blocks:
            n_samples += len(block)
            peak = max(peak, float(np.abs(block).max()))
            file.write(decode.to_int16(block * np.float32(gain)))
    os.replace(unfinished, f"{job.part}.i16")
    return n_samples, peak


def _pack_response(job: Job) -> int:
    longest = LONGEST_RESPONSE_S + 1
    samples = decode.load(job.path, sample_rate_hz=job.sample_rate_hz, seconds=longest, complain=lambda reason: None)
    if len(samples) > LONGEST_RESPONSE_S * job.sample_rate_hz:
        reason = f"longer than {LONGEST_RESPONSE_S:g} s: not the response of a room or microphone"
        raise errors.Undecodable(job.path, reason)
    peak = np.abs(samples).max()
    if not peak:
        raise errors.Undecodable(job.path, "silent throughout")
    _write(f"{job.part}.i16", decode.to_int16(samples / peak).tobytes())
    return len(samples)


def _write(path: str, data: bytes) -> None:
    unfinished = _unfinished(path)
    with open(unfinished, "wb") as file:
        file.write(data)
    os.replace(unfinished, path)


def _unfinished(path: str) -> str:
    return f"{path}.{os.getpid()}.part"
