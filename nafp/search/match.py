"""Ranks where in a collection a query comes from: which track, which second, how sure.

Every neighbour of query row j proposes that the query starts j rows before it. A proposed start is scored by the mean
cosine along the diagonal, on uncompressed vectors: a lossy index decides which starts are looked at, and never how they
score. A start knows its track. A row beyond the track's borders counts as cosine 0, and no match runs on into the next
track.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nafp import errors
from nafp.search import collection

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int

TOP = 10
# Two places whose own fingerprints agree this much are one recording twice (a reissue, a loop): the other one does not
# make a match doubtful. On 700 queries of real music, at 1 % false accepts, 65.0, 78.0 and 84.6 % were accepted and
# right at 1, 2 and 3 s; 61.7, 74.6 and 81.9 % without.
TWIN_COSINE = 0.6
# Without a table of tracks, places at least this many rows apart count as different ones: the original's clips of 30 s
# are 59 rows.
FAR_ROWS = 60
_BLOCK = 512  # Candidates scored at once.


class Match(NamedTuple):
    """One place where a query may come from.

    track: its name. start_s: second of the track at which the query starts. score: mean cosine over the query, -1..1.
    margin: the score less that of the best place elsewhere.
    """

    track: str
    start_s: float
    score: float
    margin: float


class Ranking(NamedTuple):
    """The best starts for one query length, best first.

    tracks: int64 [T], positions in the table of tracks. starts: float64 [T], rows of the collection; a start may lie
    between two rows, and before its track. scores: float32 [T]. elsewhere: score of the best candidate at another
    place, 0 when there is none. compared: float64 [T], starts of the rows that were compared; half a row before
    `starts` where the mean of two rows scored better than the row.
    """

    tracks: np.ndarray
    starts: np.ndarray
    scores: np.ndarray
    elsewhere: float
    compared: np.ndarray


class Candidates(NamedTuple):
    """Starts proposed for one query, and what each scores over the first 1, 2, ... rows.

    tracks, starts: int64 [C]. since: int64 [C], the first query row that proposed the start. sums: float32 [C, L],
    cosines summed along the diagonal. counted: int64 [C], rows to average over; less than L only by the original's
    border rule. heard: int64 [L], how many of the first 1, 2, ... query rows say something. between: float32 [C, L],
    the sums half a row further on, or None.
    """

    tracks: np.ndarray
    starts: np.ndarray
    since: np.ndarray
    sums: np.ndarray
    counted: np.ndarray
    heard: np.ndarray
    between: np.ndarray | None


def rank(
    query: Float32[np.ndarray, "n D"],
    neighbours: Int[np.ndarray, "n K"],
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
    """Ranks the starts of one query, once for each of `lengths`. All lengths share one pass.

    neighbours: the nearest rows of each query row, -1 for none. lengths: in segments. top: starts to keep.

    A query row of zeros says nothing: silence, for example. It counts in no mean.
    shifts: query rows per row of the database (pfann's frame_shift_mul). Rows s, s + shifts, ... are one phase, and a
    length L covers L rows of phase 0 and L - 1 of each other phase.
    sharpness: if above 0, a cosine c counts as exp(-sharpness (1 - c)^2) (pfann's score_alpha).
    as_original: borders are ignored, and a diagonal that reaches the last row is averaged over the rows it has.
    twin_cosine: places whose fingerprints agree this much are one recording; 1 for never.
    between: each proposed start, and the one before it, is also scored half a row further on, against the mean of each
    two consecutive rows brought to unit length. That is nearly what a database of half the hop would hold there.
    """
    if between and as_original:
        raise errors.Invalid("as_original and between: the original looks at rows only")
    phases = [
        _scored(
            query[phase::shifts],
            proposed(neighbours[phase::shifts], rows, as_original=as_original),
            rows,
            sharpness=sharpness,
            as_original=as_original,
            between=between,
        )
        for phase in range(shifts)
    ]
    return [_ranked(phases, rows, length, top=top, twin_cosine=twin_cosine) for length in lengths]


def best_of_each_track(tracks: Int[np.ndarray, " T"]) -> Int[np.ndarray, " n"]:
    """Returns the positions of the first entry of each track, ascending.

    tracks: those of a ranking. Its best place comes first, so these are the best place of each track, best
    track first.
    """
    _, first = np.unique(tracks, return_index=True)
    return np.sort(first)


def matches(ranking: Ranking, rows: collection.Collection) -> list[Match]:
    """Returns the best place of each track in a ranking by name and second, best first."""
    best = best_of_each_track(ranking.tracks)
    tracks, scores = ranking.tracks[best], ranking.scores[best]
    first_rows, _ = rows.borders(tracks)
    starts_s = (ranking.starts[best] - first_rows) * rows.hop_s
    return [
        Match(rows.tracks[track] if rows.tracks else "", start_s, score, score - ranking.elsewhere)
        for track, start_s, score in zip(tracks.tolist(), starts_s.tolist(), scores.tolist())
    ]


def between_rows(
    windows: Float32[np.ndarray, "C W D"], query: Float32[np.ndarray, "L D"], is_inside: Bool[np.ndarray, "C W"]
) -> Float32[np.ndarray, "C L"]:
    """Returns the cosines of a query with the mean of each two consecutive rows.

    windows: rows of C places, W = L + 1 of each. is_inside: False for a row outside its track, which adds nothing.
    `nafp.monitor.diagonals` computes the same mean; it looks anywhere between two rows, and needs every product of a
    band for that.
    """
    present = is_inside.astype(np.float32)
    first, second = present[:, :-1], present[:, 1:]
    sums = np.vecdot(windows[:, :-1], query) * first + np.vecdot(windows[:, 1:], query) * second
    squares = first + second + 2 * np.vecdot(windows[:, :-1], windows[:, 1:]) * first * second
    return sums / np.sqrt(np.maximum(squares, 1))  # Opposite rows have no mean.


def proposed(
    neighbours: np.ndarray, rows: collection.Collection, *, as_original: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the distinct proposals: tracks [C], starts [C], ascending, and the first proposing query row [C]."""
    offsets, column = np.nonzero(neighbours >= 0)
    nearest = neighbours[offsets, column]
    starts = nearest - offsets
    if as_original or not rows.tracks:
        is_inside = starts >= 0
        offsets, nearest, starts = offsets[is_inside], nearest[is_inside], starts[is_inside]
    tracks = rows.track_of(starts if as_original else nearest)
    return _distinct(tracks, starts, offsets)


def _distinct(tracks: np.ndarray, starts: np.ndarray, since: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keeps each start in a track once, as it was first proposed, in ascending order.

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
    is_inside = is_inside_tracks(tracks, starts, n + between, rows, as_original=as_original)
    for start in range(0, len(starts), _BLOCK):
        block = slice(start, start + _BLOCK)
        windows = rows.windows(starts[block], n + between)
        np.vecdot(windows[:, :n], query, out=cosines[0, block])
        if between:
            cosines[1, block] = between_rows(windows, query, is_inside[block])
    if sharpness:
        cosines = np.exp(-sharpness * (1 - cosines) ** 2)
    is_heard = query.any(axis=1)
    cosines[0][~is_inside[:, :n]] = 0
    cosines[:, :, ~is_heard] = 0
    if between and sharpness:
        cosines[1][~(is_inside[:, :n] | is_inside[:, 1:])] = 0
    np.cumsum(cosines, axis=2, out=cosines)
    shortened = len(rows) - starts if as_original else np.full_like(starts, n)
    halves = cosines[1] if between else None
    heard = np.cumsum(is_heard)
    return Candidates(tracks, starts, since, cosines[0], np.minimum(shortened, n), heard, halves)


def is_inside_tracks(
    tracks: np.ndarray, starts: np.ndarray, n: int, rows: collection.Collection, *, as_original: bool = False
) -> np.ndarray:
    """Returns which of the n rows from each start on are in its track (as_original: in the collection), bool [C, n]."""
    first_rows, end_rows = (0, len(rows)) if as_original else rows.borders(tracks)
    low, high = np.reshape(first_rows, (-1, 1)), np.reshape(end_rows, (-1, 1))
    places = starts[:, None] + np.arange(n)
    return (places >= low) & (places < high)


def _with_those_before(
    tracks: np.ndarray, starts: np.ndarray, since: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adds the start one row before each: a place half a row before a proposed start belongs to that one."""
    return _distinct(np.tile(tracks, 2), np.concatenate([starts, starts - 1]), np.tile(since, 2))


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
        _at(candidates, min(length - (phase > 0), candidates.sums.shape[1]), phase / len(phases))
        for phase, candidates in enumerate(phases)
        if length > (phase > 0) and candidates.sums.shape[1]
    ]
    tracks, starts, scores, halves = map(np.concatenate, zip(*parts))
    order = np.argsort(-scores, kind="stable")
    rival = elsewhere(tracks[order], starts[order], scores[order], rows, length, twin_cosine=twin_cosine)
    order = order[:top]
    return Ranking(
        tracks[order],
        starts[order] + halves[order],
        scores[order].astype(np.float32),
        rival,
        starts[order],
    )


def _at(candidates: Candidates, n_rows: int, late: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns tracks, starts and scores over n_rows rows, and how far between two rows each place lies: [C] each.

    late: rows by which the first query row of this phase comes after the query's beginning.
    """
    live = np.flatnonzero(candidates.since < n_rows)
    sums, halves = candidates.sums[live, n_rows - 1], np.zeros(len(live))
    if candidates.between is not None:
        further = candidates.between[live, n_rows - 1]
        sums, halves = np.maximum(sums, further), 0.5 * (further > sums)
    n_heard = max(1, int(candidates.heard[n_rows - 1]))
    scores = sums / np.minimum(candidates.counted[live], n_heard)
    return candidates.tracks[live], candidates.starts[live] - late, scores, halves


def elsewhere(
    tracks: np.ndarray,
    starts: np.ndarray,
    scores: np.ndarray,
    rows: collection.Collection,
    length: int,
    *,
    twin_cosine: float,
) -> float:
    """Returns the best score of another recording, 0 when there is none.

    tracks, starts, scores: of all places, best first. A track whose best place holds the recording of the first place
    is a copy, and no place of it counts: the others are where that recording repeats itself. Without a table of tracks
    each place far away counts by itself.
    """
    if not len(starts):
        return 0.0
    others = best_of_each_track(tracks)[1:] if rows.tracks else np.flatnonzero(np.abs(starts - starts[0]) >= FAR_ROWS)
    for number in range(0, len(others), TOP):
        block = others[number : number + TOP]
        rivals = block[likeness(tracks, starts, block, rows, length) < twin_cosine] if twin_cosine < 1 else block
        if len(rivals):
            return float(scores[rivals[0]])
    return 0.0


def copies(tracks: np.ndarray, starts: np.ndarray, rows: collection.Collection, length: int) -> np.ndarray:
    """Returns the tracks, by position, that hold the recording of the first place, its own first: int64 [n].

    tracks, starts: of all places, best first. Copies score alike: after TOP tracks in a row that are none, no more are
    looked for.
    """
    best, found = best_of_each_track(tracks), [tracks[:1]]
    for number in range(1, len(best), TOP):
        block = best[number : number + TOP]
        is_copy = likeness(tracks, starts, block, rows, length) >= TWIN_COSINE
        found.append(tracks[block[is_copy]])
        if not is_copy.any():
            break
    return np.concatenate(found)


def likeness(
    tracks: np.ndarray, starts: np.ndarray, others: np.ndarray, rows: collection.Collection, length: int
) -> np.ndarray:
    """Returns how much the recordings at some places resemble that at the first place: the mean cosine [C], -1..1.

    others: positions of these places. Each is compared at its row and at the two beside, whichever fits best: a copy
    may begin between two rows. Only rows in the track of the first place count, and one beyond another track's end is
    0.
    """
    first = np.round(starts[[0, *others]]).astype(np.int64)
    is_inside = is_inside_tracks(tracks[:1], first[:1], length, rows)[0]
    own, windows = rows.windows(first[:1], length)[0] * is_inside[:, None], rows.windows(first[1:] - 1, length + 2)
    windows = windows * is_inside_tracks(tracks[others], first[1:] - 1, length + 2, rows)[..., None]
    sums = [np.vecdot(windows[:, late : late + length], own).sum(axis=1) for late in range(3)]
    return np.max(sums, axis=0) / max(1, int(is_inside.sum()))
