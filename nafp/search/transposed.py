"""Proposes at which pitch and tempo a clip plays, and where, from a few of its rows heard at many pitches.

A fingerprint bears a change of tempo by a quarter and a change of pitch by a hundredth. So a few rows of the clip are
fingerprinted once for each of many pitches, at the clip's own tempo (see `nafp.models.protocol.Network.transposed`).
The right pitch is the one at which several rows find places of one recording, and these places lie on a line: its slope
is the tempo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nafp.search import collection

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int

# Rows of the recording per row of the clip: the clip is up to 30 % slower and 36 % faster.
SLOPES = np.round(np.arange(0.70, 1.3701, 0.06), 2)
_FINER = 0.01 * np.arange(-3, 4)  # Then as much more or less.
_NEAREST = 20  # Neighbours of a row that are looked at.
# A row speaks for a neighbour by its cosine less this share of the cosine of its last neighbour. By what it stands out
# alone (a share of 1), pieces that repeat themselves were lost: all neighbours are theirs. Of 92 clips of 1 to 5 s of
# the validation split, the two best proposals held the right track for 88 with a share of 1, for 92 with 0.5 or 0.75.
_FLOOR_SHARE = 0.5
_PAIRS = 12  # Pairs of a pitch and a track whose lines are drawn.
_ANCHORS = 6  # Neighbours through which the lines of a pair are drawn.
_APART = 4.0  # Rows: places of one track that are nearer together are the same.


class Transposed(NamedTuple):
    """A few rows of a clip at R pitches.

    ratios: float64 [R], ascending: frequencies of the clip by those of the recording. at: float64 [n], where each row
    begins in the clip, in rows of the collection. vectors: float32 [R, n, D], zeros for rows that were not heard at a
    pitch. near: int64 [R, n, K], their nearest rows, nearest first, -1 for none.
    """

    ratios: Float[np.ndarray, " R"]
    at: Float[np.ndarray, " n"]
    vectors: Float32[np.ndarray, "R n D"]
    near: Int[np.ndarray, "R n K"]


class Proposal(NamedTuple):
    """A pitch, a tempo and a place that a clip may have.

    pitch: position of the nearest of the pitches. ratio: frequencies of the clip by those of the recording. slope: rows
    of the recording per row of the clip. track: position of the track. start: row of the collection at which the clip
    begins. score: mean cosine along that line.
    """

    pitch: int
    ratio: float
    slope: float
    track: int
    start: float
    score: float


class _Anchors(NamedTuple):
    """Neighbours of rows, [A] each: pitch, row of the clip, row of the collection, track, and what speaks for it."""

    pitch: np.ndarray
    heard: np.ndarray
    row: np.ndarray
    track: np.ndarray
    standing: np.ndarray


def likeliest(clip: Transposed, rows: collection.Collection, *, most: int) -> Int[np.ndarray, " n"]:
    """Returns the positions of up to `most` pitches for which the rows of a clip speak most, ascending."""
    anchors = _anchors(clip, rows)
    pitch, _, votes = _votes(anchors)
    best = np.full(len(clip.ratios), -1.0)
    np.maximum.at(best, pitch, votes)
    return np.sort(np.argsort(-best, kind="stable")[:most])


def propose(clip: Transposed, rows: collection.Collection, *, most: int) -> list[Proposal]:
    """Returns up to `most` pitches, tempos and places of a clip, best first, of as many tracks or places.

    Only pitches at which all rows were heard count.
    """
    is_whole = np.all(clip.vectors.any(axis=2), axis=1)
    anchors = _chosen(_anchors(clip._replace(near=np.where(is_whole[:, None, None], clip.near, -1)), rows))
    if not len(anchors.row):
        return []
    slopes = SLOPES if len(clip.at) > 1 else np.ones(1)
    scores = _along(clip, anchors, slopes, rows, anchors.pitch)
    best = scores.argmax(axis=1)
    order = np.argsort(-scores.max(axis=1), kind="stable")
    found: list[Proposal] = []
    for a in order.tolist():
        track, slope = int(anchors.track[a]), float(slopes[best[a]])
        start = float(anchors.row[a] - slope * clip.at[anchors.heard[a]])
        if not any(other.track == track and abs(other.start - start) < _APART for other in found):
            found.append(_proposal(clip, _Anchors(*(v[a : a + 1] for v in anchors)), slope, rows))
        if len(found) == most:
            break
    return found


def _proposal(clip: Transposed, anchor: _Anchors, slope: float, rows: collection.Collection) -> Proposal:
    """Refines the line through an anchor, [1] each, first its slope, then its pitch."""
    finer = slope + _FINER if len(clip.at) > 1 else np.array([slope])
    scores = _along(clip, anchor, finer, rows, anchor.pitch)[0]
    slope = float(finer[scores.argmax()])
    start = float(anchor.row[0] - slope * clip.at[anchor.heard[0]])
    ratio = _refined_ratio(clip, anchor, slope, rows)
    return Proposal(int(anchor.pitch[0]), ratio, slope, int(anchor.track[0]), start, float(scores.max()))


def _anchors(clip: Transposed, rows: collection.Collection) -> _Anchors:
    """Returns the nearest neighbours of all rows at all pitches."""
    near = clip.near[:, :, :_NEAREST]
    cosines = np.einsum("rnkd,rnd->rnk", rows.take(np.maximum(near, 0)), clip.vectors)
    cosines[near < 0] = -1
    floor = cosines.min(axis=2, keepdims=True, where=near >= 0, initial=1.0)
    pitch, heard, rank = np.nonzero(near >= 0)
    row = near[pitch, heard, rank]
    return _Anchors(pitch, heard, row, rows.track_of(row), (cosines - _FLOOR_SHARE * floor)[pitch, heard, rank])


def _chosen(anchors: _Anchors) -> _Anchors:
    """Keeps the best anchors of the pairs of pitch and track for which the rows speak most.

    A row speaks for a track by the cosine of its nearest neighbour there, and by what that stands out from the others.
    """
    if not len(anchors.row):
        return anchors
    pitch, track, votes = _votes(anchors)
    kept: list[np.ndarray] = []
    for each in np.argsort(-votes, kind="stable")[:_PAIRS].tolist():
        own = np.flatnonzero((anchors.pitch == pitch[each]) & (anchors.track == track[each]))
        kept.append(own[np.argsort(-anchors.standing[own], kind="stable")[:_ANCHORS]])
    return _Anchors(*(values[np.concatenate(kept)] for values in anchors))


def _votes(anchors: _Anchors) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns pairs of pitch and track, and how much the rows speak for each: [P] each."""
    if not len(anchors.row):
        return anchors.pitch, anchors.track, anchors.standing
    n_tracks, n_heard = int(anchors.track.max()) + 1, int(anchors.heard.max()) + 1
    pair = anchors.pitch * n_tracks + anchors.track
    spoken = pair * n_heard + anchors.heard
    order = np.lexsort((-anchors.standing, spoken))
    _, first = np.unique(spoken[order], return_index=True)
    best = order[first]
    pairs, number = np.unique(pair[best], return_inverse=True)
    return pairs // n_tracks, pairs % n_tracks, np.bincount(number, anchors.standing[best])


