"""Query rows and their nearest rows become matches: which track, where in it, how sure.

Every neighbour of query row j proposes that the query starts j rows before it. A proposed start is
scored by the mean cosine along the diagonal, on uncompressed vectors, so a lossy index decides
what is looked at and never how it scores. Starts know their track: beyond its borders there is
nothing, which counts as cosine 0, and no match runs on into the next track.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.search import collection

TOP = 10
# Two places whose own fingerprints agree this much are one recording twice (a reissue, a loop):
# the other one does not make a match doubtful. On 700 queries of real music, at 1 % false accepts,
# 65.0, 78.0 and 84.6 % were accepted and right at 1, 2 and 3 s; 61.7, 74.6 and 81.9 % without.
TWIN_COSINE = 0.6
# Without a table of tracks, places at least this many rows apart count as different ones: the
# original's clips of 30 s are 59 rows.
FAR_ROWS = 60
_BLOCK = 512  # Candidates scored at once.


class Match(NamedTuple):
    """One answer. score: mean cosine over the query, -1..1; margin: score less the best elsewhere."""

    track: str
    start_s: float
    score: float
    margin: float


class Ranking(NamedTuple):
    """The best starts for one query length, best first; T or fewer.

    tracks: int64, positions in the table of tracks; starts: float64, rows of the collection (they
    may lie between rows, and before a track); scores: float32; elsewhere: score of the best
    candidate at another place, 0 when there is none. compared: float64, starts of the rows that
    were compared: half a row before `starts` where what lies between two rows scored better.
    """

    tracks: np.ndarray
    starts: np.ndarray
    scores: np.ndarray
    elsewhere: float
    compared: np.ndarray


class Candidates(NamedTuple):
    """Starts proposed for one query, and what each scores over its first 1, 2, ... rows.

    tracks, starts: int64 [C]; since: int64 [C], the first query row that proposed it; sums:
    float32 [C, L], cosines summed along the diagonal; counted: int64 [C], rows that can be
    averaged over (only the original's border rule makes it less than L); between: as sums, half a
    row further on, or None.
    """

    tracks: np.ndarray
    starts: np.ndarray
    since: np.ndarray
    sums: np.ndarray
    counted: np.ndarray
    between: np.ndarray | None


def rank(
    query: np.ndarray,
    neighbours: np.ndarray,
    rows: collection.Collection,
    *,
    lengths: Sequence[int],
    top: int = TOP,
    shifts: int = 1,
    sharpness: float = 0.0,
    as_original: bool = False,
    twin_cosine: float = TWIN_COSINE,
    between: bool = False,
) -> list[Ranking]:
    """Ranks the starts of one query at each length; all lengths share one pass.

    query: float32 [n, D]; neighbours: int64 [n, K], nearest rows of each query row, -1 for none.
    shifts: query rows per database hop (pfann's frame_shift_mul): row s, s + shifts, ... are one
    phase, and a length L covers L rows of phase 0, L - 1 of the others. sharpness: a cosine c
    counts as exp(-sharpness (1 - c)^2) when above 0 (pfann's score_alpha). as_original: borders
    are ignored, and a diagonal that reaches the last row is averaged over what there is. between:
    each proposed start, and the one before it, is also scored half a row further on, against the
    mean of each two rows that follow each other, brought to unit length: what a database of half
    the hop would hold there, nearly.
    """
    if between and as_original:
        raise errors.Invalid("as_original and between: the original looks at rows only")
    phases = [
        _scored(
            query[phase::shifts],
            _proposed(neighbours[phase::shifts], rows, as_original=as_original),
            rows,
            sharpness=sharpness,
            as_original=as_original,
            between=between,
        )
        for phase in range(shifts)
    ]
    return [_ranked(phases, rows, length, top=top, twin_cosine=twin_cosine) for length in lengths]


def matches(ranking: Ranking, rows: collection.Collection) -> list[Match]:
    """Puts a ranking into words, and keeps the best place of each track."""
    found: dict[int, Match] = {}
    first_rows, _ = rows.borders(ranking.tracks)
    for track, start, first, score in zip(ranking.tracks, ranking.starts, first_rows, ranking.scores):
        name = rows.tracks[track] if rows.tracks else ""
        start_s, margin = float(start - first) * rows.hop_s, float(score) - ranking.elsewhere
        found.setdefault(int(track), Match(name, start_s, float(score), margin))
    return list(found.values())


def _proposed(
    neighbours: np.ndarray, rows: collection.Collection, *, as_original: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives the distinct proposed tracks [C], starts [C], ascending, and first proposing row [C]."""
    offsets, column = np.nonzero(neighbours >= 0)
    found = neighbours[offsets, column]
    starts = found - offsets
    if as_original or not rows.tracks:
        offsets, found, starts = (each[starts >= 0] for each in (offsets, found, starts))
    tracks = rows.track_of(starts if as_original else found)
    return _distinct(tracks, starts, offsets)


def _distinct(tracks: np.ndarray, starts: np.ndarray, since: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keeps one of each start in a track, the one proposed first; ascending by start.

    A start before its track's first row is a place of that track, not of the one before it.
    """
    order = np.lexsort((since, tracks, starts))
    tracks, starts, since = tracks[order], starts[order], since[order]
    is_new = np.r_[True, (starts[1:] != starts[:-1]) | (tracks[1:] != tracks[:-1])][: len(starts)]
    return tracks[is_new], starts[is_new], since[is_new]


def _scored(
    query: np.ndarray,
    proposed: tuple[np.ndarray, np.ndarray, np.ndarray],
    rows: collection.Collection,
    *,
    sharpness: float,
    as_original: bool,
    between: bool,
) -> Candidates:
    """Scores every proposed start along its diagonal."""
    tracks, starts, since = _with_those_before(*proposed) if between else proposed
    n = len(query)
    cosines = np.empty((1 + between, len(starts), n), np.float32)
    first_rows, end_rows = (0, len(rows)) if as_original else rows.borders(tracks)
    low, high = np.reshape(first_rows, (-1, 1)), np.reshape(end_rows, (-1, 1))
    places = starts[:, None] + np.arange(n + between)  # [C, L]
    is_inside = (places >= low) & (places < high)
    for start in range(0, len(starts), _BLOCK):
        block = slice(start, start + _BLOCK)
        windows = rows.windows(starts[block], n + between)
        np.vecdot(windows[:, :n], query, out=cosines[0, block])
        if between:
            cosines[1, block] = between_rows(windows, query, is_inside[block])
    if sharpness:
        cosines = np.exp(-sharpness * (1 - cosines) ** 2)
    cosines[0][~is_inside[:, :n]] = 0
    if between and sharpness:
        cosines[1][~(is_inside[:, :n] | is_inside[:, 1:])] = 0
    np.cumsum(cosines, axis=2, out=cosines)
    shortened = len(rows) - starts if as_original else np.full_like(starts, n)
    halves = cosines[1] if between else None
    return Candidates(tracks, starts, since, cosines[0], np.minimum(shortened, n), halves)


def _with_those_before(
    tracks: np.ndarray, starts: np.ndarray, since: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adds the start one row before each: what lies half a row before a proposed one begins there."""
    return _distinct(np.tile(tracks, 2), np.concatenate([starts, starts - 1]), np.tile(since, 2))


def between_rows(windows: np.ndarray, query: np.ndarray, is_inside: np.ndarray) -> np.ndarray:
    """Gives the cosines, float32 [C, L], of a query [L, D] with the mean of each two rows that follow each other.

    windows: float32 [C, L + 1, D]; is_inside: bool [C, L + 1]: a row outside its track is nothing. The same mean
    as of `nafp.monitor.diagonals`, which looks anywhere between rows and needs every product of a band for it.
    """
    there = is_inside.astype(np.float32)
    one, other = there[:, :-1], there[:, 1:]
    sums = np.vecdot(windows[:, :-1], query) * one + np.vecdot(windows[:, 1:], query) * other
    squares = one + other + 2 * np.vecdot(windows[:, :-1], windows[:, 1:]) * one * other
    return sums / np.sqrt(np.maximum(squares, 1))  # Opposite rows have no mean.


def _ranked(
    phases: list[Candidates],
    rows: collection.Collection,
    length: int,
    *,
    top: int,
    twin_cosine: float,
) -> Ranking:
    """Ranks the candidates of all phases over the first `length` rows."""
    parts = [
        _at(found, min(length - (phase > 0), found.sums.shape[1]), phase / len(phases))
        for phase, found in enumerate(phases)
        if length > (phase > 0) and found.sums.shape[1]
    ]
    tracks, starts, scores, halves = map(np.concatenate, zip(*parts))
    order = np.argsort(-scores, kind="stable")
    elsewhere = _elsewhere(tracks[order], starts[order], scores[order], rows, length, twin_cosine=twin_cosine)
    order = order[:top]
    return Ranking(
        tracks[order],
        starts[order] + halves[order],
        scores[order].astype(np.float32),
        elsewhere,
        starts[order],
    )


def _at(found: Candidates, n_rows: int, late: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gives tracks, starts and scores of the candidates over n_rows rows, and how far between rows each is.

    late: by how much of a row the first row of this phase comes after the query's beginning.
    """
    live = np.flatnonzero(found.since < n_rows)
    sums, halves = found.sums[live, n_rows - 1], np.zeros(len(live))
    if found.between is not None:
        further = found.between[live, n_rows - 1]
        sums, halves = np.maximum(sums, further), 0.5 * (further > sums)
    scores = sums / np.minimum(found.counted[live], n_rows)
    return found.tracks[live], found.starts[live] - late, scores, halves


def _elsewhere(
    tracks: np.ndarray,
    starts: np.ndarray,
    scores: np.ndarray,
    rows: collection.Collection,
    length: int,
    *,
    twin_cosine: float,
) -> float:
    """Gives the best score at another place that does not hold the same recording."""
    if not len(starts):
        return 0.0
    is_other = tracks != tracks[0] if rows.tracks else np.abs(starts - starts[0]) >= FAR_ROWS
    others = np.flatnonzero(is_other)[:TOP]
    if not len(others):
        return 0.0
    if twin_cosine < 1:
        vectors = rows.windows(np.round(starts[[0, *others]]).astype(np.int64), length)
        likeness = np.vecdot(vectors[1:], vectors[0]).mean(axis=1)
        others = np.append(others[likeness < twin_cosine], others[-1])
    return float(scores[others[0]])
