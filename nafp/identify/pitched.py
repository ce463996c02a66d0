"""The last look at a clip: at many pitches with a few rows, then at the likeliest of them with all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nafp.audio import segments
from nafp.identify import asking
from nafp.models import protocol
from nafp.search import collection, slopes, speeds, transposed

if TYPE_CHECKING:
    from jaxtyping import Float32

_LIKELY = 0.03  # A tempo within so much of the pitch is a turntable's, and one within so much of 1 is unchanged.
# A version at another pitch must stand out by HANDICAP more, and its score and margin count WORTH_LESS less. Of 649
# clips of 1 to 5 s of the validation split at other pitches, 591 were accepted and right so, 485 with 0.09 for both.
# Of 216 clips without their tracks, other pitches decided for a stranger in 7, and 4 with 0.09 (6 and 4 of them are
# companions in one folder, faster versions mostly), and 14 with nothing less worth. The looks before accepted 7.
HANDICAP, WORTH_LESS = 0.05, 0.03
_SAME_PITCH = 0.003  # A change of pitch that fingerprints do not notice.
_NEAR_PITCH = 0.0125  # Pitches beside the one found, which the scores are compared with.
_ROWS = 4  # Rows that tell the pitch exactly.
_APART_S = 2.0  # Between the first rows of a clip, at most: a tempo that is not known leads far away from a far row.


class Ears(NamedTuple):
    """What it takes to hear a clip.

    slowed: returns the clip [S] with a speed undone, at the rate of the network. search: returns the nearest rows
    [n, K] of vectors [n, D], -1 for none; rows of zeros are near nothing.
    """

    network: protocol.Network
    rows: collection.Collection
    slowed: Callable[[float], np.ndarray]
    search: Callable[[np.ndarray], np.ndarray]


def versions(ears: Ears, pitches: Sequence[float]) -> list[speeds.ClipAtSpeed]:
    """Returns versions of a clip with likely changes of pitch and tempo undone. [] if it says nothing."""
    clip = _heard(ears, pitches)
    if clip is None:
        return []
    proposals = transposed.propose(clip, ears.rows, most=asking.TRIED)
    heard = [
        _version(ears, clip, proposal, tempo)
        for proposal in proposals
        for tempo in _tempos(proposal.ratio, proposal.slope, n_rows=len(clip.at))
    ]
    return [version for version in heard if version.vectors.any()]


def exact_pitch(ears: Ears, version: speeds.ClipAtSpeed, track: int, line: slopes.Line) -> float:
    """Returns the pitch of a clip against its recording, more exactly than `version` has it.

    line: on which rows of the version lie in the track. A few of them are fingerprinted a little higher and lower.
    """
    frames = _frames(ears, version.speed)
    spoken = np.flatnonzero(version.vectors.any(axis=1))[: len(frames)]
    if not len(spoken) or len(frames) != len(version.vectors):
        return version.pitch
    some = spoken[np.unique(np.linspace(0, len(spoken) - 1, min(_ROWS, len(spoken))).round().astype(int))]
    beside = version.pitch / version.speed * np.exp(_NEAR_PITCH * np.array([-1.0, 1.0]))
    lower, higher = ears.network.transposed(frames[some], beside.tolist())
    vectors = np.stack([lower, version.vectors[some], higher])
    low, high = ears.rows.borders(np.array([track]))
    at = np.broadcast_to(line.start + line.slope * some, vectors.shape[:2])
    left, middle, right = transposed.between(ears.rows, at, vectors, low, high).mean(axis=1)
    return version.pitch * math.exp(_NEAR_PITCH * transposed.vertex(left, middle, right))


def _version(
    ears: Ears, clip: transposed.Transposed, proposal: transposed.Proposal, tempo: float
) -> speeds.ClipAtSpeed:
    """Fingerprints a clip with the pitch of a proposal and a tempo undone. Its places are those that few rows found."""
    vectors = _fingerprints(ears, proposal.ratio, tempo)
    near = np.full((len(vectors), clip.near.shape[2]), -1)
    at = np.minimum(np.round(clip.at * tempo).astype(int), len(vectors) - 1)
    near[at] = clip.near[proposal.pitch]
    return speeds.ClipAtSpeed(tempo, vectors, near, [len(vectors)], proposal.ratio)


def _heard(ears: Ears, pitches: Sequence[float]) -> transposed.Transposed | None:
    """Fingerprints a few rows of a clip at many pitches, and searches for them. None if they say nothing.

    Every other row is heard at all pitches, and the rest at the likeliest.
    """
    samples, segment = ears.slowed(1.0), ears.network.segment
    spare = max(0, len(samples) - segment)
    n_rows = min(asking.PITCHED_ROWS, 1 + 2 * spare // segment)
    span = min(spare, round(_APART_S * (n_rows - 1) * ears.network.sample_rate_hz))
    starts = (spare - span) // 2 + np.linspace(0, span, n_rows).round().astype(int)
    waveforms = np.stack([_padded(samples[start : start + segment], segment) for start in starts])
    says = ~asking.says_nothing(waveforms, sample_rate_hz=ears.network.sample_rate_hz)
    if not says.any():
        return None
    waveforms, at, ratios = waveforms[says], starts[says] / ears.network.hop, np.array(pitches)
    first = transposed.Transposed(ratios, at[::2], *_searched(ears, waveforms[::2], ratios))
    if len(at) < 3:
        return first if len(at) == 1 else _with_the_rest(ears, first, waveforms, at, np.arange(len(ratios)))
    likely = transposed.likeliest(first, ears.rows, most=asking.LIKELY_PITCHES)
    return _with_the_rest(ears, first, waveforms, at, likely)


def _with_the_rest(
    ears: Ears, first: transposed.Transposed, waveforms: np.ndarray, at: np.ndarray, likely: np.ndarray
) -> transposed.Transposed:
    """Adds every other row, at some of the pitches, to the rows between them."""
    vectors = np.zeros((len(first.ratios), len(at), first.vectors.shape[2]), np.float32)
    near = np.full((len(first.ratios), len(at), first.near.shape[2]), -1)
    vectors[:, ::2], near[:, ::2] = first.vectors, first.near
    vectors[likely, 1::2], near[likely, 1::2] = _searched(ears, waveforms[1::2], first.ratios[likely])
    return transposed.Transposed(first.ratios, at, vectors, near)


def _searched(ears: Ears, waveforms: np.ndarray, ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the fingerprints [R, n, D] of waveforms at pitches, and their nearest rows [R, n, K]."""
    vectors = ears.network.transposed(waveforms, ratios.tolist())
    return vectors, ears.search(vectors.reshape(-1, vectors.shape[2])).reshape(*vectors.shape[:2], -1)


