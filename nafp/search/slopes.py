"""Fits the tempo of a clip continuously: the slope of the line on which its rows meet those of a recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nafp.search import collection

if TYPE_CHECKING:
    from jaxtyping import Float32

SLOWEST, FASTEST = 0.68, 1.40  # Tempo of the clip divided by that of the recording.
_GAIN = 0.01  # Another slope must score this much more: a free one lifts wrong places, too.
_LIKELY_GAIN = 0.006  # The same for a slope that is no more likely than one beside it, see `fitted`.
_STEP, _START_STEP = 0.02, 0.5  # Of the first grid, in slope and in rows. Two more follow around its best line.
_ROUNDS, _FINER = 2, 5.0
_FEWEST = 3  # Rows that say something; fewer have no slope.
# Rows that a line may lie beyond the ends of its track and still count, as the row at that end does: these rows of the
# clip hold some of the track. Were they 0, a line at another tempo, on which they lie within, would score more. Of 10
# clips of 5 s after 1 s of silence, the beginning of their track, 6 were told to be 8 to 10 % too slow.
_BEYOND = 2.0
_MOST = 60  # Rows that are looked at, evenly spread.


class Line(NamedTuple):
    """Where the first row of a clip lies, in rows of the collection, and rows there per row of the clip.

    score: mean cosine along the line, between rows too.
    """

    start: float
    slope: float
    score: float


def fitted(
    query: Float32[np.ndarray, "L D"],
    rows: collection.Collection,
    *,
    track: int,
    start: float,
    slope: float = 1.0,
    shifts: int = 1,
    tempo: float = 1.0,
    likely: Sequence[float] = (),
) -> Line:
    """Fits a line to the rows of a clip near a place of a track.

    query: zeros for rows that say nothing. shifts: its rows for each row of the collection. start, slope: of the place,
    as it was found. tempo: what was undone of the clip's already; the tempo of the line, tempo x slope, is within
    SLOWEST .. FASTEST. likely: tempos that are taken if they score about as much as the best, such as that of a
    turntable. A clip of fewer than three rows keeps its slope.
    """
    heard = np.flatnonzero(query.any(axis=1))
    if len(heard) > _MOST:
        heard = heard[np.linspace(0, len(heard) - 1, _MOST).astype(int)]
    low, high = SLOWEST / tempo, FASTEST / tempo
    field = _Field(query[heard], heard / shifts, rows, track, start, (low, high))
    given = field.best(np.array([slope]), start + np.arange(-1, 1.01, 0.25))
    if len(heard) < _FEWEST:
        return Line(start, slope, given.score)
    free = field.best(np.arange(low, high, _STEP), field.starts())
    line = field.finer(free if free.score > given.score + _GAIN else given)
    plain = field.best(np.array([slope]), np.array([start]))
    if any(abs(tempo * slope / wanted - 1) < 1e-6 for wanted in likely) and line.score < plain.score + _LIKELY_GAIN:
        return plain
    for wanted in likely:
        other = field.finer(
            Line(line.start + (line.slope - wanted / tempo) * field.middle, wanted / tempo, 0), fixed=True
        )
        if other.score > line.score - _LIKELY_GAIN:
            return other
    return line


class _Field:
    """The cosines of the rows of a clip with those of a track around a place."""

    def __init__(
        self,
        query: np.ndarray,
        at: np.ndarray,
        rows: collection.Collection,
        track: int,
        start: float,
        within: tuple[float, float],
    ):
        self._heard, self.middle = at, float(at.mean()) if len(at) else 0.0
        n = int(at[-1]) + 1 if len(at) else 1
        self._low, self._high = (int(edge[0]) for edge in rows.borders(np.array([track])))
        self._within = within  # Slopes.
        self._span = 2 + max(abs(1 - edge) for edge in within) * n  # Rows by which the start of a line may be off.
        self._start, self._first = start, int(start - 2 * self._span) - 1
        window = rows.windows(np.array([self._first]), int(n + 4 * self._span) + 4)[0]
        self._cosines = window @ query.T  # [W, L]
        self._beside = np.vecdot(window[:-1], window[1:])

    def starts(self) -> np.ndarray:
        """Returns the starts of the first grid."""
        return np.arange(self._start - self._span, self._start + self._span, _START_STEP)

    def best(self, slopes: np.ndarray, starts: np.ndarray) -> Line:
        """Returns the best line of a grid of slopes and starts."""
        at = starts[:, None] + slopes[:, None, None] * self._heard  # [P, S, L]
        scores = self._between(at).mean(axis=2) if len(self._heard) else np.zeros(at.shape[:2])
        slope, start = np.unravel_index(int(scores.argmax()), scores.shape)
        return Line(float(starts[start]), float(slopes[slope]), float(scores[slope, start]))

    def finer(self, line: Line, *, fixed: bool = False) -> Line:
        """Returns the best line beside a given one. fixed: its slope stays."""
        step, start_step = 2 * _STEP, _START_STEP
        for _ in range(_ROUNDS):
            grid = np.linspace(-1, 1, 11)
            slopes = np.array([line.slope]) if fixed else np.clip(line.slope + step * grid, *self._within)
            lines = []
            for slope in slopes:  # The line turns about its middle, where its place is known best.
                start = line.start + (line.slope - slope) * self.middle
                lines.append(self.best(np.array([slope]), start + start_step * grid))
            line = max(lines, key=lambda each: each.score)
            step, start_step = step / _FINER, start_step / _FINER
        return line

    def _between(self, at: np.ndarray) -> np.ndarray:
        """Returns the cosines at fractional rows, [..., L], with the mean of the two rows beside. See _BEYOND."""
        near = np.clip(at, self._low, self._high - 1)
        row = np.clip(np.floor(near).astype(np.int64) - self._first, 0, len(self._beside) - 1)
        share = np.clip(near - self._first - row, 0, 1)
        number = np.arange(len(self._heard))
        mixed = (1 - share) * self._cosines[row, number] + share * self._cosines[row + 1, number]
        squares = (1 - share) ** 2 + share**2 + 2 * share * (1 - share) * self._beside[row]
        inside = np.abs(at - near) < _BEYOND
        return np.where(inside, mixed / np.sqrt(np.maximum(squares, 1e-3)), 0)
