"""Fingerprints from a request: bytes in, rows of unit length at each speed out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nafp.identify import asking
from nafp.models import protocol
from nafp.serving.questions import Question
from nafp.serving.refusals import Refusal

_LENGTH_WITHIN = 0.05  # float16 is off by 0.001, and int8 of a client by 0.02.
_MOST_SHIFTS = 8


class GivenVectors(NamedTuple):
    """The fingerprints of a clip.

    by_speed: float32 [n, D] at each speed that was undone, 1 first; speeds at which the clip is too short are left out.
    shifts: their rows for each row of the database. seconds: of the clip.
    """

    by_speed: dict[float, np.ndarray]
    shifts: int
    seconds: float


def parse(question: Question, network: protocol.Network, *, longest_s: float) -> GivenVectors:
    """Returns the fingerprints of a question.

    Raises Refusal 400 for bytes that are none of this network, and 413 for those of a clip above `longest_s` seconds.
    """
    values = _values(question, network.dim)
    hop_s = network.hop / network.sample_rate_hz
    shifts = _shifts(question.hop_s, hop_s)
    counts = question.rows or (len(values),)
    if sum(counts) != len(values) or not counts[0]:
        raise Refusal(400, f"rows={','.join(map(str, counts))}: {len(values)} fingerprints came, at least 1 at speed 1")
    segment_s = network.segment / network.sample_rate_hz
    seconds = (counts[0] - 1) * hop_s / shifts + segment_s
    slowest_s = max((count - 1) * hop_s / shifts + segment_s for count in counts)
    if seconds > longest_s + hop_s or slowest_s > asking.FASTEST * longest_s + hop_s:
        raise Refusal(413, f"fingerprints of {slowest_s:g} s; at most {longest_s:g} s are looked at")
    parts = np.split(values, np.cumsum(counts)[:-1])
    return GivenVectors({speed: part for speed, part in zip(question.speeds, parts) if len(part)}, shifts, seconds)


def _values(question: Question, dim: int) -> np.ndarray:
    dtype = np.dtype(question.dtype).newbyteorder("<")
    row_bytes = dim * dtype.itemsize
    if len(question.data) % row_bytes:
        raise Refusal(
            400,
            f"{len(question.data)} bytes: a fingerprint is {dim} numbers of {question.dtype}, little endian, "
            f"{row_bytes} bytes",
        )
    values = np.frombuffer(question.data, dtype).reshape(-1, dim).astype(np.float32)
    with np.errstate(over="ignore"):  # Of numbers that are no fingerprints: their length is infinite.
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
    is_heard = np.abs(lengths - 1) < _LENGTH_WITHIN  # False for NaN.
    if not (is_heard | (lengths == 0)).all() or not is_heard.any():
        raise Refusal(400, "these numbers are no fingerprints: each must have unit length, or be 0 for silence")
    return np.where(is_heard, values / np.maximum(lengths, 0.5), 0)


def _shifts(hop_s: float, own_s: float) -> int:
    """Returns how many rows a clip has for each row of the database."""
    if not hop_s:
        return asking.shifts_for(own_s, at_most_s=asking.HOP_S)
    shifts = round(own_s / hop_s)
    if not 1 <= shifts <= _MOST_SHIFTS or abs(shifts * hop_s - own_s) > 0.001 * own_s:
        raise Refusal(400, f"hop_s={hop_s:g}: {own_s:g} as in the database, or a half, a third, ... of it, is needed")
    return shifts
