"""Right answers, counted. A metric returns counts; only tables divide.

exact: the start named first is the right one, to half a row; near: to one row (0.5 s at the
usual hop); top3, top10: an exact one is among that many; song: the first is in the right track.
"""

import math
from typing import NamedTuple

import numpy as np

METRICS = ("exact", "near", "top3", "top10", "song")
Z_95 = 1.959963984540054  # Two-sided 95 % of the normal distribution.
EXACT_ROWS, NEAR_ROWS = 0.5, 1.0
_ROUNDING = 1e-3  # Rows: times in a truth file are rounded to a millisecond or so.


class Hits(NamedTuple):
    """Questions answered right, of those asked; add field by field."""

    right: int
    asked: int

    @property
    def rate(self) -> float:
        """Share answered right; nan when nothing was asked."""
        return self.right / self.asked if self.asked else math.nan


class Answers(NamedTuple):
    """What the matcher said: for Q questions, M lengths, the T best; see `match.Ranking`.

    tracks: int64 [Q, M, T], -1 for none; starts: float64 [Q, M, T], nan for none; scores: float32
    [Q, M, T], -inf for none; elsewhere: float32 [Q, M]; asked: bool [Q, M], whether the question
    has that many rows.
    """

    tracks: np.ndarray
    starts: np.ndarray
    scores: np.ndarray
    elsewhere: np.ndarray
    asked: np.ndarray


def wilson(hits: Hits, *, z: float = Z_95) -> tuple[float, float]:
    """Gives the Wilson score interval of a rate (E. B. Wilson, JASA 1927); nan, nan for no trial."""
    if not hits.asked:
        return math.nan, math.nan
    n, p = hits.asked, hits.rate
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends the formula is exact, its rounding is not.
    low = 0.0 if hits.right == 0 else max(0.0, centre - half)
    return low, 1.0 if hits.right == n else min(1.0, centre + half)


def right(answers: Answers, tracks: np.ndarray, starts: np.ndarray, *, by_row: bool = False) -> dict[str, np.ndarray]:
    """Says for every question and length whether it was answered right, bool [Q, M] per metric.

    tracks: int64 [Q, A], the acceptable tracks, padded with -1; starts: float64 [Q, A], the right
    start in each, nan when unknown. by_row: starts decide alone (borders unknown or ignored).
    """
    same = answers.tracks[..., None] == tracks[:, None, None, :]  # [Q, M, T, A]
    same &= (answers.tracks >= 0)[..., None]
    with np.errstate(invalid="ignore"):
        away = np.abs(answers.starts[..., None] - starts[:, None, None, :])
    here = np.isfinite(away) if by_row else same
    exact = (here & (away <= EXACT_ROWS + _ROUNDING)).any(axis=3)
    near = (here & (away <= NEAR_ROWS + _ROUNDING)).any(axis=3)
    return {
        "exact": exact[:, :, 0],
        "near": near[:, :, 0],
        "top3": exact[:, :, :3].any(axis=2),
        "top10": exact[:, :, :10].any(axis=2),
        "song": same.any(axis=3)[:, :, 0],
    }


def count(is_right: dict[str, np.ndarray], asked: dict[str, np.ndarray]) -> dict[str, list[Hits]]:
    """Counts per metric and length what was right among what was asked, bool [Q, M] each."""
    return {
        name: [Hits(int(column.sum()), int(of.sum())) for column, of in zip(both.T, asked[name].T)]
        for name, values in is_right.items()
        for both in [values & asked[name]]
    }
