"""What speaks for the best place of a clip besides its score and margin.

A clip that is not found for sure is heard at several speeds. A right place scores well at the speeds beside the right
one, too, because a fingerprint bears a small change of speed. A wrong place is near to one version by chance, and the
other versions are nearer to other tracks. How near says what chance gives for this clip: some clips resemble
everything. All of it comes from what the search has found already, and takes about 2 ms a clip of one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nafp.search import collection, match, speeds

_RIVALS = 10  # Best places of other tracks that are looked at.
_FARTHEST = 0.06  # Change of speed up to which weights were fitted. A farther one counts as this.
_MOST_SHARED = 0.95  # Cosine of two places. What is left of places more alike than that is rounding.


class Evidence(NamedTuple):
    """What speaks for the best place of a ranking.

    change: how far the speed of the version that decided is from the clip's own, 0.03 for 1.03. leftover: best score of
    another track once what its place shares with the best place is taken away: small for another version of the same
    tune. agreement, best_agreement: mean and largest, over the other versions of the clip, of the cosine at the best
    place less that with the nearest row of any other track. likeness, best_likeness: mean cosine of the other versions
    at the best place, and that of the version that agrees best. n_versions: how many other versions there were; without
    any, the four before it are 0.
    """

    change: float
    leftover: float
    agreement: float
    best_agreement: float
    likeness: float
    best_likeness: float
    n_versions: int


NAMES = Evidence._fields[:5]  # What is weighed.
NONE = Evidence(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)


class Usual(NamedTuple):
    """What rivals usually reach at least in a large collection, at one query length.

    In a small collection every clip stands out. So no rival counts as weaker than this. leftover: as of `Evidence`.
    rival: likeness less agreement: the cosine of the other versions with the nearest row of any other track.
    """

    leftover: float
    rival: float


def weighed(found: np.ndarray, usual: Usual) -> np.ndarray:
    """Returns what is weighed, float64 [Q, 5] in the order of NAMES, with rivals that are as strong as usual.

    found: float64 [Q, 7], records of `Evidence`.
    """
    change, leftover, agreement, best, likeness, best_likeness, n_versions = np.asarray(found, np.float64).T
    change = np.minimum(change, _FARTHEST)
    agreement = np.minimum(agreement, likeness - usual.rival)
    best = np.minimum(best, best_likeness - usual.rival)
    columns = [change, np.maximum(leftover, usual.leftover), *(np.where(n_versions, x, 0) for x in (agreement, best))]
    return np.stack([*columns, likeness], axis=1)


def of_ranking(
    heard: Sequence[speeds.ClipAtSpeed],
    ranking: speeds.ClipRanking,
    rows: collection.Collection,
    *,
    shifts: int = 1,
    column: int = 0,
) -> Evidence:
    """Returns what speaks for the best place of a ranking.

    heard, rows, shifts: what `speeds.rank` was given. column: the query length, by position. ranking: with the places
    of at least ten tracks, where there are so many. NONE for a ranking without places.
    """
    if not len(ranking.tracks):
        return NONE
    decided = heard[ranking.heard]
    length = max(1, decided.lengths[column])
    copies = match.copies(ranking.tracks, ranking.starts, rows, length)
    others = [
        _of_version(version, decided.speed, ranking, copies, rows, shifts=shifts, column=column)
        for number, version in enumerate(heard)
        if number != ranking.heard and version.lengths[column]
    ]
    agreement, likeness = np.array([one for one in others if one is not None]).reshape(-1, 2).T
    change, leftover = abs(decided.speed - 1), _leftover(ranking, copies, rows, length)
    if not len(agreement):
        return NONE._replace(change=change, leftover=leftover)
    best = int(agreement.argmax())
    mean, most = float(agreement.mean()), float(agreement[best])
    return Evidence(change, leftover, mean, most, float(likeness.mean()), float(likeness[best]), len(agreement))


def _leftover(ranking: speeds.ClipRanking, copies: np.ndarray, rows: collection.Collection, length: int) -> float:
    """Returns the best score of another track that the best place does not explain. 0 where there is no other.

    copies: tracks with the recording of the best place, its own first.
    """
    best = match.best_of_each_track(ranking.tracks)
    best = np.r_[0, best[~np.isin(ranking.tracks[best], copies)][:_RIVALS]]
    if len(best) < 2:
        return 0.0
    scores = ranking.scores[best].astype(np.float64)
    vectors = rows.windows(np.round(ranking.starts[best]).astype(np.int64), length)
    shared = np.clip(np.vecdot(vectors[1:], vectors[0]).mean(axis=1), 0, _MOST_SHARED)
    return float(((scores[1:] - scores[0] * shared) / np.sqrt(1 - shared**2)).max())


def _of_version(
    version: speeds.ClipAtSpeed,
    decided: float,
    ranking: speeds.ClipRanking,
    copies: np.ndarray,
    rows: collection.Collection,
    *,
    shifts: int,
    column: int,
) -> tuple[float, float] | None:
    """Returns the cosine of a version at the best place less that with the nearest other track, and the cosine.

    decided: the speed of the version that decided. copies: as of `_leftover`. None for a version that says nothing.
    """
    query = version.vectors[::shifts][: version.lengths[column]]
    near = version.near[::shifts][: len(query)]
    is_heard = query.any(axis=1)
    if not is_heard.any():
        return None
    pace = decided / version.speed * ranking.slopes[0]
    at = np.round(ranking.starts[0] + pace * np.arange(len(query))).astype(np.int64)
    low, high = rows.borders(ranking.tracks[:1])
    here = np.where((at >= low) & (at < high), np.vecdot(rows.take(at), query), 0)
    is_other = (near >= 0) & ~np.isin(rows.track_of(near), copies)
    nearest = near[np.arange(len(near)), is_other.argmax(axis=1)]
    there = np.where(is_other.any(axis=1), np.vecdot(rows.take(nearest), query), 0)
    return float((here - there)[is_heard].mean()), float(here[is_heard].mean())
