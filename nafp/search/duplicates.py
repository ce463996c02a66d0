"""Finds recordings that are in a collection twice by their fingerprints: copies, excerpts, reissues.

Every few rows of each track are searched for in the index. Neighbours in another track that agree on one diagonal (the
same time difference between the two tracks) propose a pair, and the pair is then compared row by row along it. A copy
that starts between two rows, in another codec, is recognised: over 15 pieces of music, copied at 32 kbit/s or less and
half a hop off, the mean cosine was .82 to .97. Copies at another speed are not found, and neither are covers.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from nafp import errors
from nafp.search import collection, plans

SCORE = 0.75  # Mean cosine over a stretch. The benchmark's song_mine asks .9 of rows on one grid.
SECONDS = 5.0  # Shortest stretch; song_mine's queries are as long.
WHOLE = 0.5  # Of the shorter track: from this share on it is the same recording, below it is a shared part.
# A mere part needs more. Of 1,225 pieces of music, 415 pairs share 5 s or more at .75 to .8: drum patterns on one
# synthesizer, mostly. The 23 above .8 are of one soundtrack each, as they should be.
PART_SCORE = 0.8
STRIDE = 4  # One row in so many is searched for: two seconds apart at a hop of half a second.
_VOTE = 0.6  # Cosine from which a neighbour counts at all.
_VOTES = 2  # Neighbours on a diagonal, or one row beside it, from which the pair is compared along it.
_DIAGONALS = 4  # Compared for each pair; music that repeats itself proposes many.
# Silence is the same everywhere and proves nothing. It is a row that equals the next one of its own track, and rows of
# several other tracks.
_STILL, _SHARED_BY = 0.98, 3
_SILENCES = 64
_BLOCK = 4096
_SPAN = 1 << 22  # Room for diagonals: tracks of up to 2 million rows, twelve days.
_MOST_TRACKS = 1 << 20


class Pair(NamedTuple):
    """Two tracks, by position, that sound the same for a while.

    offset_s: second of `other` at the first second of `track`, negative when `other` begins later. score: mean cosine
    of the rows that match. matched_s: their length. share: their share of the shorter track.
    """

    track: int
    other: int
    offset_s: float
    score: float
    matched_s: float
    share: float

    @property
    def is_whole(self) -> bool:
        """Whether most of the shorter track is in the longer one."""
        return self.share >= WHOLE


def check(*, score: float, seconds: float) -> None:
    """Raises errors.Invalid for a score and a length that no stretch can have."""
    if not (0 < score <= 1 and 0 < seconds < math.inf):
        given = f"score {score:g} and seconds {seconds:g} given"
        raise errors.Invalid(f"{given}; the score is above 0 and at most 1, the seconds are above 0 and finite")


class RowSearch(Protocol):
    """Finds nearest rows: `nafp.search.index.Index`, or the index of a database."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]: ...


def find(
    rows: collection.Collection,
    searched: RowSearch,
    *,
    score: float = SCORE,
    seconds: float = SECONDS,
    stride: int = STRIDE,
    k: int = plans.K,
    tracks: Sequence[int] | None = None,
    done: Callable[[int], None] = lambda n_rows: None,
) -> list[Pair]:
    """Finds the pairs of tracks that agree for `seconds` or more, best first.

    score: mean cosine that a stretch of `seconds` needs. Rows that match need PART_SCORE if they are less than half of
    the shorter track. stride: one row in so many is searched for. k: neighbours of each; repetitions within its own
    track take some of them. tracks: positions of those whose pairs are wanted, None for all. done: called with the
    number of rows searched for, block by block. Raises ValueError without a table of tracks.
    """
    if not rows.tracks:
        raise errors.Invalid("a bare store has no table of tracks, so there are no tracks to compare")
    check(score=score, seconds=seconds)
    if stride < 1:
        raise errors.Invalid(f"stride {stride}: is 1 or more")
    _check_size(rows)
    window = max(2, round(seconds / rows.hop_s))
    hits, silences = _asked(rows, searched, asking(rows, stride=stride, tracks=tracks), k, done)
    pairs = {}
    for (track, other), diagonals in _proposed(hits, len(rows.tracks)).items():
        compared = [_compare(rows, track, other, diagonal, silences, score, window) for diagonal in diagonals]
        best = max(compared, key=lambda pair: pair.matched_s * pair.score)
        if best.matched_s >= seconds and (best.is_whole or best.score >= max(score, PART_SCORE)):
            pairs[track, other] = best
    return sorted(pairs.values(), key=lambda pair: (-pair.score * pair.share, pair[:2]))


