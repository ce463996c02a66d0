"""A clip that plays faster or slower than its recording: heard at several speeds, ranked as one query.

A fingerprint stands a small change of speed and no more. So the clip is resampled to a few speeds, all of its versions
are searched at once, and the best place over all of them is the answer. Resampling undoes a change of pitch; what is
left of the tempo (music stretched at its pitch, a speed between two of the grid) is the slope of the alignment: rows of
the query and rows of the recording do not advance alike, and the best places are scored along several slopes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nafp.search import collection, match

# A clip is heard at these speeds beside its own.
SPEEDS = (0.94, 0.97, 1.03, 1.06)
# Rows of the recording for one row of the query: tempo changed by up to a tenth.
SLOPES = (0.90, 0.925, 0.95, 0.975, 1.0, 1.025, 1.05, 1.075, 1.10)
_SHIFTED = (-1, 0, 1)  # Rows by which a start is tried beside the one proposed.
_DEEP = 32  # Places of each speed that go into the common ranking.


class Heard(NamedTuple):
    """A clip as it sounds with one change of speed undone.

    speed: 1.04 undoes a clip that plays 4 % too fast. vectors: float32 [n, D]; near: int64 [n, K], as `match.rank`
    takes them. lengths: rows that belong to each query length asked, 0 where the speed has none.
    """

    speed: float
    vectors: np.ndarray
    near: np.ndarray
    lengths: Sequence[int]


class Ranking(NamedTuple):
    """Like `match.Ranking`, and what the clip was taken for at each place.

    speeds: float64 [T], tempo of the clip against the recording's; heard: int64 [T], which of the versions it is.
    """

    tracks: np.ndarray
    starts: np.ndarray
    scores: np.ndarray
    elsewhere: float
    speeds: np.ndarray
    heard: np.ndarray


class _Places(NamedTuple):
    """Places proposed by any speed: which of them heard it, and what it scores."""

    heard: np.ndarray
    tracks: np.ndarray
    starts: np.ndarray
    scores: np.ndarray
    slopes: np.ndarray

    def some(self, keep: np.ndarray) -> "_Places":
        return _Places(*(column[keep] for column in self))


def rows_heard(length: float, speed: float, *, segment_rows: float) -> int:
    """Counts the rows that `length` rows' worth of clip give once its speed is undone; 0 if it is too short then.

    segment_rows: length of a segment in hops.
    """
    return max(0, int((length - 1 + segment_rows) * speed - segment_rows + 1e-6) + 1)


def rank(
    heard: Sequence[Heard], rows: collection.Collection, *, shifts: int = 1, top: int = match.TOP,
    slopes: Sequence[float] = SLOPES, twin_cosine: float = match.TWIN_COSINE,
) -> list[Ranking]:  # fmt: skip
    """Ranks the places of one clip over all speeds at each length.

    slopes: tried for the best places; () for none. Heard at one speed and without slopes, the ranking is that of
    `match.rank`.
    """
    deep = max(top, _DEEP) if len(heard) > 1 or slopes else top
    by_speed = [
        match.rank(
            each.vectors, each.near, rows,
            lengths=[max(1, length) for length in each.lengths], top=deep, shifts=shifts, twin_cosine=twin_cosine,
        )
        for each in heard
    ]  # fmt: skip
    if len(heard) == 1 and not slopes:
        one = heard[0].speed
        return [
            Ranking(*found, np.full(len(found.tracks), one), np.zeros(len(found.tracks), np.int64))
            for found in by_speed[0]
        ]
    return [
        _together(
            heard, [found[column] for found in by_speed], column, rows,
            shifts=shifts, top=top, slopes=slopes, twin_cosine=twin_cosine,
        )
        for column in range(len(heard[0].lengths))
    ]  # fmt: skip


def _together(
    heard: Sequence[Heard], rankings: Sequence[match.Ranking], column: int, rows: collection.Collection, *,
    shifts: int, top: int, slopes: Sequence[float], twin_cosine: float,
) -> Ranking:  # fmt: skip
    """Puts the rankings of all speeds into one."""
    here = [number for number, each in enumerate(heard) if each.lengths[column]]
    found = _Places(
        np.concatenate([np.full(len(rankings[n].tracks), n) for n in here]),
        np.concatenate([rankings[n].tracks for n in here]),
        np.concatenate([rankings[n].starts for n in here]),
        np.concatenate([rankings[n].scores for n in here]),
        np.ones(sum(len(rankings[n].tracks) for n in here)),
    )
    found = found.some(np.argsort(-found.scores, kind="stable"))
    lengths = np.array([each.lengths[column] for each in heard])
    if slopes and len(found.tracks):
        first = found.some(np.arange(min(_DEEP, len(found.tracks))))
        first = _sloped(first, heard, lengths, rows, shifts=shifts, slopes=slopes)
        rest = found.some(np.arange(len(first.tracks), len(found.tracks)))
        found = _Places(*(np.concatenate(pair) for pair in zip(first, rest)))
        found = found.some(np.argsort(-found.scores, kind="stable"))
    elsewhere = _elsewhere(found, lengths, rows, twin_cosine=twin_cosine)
    if elsewhere is None:
        elsewhere = max((rankings[n].elsewhere for n in here), default=0.0)
    best = found.some(np.arange(min(top, len(found.tracks))))
    speeds = np.array([heard[n].speed for n in best.heard]) * best.slopes
    scores = best.scores.astype(np.float32)
    return Ranking(best.tracks, best.starts, scores, elsewhere, speeds, best.heard)


def part_scores(
    heard: Sequence[Heard], ranking: Ranking, place: int, rows: collection.Collection, *, shifts: int = 1
) -> np.ndarray:  # fmt: skip
    """Gives the cosine of each row of the clip at one place of a ranking, float32 [L]; 0 beyond the track's ends."""
    one, start = heard[ranking.heard[place]], ranking.starts[place]
    first = int(np.ceil(start - 1e-6))
    phase = round((first - start) * shifts)
    query = one.vectors[phase::shifts][: one.lengths[0] - (phase > 0)]
    slope = ranking.speeds[place] / one.speed
    at = first + np.round(np.arange(len(query)) * slope).astype(np.int64)
    low, high = (int(edge[0]) for edge in rows.borders(ranking.tracks[place : place + 1]))
    cosines = np.vecdot(rows.take(at), query)
    return np.where((at >= low) & (at < high), cosines, 0).astype(np.float32)


