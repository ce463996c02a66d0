"""Counts right answers. A metric returns counts, and only tables divide.

exact         the first answer starts at the right place, to half a row
near          the first answer starts at the right place, to one row (0.5 s at the usual hop)
top3, top10   an exact answer is among the first 3, 10
song          the first answer is in the right track
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import special

METRICS = ("exact", "near", "top3", "top10", "song")
Z_95 = float(special.ndtri(0.975))  # The normal distribution has 95 % within this many deviations.
EXACT_ROWS, NEAR_ROWS = 0.5, 1.0
_ROUNDING = 1e-6  # Rows, 0.5 us at the usual hop: what sums of seconds in floating point are off by.


class Hits(NamedTuple):
    """Number of questions that were answered right, and that were asked. Sums merge field by field."""

    right: int
    asked: int

    @property
    def rate(self) -> float:
        """Share of the asked questions that were answered right, or nan if nothing was asked."""
        return self.right / self.asked if self.asked else math.nan


class Answers(NamedTuple):
    """The T best answers to Q questions at M lengths, as `match.Ranking` has them.

    tracks: int64 [Q, M, T], -1 for none. starts: float64 [Q, M, T], nan for none. scores: float32 [Q, M, T], -inf for
    none. elsewhere: float32 [Q, M], the best score outside of the best place. asked: bool [Q, M], whether the question
    has enough rows for the length.
    """

    tracks: np.ndarray
    starts: np.ndarray
    scores: np.ndarray
    elsewhere: np.ndarray
    asked: np.ndarray


def wilson(hits: Hits, *, z: float = Z_95) -> tuple[float, float]:
    """Returns the Wilson score interval of a rate (E. B. Wilson, JASA 1927), or (nan, nan) if nothing was asked."""
    if not hits.asked:
        return math.nan, math.nan
    n, p = hits.asked, hits.rate
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The formula reaches 0 and 1 exactly, but its rounding does not.
    low = 0.0 if hits.right == 0 else max(0.0, centre - half)
    return low, 1.0 if hits.right == n else min(1.0, centre + half)


def right(answers: Answers, tracks: np.ndarray, starts: np.ndarray, *, by_row: bool = False) -> dict[str, np.ndarray]:
    """Returns for each metric whether the answers are right, bool [Q, M].

    tracks: int64 [Q, A], the acceptable tracks, padded with -1. starts: float64 [Q, A], the right start in each, nan if
    unknown. by_row: whether starts alone decide, because the borders of tracks are unknown or ignored.
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
    """Returns the hits of each metric, one for each length. is_right, asked: bool [Q, M] for each metric."""
    return {
        name: [Hits(int(column.sum()), int(of.sum())) for column, of in zip(both.T, asked[name].T)]
        for name, values in is_right.items()
        for both in [values & asked[name]]
    }
