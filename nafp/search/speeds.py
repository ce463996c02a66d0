"""Ranks a clip that plays faster or slower than its recording: searched at several speeds, ranked at each.

A fingerprint stands a small change of speed and no more. So the clip is resampled to a few speeds, and all of these
versions are searched at once. The version whose best place stands out most from the best place elsewhere decides. Its
score alone says less: some recordings are near to whatever is resampled, but then several similar ones are, too.

Resampling undoes a change of pitch. A change of tempo that is left (music stretched at its pitch, a speed between two
of the grid) is the slope of the alignment. It is estimated at the places that were ranked, and corrects their start and
speed. It does not change their scores, because a freely chosen slope lifts wrong places more than right ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nafp.search import collection, match

if TYPE_CHECKING:
    from jaxtyping import Float32, Int

# Rows of the recording per row of the query: the tempo is changed by up to an eighth.
SLOPES = tuple(np.round(np.arange(0.88, 1.1201, 0.02), 2).tolist())
# A version stands out by margin + SCORE_SHARE x score. A version at another speed than the clip's own needs HANDICAP
# more. Of 1,800 clips of the validation split in twelve conditions, these were found at 1 and 2 s: with their speed not
# changed, 90.6 and 94.7 % at their own speed alone, 90.2 and 94.5 with four more (from 3 s on no loss above 0.2); with
# their speed changed, 94.7 and 98.0. By margins alone, with a handicap of 0.06: 90.0 and 94.4, 94.0 and 97.6.
SCORE_SHARE, HANDICAP = 0.5, 0.09
_REFINED = 8  # Places whose alignment is estimated.
_SHIFTED = (-1, 0, 1, 2)  # Rows by which a start is tried beside the proposed one.
_THE_SAME = 0.999  # Score of rows that were cut at the same places.
_GAIN = 0.02  # A slope must score this much more than none.


class ClipAtSpeed(NamedTuple):
    """One version of a clip: its fingerprints with one change of speed undone.

    speed: 1.04 undoes a clip that plays 4 % too fast. vectors: float32 [n, D]. near: int64 [n, K], the nearest rows of
    each, as `match.rank` takes them. lengths: how many of the n rows belong to each query length; 0 where this version
    is too short for it. ratio: the change of pitch that is undone, 0 for that of a change of speed.
    """

    speed: float
    vectors: np.ndarray
    near: np.ndarray
    lengths: Sequence[int]
    ratio: float = 0.0

    @property
    def pitch(self) -> float:
        """Frequencies of the clip divided by those of the recording."""
        return self.ratio or self.speed


class ClipRanking(NamedTuple):
    """The best places for one query length, best first, by the version that decided.

    tracks, scores, elsewhere: as of `match.Ranking`. starts: float64 [T], corrected by the scores beside them.
    compared: float64 [T], starts of the rows that were compared. halves: float64 [T], 0.5 where the mean of two rows
    was compared, else 0. speeds: float64 [T], tempo of the clip divided by that of the recording. slopes: float64 [T],
    the part of `speeds` that is in the alignment. heard: position of the version that decided. judged: float64 [T],
    scores that count instead where something else than fingerprints was asked, too; `elsewhere` is then of these.
    """

    tracks: np.ndarray
    starts: np.ndarray
    scores: np.ndarray
    elsewhere: float
    compared: np.ndarray
    halves: np.ndarray
    speeds: np.ndarray
    slopes: np.ndarray
    heard: int
    judged: np.ndarray | None = None

    @property
    def counted(self) -> np.ndarray:
        """The scores that places are ranked by, float [T]."""
        return self.scores if self.judged is None else self.judged


def reordered(ranking: ClipRanking, order: Int[np.ndarray, " T"]) -> ClipRanking:
    """Returns a ranking with its places in another order, given by their positions."""
    return ranking._replace(
        tracks=ranking.tracks[order],
        starts=ranking.starts[order],
        scores=ranking.scores[order],
        compared=ranking.compared[order],
        halves=ranking.halves[order],
        speeds=ranking.speeds[order],
        slopes=ranking.slopes[order],
    )


def rows_heard(length: float, speed: float, *, segment_rows: float) -> int:
    """Returns how many rows a clip gives once its speed is undone. 0 if it is too short then.

    length: rows that the clip gives at its own speed. segment_rows: length of a segment in hops. The row of a clip that
    is filled up with silence is not counted; see `nafp.identify.asking.is_filled`.
    """
    return max(0, math.floor((length - 1 + segment_rows) * speed - segment_rows + 1e-6) + 1)


def law() -> dict[str, Any]:
    """Returns the constants by which places are ranked, for a search that is not ours, such as that of a page."""
    return {
        "twin_cosine": match.TWIN_COSINE,
        "score_share": SCORE_SHARE,
        "handicap": HANDICAP,
        "slopes": list(SLOPES),
        "refined": _REFINED,
        "shifted": list(_SHIFTED),
        "the_same": _THE_SAME,
        "gain": _GAIN,
    }


def rank(
    heard: Sequence[ClipAtSpeed],
    rows: collection.Collection,
    *,
    shifts: int = 1,
    top: int = match.TOP,
    twin_cosine: float = match.TWIN_COSINE,
    handicap: float = HANDICAP,
    between: bool = True,
) -> list[ClipRanking]:
    """Ranks the places of one clip, once for each query length, by the version that stands out most.

    heard: versions of the clip. handicap: by how much more a version at another speed than 1 must stand out; see
    SCORE_SHARE. shifts, top, twin_cosine, between: as of `match.rank`.
    """
    by_version = [
        match.rank(
            version.vectors,
            version.near,
            rows,
            lengths=[max(1, length) for length in version.lengths],
            top=top,
            shifts=shifts,
            twin_cosine=twin_cosine,
            between=between,
        )
        for version in heard
    ]
    chosen = []
    for column in range(len(heard[0].lengths)):
        standing = [
            stands_out(rankings[column]) - handicap * (version.speed != 1) if version.lengths[column] else -np.inf
            for version, rankings in zip(heard, by_version)
        ]
        best = int(np.argmax(standing))
        chosen.append(_aligned(heard[best], best, by_version[best][column], column, rows, shifts))
    return chosen


def part_scores(
    version: ClipAtSpeed,
    ranking: ClipRanking,
    place: int,
    rows: collection.Collection,
    *,
    shifts: int = 1,
    column: int = 0,
) -> Float32[np.ndarray, " L"]:
    """Returns the cosine of each query row at one place of a ranking. 0 beyond the track's ends.

    version: the one that decided, `heard[ranking.heard]`. column: the query length, by position.
    """
    first, phase = _row_and_phase(ranking.compared[place : place + 1], shifts)
    query = _phase_rows(version, int(phase[0]), column, shifts)
    low, high = (edge[:, None] for edge in rows.borders(ranking.tracks[place : place + 1]))
    at = first[:, None] + np.round(np.arange(len(query)) * ranking.slopes[place]).astype(np.int64)
    if ranking.halves[place]:
        windows = rows.windows(first, len(query) + 1)
        at = first[:, None] + np.arange(len(query) + 1)
        return match.between_rows(windows, query, (at >= low) & (at < high))[0]
    cosines = np.vecdot(rows.take(at), query)
    return np.where((at >= low) & (at < high), cosines, 0).astype(np.float32)[0]


def stands_out(ranking: match.Ranking | ClipRanking) -> float:
    """Returns by how much the best place of a ranking stands out, -inf if there is none."""
    if not len(ranking.scores):
        return -np.inf
    best = float((ranking.counted if isinstance(ranking, ClipRanking) else ranking.scores)[0])
    return best - ranking.elsewhere + SCORE_SHARE * best


def _aligned(
    version: ClipAtSpeed, number: int, ranking: match.Ranking, column: int, rows: collection.Collection, shifts: int
) -> ClipRanking:
    """Estimates start and slope at the best places of the version that decided."""
    compared, slopes = ranking.compared.copy(), np.ones(len(ranking.starts))
    halves = ranking.starts - compared
    between = halves.copy()
    first, phases = _row_and_phase(compared[:_REFINED], shifts)
    for phase in np.unique(phases):
        own = np.flatnonzero(phases == phase)
        query = _phase_rows(version, int(phase), column, shifts)
        borders = rows.borders(ranking.tracks[own])
        moved, between[own], slopes[own] = _fitted(
            query, first[own], np.where(halves[own] > 0, ranking.scores[own], 0), borders, rows
        )
        compared[own] += moved
    halves[slopes != 1] = 0
    return ClipRanking(
        ranking.tracks,
        compared + between,
        ranking.scores,
        ranking.elsewhere,
        compared,
        halves,
        speeds=version.speed * slopes,
        slopes=slopes,
        heard=number,
    )


def _row_and_phase(starts: np.ndarray, shifts: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits starts into the row that the first query row of a phase meets, and that phase."""
    first = np.ceil(starts - 1e-6).astype(np.int64)
    return first, np.round((first - starts) * shifts).astype(np.int64)