def _sloped(
    found: _Places, heard: Sequence[Heard], lengths: np.ndarray, rows: collection.Collection, *, shifts: int,
    slopes: Sequence[float],
) -> _Places:  # fmt: skip
    """Scores every place along the slopes, and gives each its best one."""
    starts, scores, best = (column.copy() for column in (found.starts, found.scores, found.slopes))
    first = np.ceil(starts - 1e-6).astype(np.int64)
    phases = np.round((first - starts) * shifts).astype(int)
    low, high = rows.borders(found.tracks)
    for number in np.unique(found.heard):
        for phase in np.unique(phases[found.heard == number]):
            own = np.flatnonzero((found.heard == number) & (phases == phase))
            query = heard[number].vectors[phase::shifts][: lengths[number] - (phase > 0)]
            paths = _paths(len(query), slopes)  # [P, L]
            reach = int(np.abs(paths - np.arange(len(query))).max())
            windows = rows.windows(first[own] - reach, len(query) + 2 * reach)  # [C, W, D]
            cosines = windows @ query.T  # [C, W, L]
            places = first[own][:, None] - reach + np.arange(windows.shape[1])
            cosines[(places < low[own][:, None]) | (places >= high[own][:, None])] = 0
            along = cosines[:, paths + reach, np.arange(len(query))].mean(axis=2)  # [C, P]
            chosen = along.argmax(axis=1)
            better = along[np.arange(len(own)), chosen] > scores[own] + 1e-6
            at = own[better]
            scores[at] = along[better, chosen[better]]
            best[at] = np.repeat(slopes, len(_SHIFTED))[chosen[better]]
            starts[at] += np.tile(_SHIFTED, len(slopes))[chosen[better]]
    return found._replace(starts=starts, scores=scores, slopes=best)


def _paths(length: int, slopes: Sequence[float]) -> np.ndarray:
    """Gives the row of the recording that each query row meets, counted from the start: int64 [P, L]."""
    along = np.multiply.outer(np.asarray(slopes), np.arange(length))
    return np.concatenate([np.round(one + np.array(_SHIFTED)[:, None]) for one in along]).astype(
        np.int64
    )


def _elsewhere(
    found: _Places, lengths: np.ndarray, rows: collection.Collection, *, twin_cosine: float
) -> float | None:
    """Gives the best score at another place that does not hold the same recording; None if all are one track's."""
    if not len(found.tracks):
        return 0.0
    away = found.tracks != found.tracks[0]
    if not rows.tracks:
        away = np.abs(found.starts - found.starts[0]) >= match.FAR_ROWS
    others = np.flatnonzero(away)[: match.TOP]
    if not len(others):
        return None
    if twin_cosine < 1:
        starts = np.round(found.starts[[0, *others]]).astype(np.int64)
        vectors = rows.windows(starts, int(lengths[found.heard[0]]))
        likeness = np.vecdot(vectors[1:], vectors[0]).mean(axis=1)
        others = np.append(others[likeness < twin_cosine], others[-1])
    return float(found.scores[others[0]])