def _tempos(ratio: float, slope: float, *, n_rows: int) -> list[float]:
    """Returns the tempos to undo beside a pitch. slope: the tempo that n_rows rows told."""
    likely = list(dict.fromkeys([round(ratio, 4), 1.0]))
    if n_rows == 1:  # Slowed down further, it would hold less than a segment of its recording.
        return likely if ratio > 1 else [1.0]
    near = [tempo for tempo in likely if abs(slope / tempo - 1) < _LIKELY]
    return near[:1] or [slope]


def _fingerprints(ears: Ears, ratio: float, tempo: float) -> Float32[np.ndarray, "n D"]:
    """Returns the fingerprints of a clip with a tempo and a pitch undone, zeros for what says nothing."""
    frames, network = _frames(ears, tempo), ears.network
    if abs(ratio / tempo - 1) < _SAME_PITCH:
        return asking.fingerprints(network, frames)
    return asking.fingerprints(network, frames, lambda heard: network.transposed(heard, [ratio / tempo])[0])


def _frames(ears: Ears, tempo: float) -> Float32[np.ndarray, "n S"]:
    """Cuts a clip with a tempo undone into segments. What is shorter than one is filled up with silence."""
    samples = ears.slowed(tempo)
    samples = _padded(samples, max(len(samples), ears.network.segment))
    return segments.frame(samples, segment=ears.network.segment, hop=ears.network.hop)


def _padded(samples: np.ndarray, n: int) -> np.ndarray:
    return np.pad(samples, (0, n - len(samples)))