def _phase_rows(version: ClipAtSpeed, phase: int, column: int, shifts: int) -> np.ndarray:
    return version.vectors[phase::shifts][: max(1, version.lengths[column] - (phase > 0))]


def _fitted(
    query: np.ndarray,
    first: np.ndarray,
    between: np.ndarray,
    borders: tuple[np.ndarray, np.ndarray],
    rows: collection.Collection,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fits an alignment at each place. Returns rows to move, rows beyond that (-0.5 .. 1.5), and slope: [C] each.

    query: float32 [L, D]. first: int64 [C], the row that the first query row meets. between: float [C], score of a
    place between the first row and the next, 0 for a place on rows. borders: first and end rows of the tracks.
    """
    slopes = np.asarray(SLOPES if len(query) > 2 else (1.0,))
    along, beyond = _along(query, first, slopes, borders, rows)
    plain, number = int(np.flatnonzero(slopes == 1)[0]), np.arange(len(first))
    best = along.max(axis=2).argmax(axis=1)
    between = np.where(between > 0, between + beyond.mean(axis=1), 0)
    gained = along[number, best].max(axis=1) - np.maximum(along[:, plain, 1], between)
    is_plain = gained < _GAIN
    beside = along[number, np.where(is_plain, plain, best)]  # [C, 4]
    next_row = (between > 0) & (beside[:, 2] > beside[:, 1])
    around = np.where(next_row[:, None], beside[:, 1:], beside[:, :3])
    further = np.where(is_plain, next_row + _vertex(around), 0.0)
    moved = np.where(is_plain, 0, np.array(_SHIFTED)[beside.argmax(axis=1)])
    return moved.astype(np.float64), further, slopes[np.where(is_plain, plain, best)]


def _along(
    query: np.ndarray,
    first: np.ndarray,
    slopes: np.ndarray,
    borders: tuple[np.ndarray, np.ndarray],
    rows: collection.Collection,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean cosine of a query along every path from every place, float [C, P, 4]. See `_paths`.

    One row beyond the ends of a track still holds some of it, and counts as the row at that end: else another slope, on
    which it lies within, would score more. The second array, float [C, 2], is how much such rows give a place at slope
    1, on its row and on the next.
    """
    paths = _paths(len(query), slopes)  # [P, 4, L]
    reach = int(np.abs(paths - np.arange(len(query))).max())
    cosines = rows.windows(first - reach, len(query) + 2 * reach) @ query.T  # [C, W, L]
    at = first[:, None] - reach + np.arange(cosines.shape[1])
    low, high = (edge[:, None] for edge in borders)
    nearest = np.clip(np.clip(at, low, high - 1) - at[:, :1], 0, at.shape[1] - 1)
    is_inside, is_beyond = (at >= low) & (at < high), (at == low - 1) | (at == high)
    beyond = np.where(is_beyond[:, :, None], np.take_along_axis(cosines, nearest[:, :, None], axis=1), 0)
    cosines = np.where(is_inside[:, :, None], cosines, beyond)
    n_heard = max(1, int(query.any(axis=1).sum()))  # A row of zeros says nothing and counts in no mean.
    number, own = np.arange(len(query)), _paths(len(query), np.ones(1))[0, 1:3]
    along = cosines[:, paths + reach, number].sum(axis=3) / n_heard
    return along, beyond[:, own + reach, number].sum(axis=2) / n_heard


def _vertex(beside: np.ndarray) -> np.ndarray:
    """Returns where the parabola through scores at -1, 0 and 1 has its top, -0.5 .. 0.5. 0 where it has none.

    beside: float [C, 3]. On 60 clips of 2 s and more, clean or at 0 dB of noise, the median error of the start fell
    from 0.10 to 0.03 s.
    """
    left, middle, right = beside.T
    bend = left - 2 * middle + right
    bent = (bend < -1e-6) & (middle < _THE_SAME)
    top = np.divide(0.5 * (left - right), bend, out=np.zeros(len(bend)), where=bent)
    return np.clip(top, -0.5, 0.5)


def _paths(length: int, slopes: np.ndarray) -> np.ndarray:
    """Returns the row that each query row meets, counted from the start, by slope and shift: int64 [P, 4, L]."""
    along = np.round(np.multiply.outer(slopes, np.arange(length)))
    return (along[:, None] + np.array(_SHIFTED)[:, None]).astype(np.int64)