def asking(rows: collection.Collection, *, stride: int = STRIDE, tracks: Sequence[int] | None = None) -> np.ndarray:
    """Returns the rows that are searched for, every stride-th of each track: int64 [n].

    tracks: positions of the tracks to search for, None for all.
    """
    wanted = slice(None) if tracks is None else np.array(tracks, np.int64)
    edges = zip(rows.first_rows[wanted], rows.end_rows[wanted])
    places = [np.arange(first, end, stride) for first, end in edges]
    return np.concatenate([*places, np.empty(0, np.int64)])


def groups(pairs: Iterable[Pair | tuple], n_tracks: int) -> list[int]:
    """Returns a number for each track, the same for tracks that are paired, directly or through others."""
    parents = list(range(n_tracks))

    def root(track: int) -> int:
        while parents[track] != track:
            parents[track] = parents[parents[track]]
            track = parents[track]
        return track

    for pair in pairs:
        first, second = sorted((root(pair[0]), root(pair[1])))
        parents[second] = first
    return [root(track) for track in range(n_tracks)]


def _check_size(rows: collection.Collection) -> None:
    longest = int((rows.end_rows - rows.first_rows).max(initial=0))
    if len(rows.tracks) > _MOST_TRACKS or 2 * longest >= _SPAN:
        raise errors.Invalid(
            f"{len(rows.tracks)} tracks, the longest of {longest} rows; duplicates can be found among up to "
            f"{_MOST_TRACKS} tracks of up to {_SPAN // 2} rows: take a part of them"
        )