def _along(
    clip: Transposed, anchors: _Anchors, slopes: np.ndarray, rows: collection.Collection, pitch: np.ndarray
) -> np.ndarray:
    """Returns the mean cosine along the lines through anchors at a pitch each, float [A, P]."""
    since = clip.at - clip.at[anchors.heard][:, None]  # [A, n]
    at = anchors.row[:, None, None] + slopes[None, :, None] * since[:, None]  # [A, P, n]
    query = clip.vectors[pitch][:, None]
    low, high = (edge[:, None, None] for edge in rows.borders(anchors.track))
    n_heard = clip.vectors[pitch].any(axis=2).sum(axis=1)
    return between(rows, at, query, low, high).sum(axis=2) / np.maximum(n_heard, 1)[:, None]


def between(
    rows: collection.Collection, at: np.ndarray, query: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Returns cosines of a query with the rows of a collection at fractional places, float [*shape].

    at: float [*shape], rows. query: float32 [*shape, D]. low, high: the track's borders; beyond them the cosine is 0.
    """
    mean = mixed(rows, at)
    cosines = np.vecdot(mean, query) / np.maximum(np.linalg.norm(mean, axis=-1), 1e-6)
    return np.where((at > low - 0.5) & (at < high - 0.5), cosines, 0)


def mixed(rows: collection.Collection, at: np.ndarray) -> np.ndarray:
    """Mixes the two rows beside each fractional place, float32 [*shape, D], not of unit length. at: float [*shape]."""
    first = np.floor(at).astype(np.int64)
    share = (at - first)[..., None].astype(np.float32)
    two = rows.windows(first.ravel(), 2).reshape(*at.shape, 2, rows.dim)
    return two[..., 0, :] * (1 - share) + two[..., 1, :] * share


def _refined_ratio(clip: Transposed, anchor: _Anchors, slope: float, rows: collection.Collection) -> float:
    """Returns the ratio at the vertex of the parabola through the scores at a pitch and its two neighbours."""
    pitch, ratios = int(anchor.pitch[0]), np.log(clip.ratios)
    beside = np.array([pitch - 1, pitch, pitch + 1])
    if beside[0] < 0 or beside[2] == len(ratios):
        return float(clip.ratios[pitch])
    below, above = np.diff(ratios[beside])
    shared = clip.vectors[beside].any(axis=2).all(axis=0)
    if above > 1.5 * below or below > 1.5 * above or not shared.any():
        return float(clip.ratios[pitch])
    heard = clip._replace(vectors=clip.vectors * shared[:, None])
    left, middle, right = (
        float(_along(heard, anchor, np.array([slope]), rows, each)[0, 0]) for each in beside[:, None]
    )
    return float(np.exp(ratios[pitch] + 0.5 * (below + above) * vertex(left, middle, right)))


def vertex(left: float, middle: float, right: float) -> float:
    """Returns where the parabola through values at -1, 0 and 1 has its top, -1 .. 1. 0 where it has none."""
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -1, 1)) if bend < -1e-6 else 0.0
