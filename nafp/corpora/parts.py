"""Decodes one track into a part file of int16. A worker does this, and `corpus.build` appends the part to the corpus.

A part is two files: NAME.i16 with the samples, and NAME.json with the outcome, written last. Each appears whole or not
at all. If a killed build left a part with its NAME.json, the part is finished. Otherwise it is decoded again.
"""

import contextlib
import hashlib
import json
import os
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode
from nafp.jobs import whole_files

# Two steps of int16, -84 dB. Quieter files hold only dither and rounding.
SILENT = 2.5 / 32768
# Music that is decoded from a lossy file, or resampled, peaks up to some 3 dB above full scale. Its few peaks are
# clipped, as every player does. A louder file is in another unit (a float file in int16 steps, for example). It is
# scaled as a whole to peak at full scale.
LOUDEST = 10 ** (3 / 20)
LONGEST_RESPONSE_S = 30.0  # A longer file is a recording in the wrong folder.
# A file in another unit has many samples beyond full scale. A damaged one has a few that are far beyond it: they are
# clipped and told, and the rest stays as it is.
_FAR, _FEW = 4 * LOUDEST, 1e-2  # A peak, and a share of the samples.
SHORTEST_REST_S = 1.0  # One segment. Nothing is kept of a damaged file that gives less.
BLOCK_S = 20.0


class Job(NamedTuple):
    """A track to decode.

    stamp: size and modification time of the file, None if it does not exist. response: whether it is a room or
    microphone response, which is normalised to its peak. folder: the folder of the parts.
    """

    path: str
    stamp: tuple[int, int] | None
    response: bool
    sample_rate_hz: int
    folder: str

    @property
    def part(self) -> str:
        """The path of the part files without their suffix. Every other job has another path."""
        text = repr(self[:4]).encode(errors="surrogateescape")
        return os.path.join(self.folder, hashlib.sha256(text).hexdigest()[:24])


class PartOutcome(NamedTuple):
    """What became of a track.

    failure: why there are no samples, "" if there are. damage: why there are fewer than the header says, "" if there
    are not. lasting: whether decoding the same file again would fail again.
    """

    n_samples: int = 0
    failure: str = ""
    damage: str = ""
    lasting: bool = True


def stamp(path: str) -> tuple[int, int] | None:
    """Returns the size and the modification time (ns) of a file, None if it does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def pack(job: Job) -> PartOutcome:
    """Decodes a track into its part file. A file that cannot be decoded raises nothing: the outcome tells it."""
    complaints: list[str] = []
    try:
        n_samples = _pack_response(job) if job.response else _pack_music(job, complaints.append)
        outcome = PartOutcome(n_samples, damage="; ".join(complaints))
        if complaints and n_samples < SHORTEST_REST_S * job.sample_rate_hz and not job.response:
            outcome = PartOutcome(failure=f"{complaints[0]}; less than {SHORTEST_REST_S:g} s is left")
    except errors.Undecodable as error:
        outcome = PartOutcome(failure=error.reason, lasting=not error.tool_missing)
    with whole_files.opened(f"{job.part}.json", encoding="utf-8") as file:
        json.dump(outcome._asdict(), file)
    return outcome


def finished(job: Job) -> PartOutcome | None:
    """Returns the outcome of a part that an earlier build finished, None if there is none."""
    try:
        with open(f"{job.part}.json", encoding="utf-8") as file:
            return PartOutcome(**json.load(file))
    except FileNotFoundError:
        return None


def remove(job: Job) -> None:
    """Removes the part of a job, if there is one."""
    for suffix in (".json", ".i16"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(job.part + suffix)


def _pack_music(job: Job, complain: decode.Complain) -> int:
    n_samples, peak, n_loud = _copy(job, complain, gain=1.0)
    if peak < SILENT:
        raise errors.Undecodable(job.path, "silent throughout")
    if peak > _FAR and n_loud < _FEW * n_samples:
        complain(f"{n_loud} samples far beyond full scale, up to {peak:.3g} times; they are clipped")
    elif peak > LOUDEST:
        n_samples = _copy(job, lambda reason: None, gain=1 / peak)[0]
    return n_samples


def _copy(job: Job, complain: decode.Complain, *, gain: float) -> tuple[int, float, int]:
    """Writes the part file block by block. Returns the number of samples, the peak, and how many exceed LOUDEST."""
    n_samples, peak, n_loud = 0, 0.0, 0
    blocks = decode.stream(job.path, sample_rate_hz=job.sample_rate_hz, block_s=BLOCK_S, complain=complain)
    with whole_files.opened(f"{job.part}.i16", "wb") as file:
        for block in blocks:
            n_samples += len(block)
            peak = max(peak, float(np.abs(block).max()))
            n_loud += int(np.count_nonzero(np.abs(block) > LOUDEST))
            file.write(decode.to_int16(block * np.float32(gain)).tobytes())
    return n_samples, peak, n_loud


def _pack_response(job: Job) -> int:
    longest = LONGEST_RESPONSE_S + 1
    samples = decode.load(job.path, sample_rate_hz=job.sample_rate_hz, seconds=longest, complain=lambda reason: None)
    if len(samples) > LONGEST_RESPONSE_S * job.sample_rate_hz:
        reason = f"longer than {LONGEST_RESPONSE_S:g} s: not the response of a room or microphone"
        raise errors.Undecodable(job.path, reason)
    peak = np.abs(samples).max()
    if not peak:
        raise errors.Undecodable(job.path, "silent throughout")
    with whole_files.opened(f"{job.part}.i16", "wb") as file:
        file.write(decode.to_int16(samples / peak).tobytes())
    return len(samples)