def _asked(
    rows: collection.Collection, searched: RowSearch, places: np.ndarray, k: int, done: Callable[[int], None]
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Searches for rows, by number. Returns the hits and the fingerprints of silence, float32 [n, D].

    Hits are packed places (see `_packed`), ascending, and the number of neighbours at each.
    """
    hits, silent = [], []
    for at in range(0, len(places), _BLOCK):
        block = places[at : at + _BLOCK]
        queries = rows.take(block)
        cosines, near = searched.search(queries, k)
        is_silent = _is_silent(rows, block, queries, near)
        silent.append(queries[is_silent])
        heard = ~is_silent
        packed = _packed(rows, block[heard], cosines[heard], near[heard])
        hits.append(np.unique(packed, return_counts=True))
        done(len(block))
    return _merged(hits), _distinct(silent, rows.dim)


def _is_silent(rows: collection.Collection, places: np.ndarray, queries: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Returns which rows equal the next one of their track and rows of several others: bool [n]."""
    tracks = rows.track_of(places)
    _, ends = rows.borders(tracks)
    following = np.where(places + 1 < ends, places + 1, places - 1)
    silent = np.vecdot(queries, rows.take(following)) > _STILL
    for i in np.flatnonzero(silent):  # Few; and the cosines of an index may be rough.
        others = near[i][near[i] >= 0]
        alike = others[rows.take(others) @ queries[i] > _STILL]
        silent[i] = len(set(rows.track_of(alike).tolist()) - {int(tracks[i])}) >= _SHARED_BY
    return silent


def _packed(rows: collection.Collection, places: np.ndarray, cosines: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Packs each neighbour in another track into a number: lower track, higher track, diagonal. Returns int64 [n]."""
    own, theirs = rows.track_of(places)[:, None], rows.track_of(np.maximum(near, 0))
    asked, place = np.nonzero((near >= 0) & (cosines >= _VOTE) & (own != theirs))
    track, other = own[asked, 0], theirs[asked, place]
    into_track = places[asked] - rows.first_rows[track]
    into_other = near[asked, place] - rows.first_rows[other]
    diagonal = np.where(track < other, 1, -1) * (into_other - into_track)
    low, high = np.minimum(track, other), np.maximum(track, other)
    return (low * len(rows.tracks) + high) * _SPAN + diagonal + _SPAN // 2


def _unpacked(packed: np.ndarray, n_tracks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns lower tracks, higher tracks and diagonals."""
    pair, diagonal = np.divmod(packed, _SPAN)
    return *np.divmod(pair, n_tracks), diagonal - _SPAN // 2


def _merged(hits: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct places of several blocks, ascending, and the sum of their counts."""
    if not hits:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    places, votes = (np.concatenate(column) for column in zip(*hits))
    places, where = np.unique(places, return_inverse=True)
    return places, np.bincount(where, votes, len(places)).astype(np.int64)


def _distinct(silent: Sequence[np.ndarray], dim: int) -> np.ndarray:
    """Returns one fingerprint of each kind of silence, _SILENCES at most: float32 [n, D]."""
    kinds = np.empty((0, dim), np.float32)
    for row in np.concatenate([*silent, kinds]):
        if len(kinds) < _SILENCES and not (kinds @ row > _STILL).any():
            kinds = np.concatenate([kinds, row[None]])
    return kinds


def _proposed(hits: tuple[np.ndarray, np.ndarray], n_tracks: int) -> dict[tuple[int, int], list[int]]:
    """Returns the diagonals to compare for every pair of tracks, those with most votes first."""
    places, votes = hits
    beside = _votes_beside(places, votes)
    enough = beside >= _VOTES
    tracks, others, diagonals = _unpacked(places[enough], n_tracks)
    proposed: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for track, other, diagonal, n in zip(tracks.tolist(), others.tolist(), diagonals.tolist(), beside[enough].tolist()):
        proposed.setdefault((track, other), []).append((-n, diagonal))
    return {pair: [diagonal for _, diagonal in sorted(ranked)[:_DIAGONALS]] for pair, ranked in proposed.items()}


def _votes_beside(places: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Returns the votes with those of the diagonals one row to either side added. places: packed, ascending."""
    total = votes.copy()
    next_to = np.diff(places) == 1
    total[1:][next_to] += votes[:-1][next_to]
    total[:-1][next_to] += votes[1:][next_to]
    return total


def _compare(
    rows: collection.Collection,
    track: int,
    other: int,
    diagonal: int,
    silences: np.ndarray,
    score: float,
    window: int,
) -> Pair:
    """Compares two tracks row by row along a diagonal."""
    n_rows = rows.end_rows - rows.first_rows
    start = max(0, -diagonal)
    end = min(int(n_rows[track]), int(n_rows[other]) - diagonal)
    offset_s = diagonal * rows.hop_s
    if end - start < window:
        return Pair(track, other, offset_s, 0.0, 0.0, 0.0)
    ours = rows.read(int(rows.first_rows[track]) + start, int(rows.first_rows[track]) + end)
    at = int(rows.first_rows[other]) + diagonal
    theirs = rows.read(at + start, at + end)
    cosines = np.vecdot(ours, theirs).astype(np.float64)
    is_heard = ~((ours @ silences.T > _STILL).any(axis=1) | (theirs @ silences.T > _STILL).any(axis=1))
    matched = _stretches(np.where(is_heard, cosines, 0), score=score, window=window) & is_heard
    if not matched.any():
        return Pair(track, other, offset_s, 0.0, 0.0, 0.0)
    matched_s = int(matched.sum()) * rows.hop_s
    share = int(matched.sum()) / int(min(n_rows[track], n_rows[other]))
    return Pair(track, other, offset_s, float(cosines[matched].mean()), matched_s, share)


def _stretches(cosines: np.ndarray, *, score: float, window: int) -> np.ndarray:
    """Returns which rows are in a window of `window` rows whose mean cosine reaches the score: bool [n]."""
    sums = np.concatenate([[0.0], np.cumsum(cosines)])
    reaches = (sums[window:] - sums[:-window]) / window >= score - 1e-9
    starts = np.flatnonzero(reaches)
    edges = np.zeros(len(cosines) + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + window, -1)
    return np.cumsum(edges[:-1]) > 0
