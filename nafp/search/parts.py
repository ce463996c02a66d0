"""Finds the parts of a clip that hold a recording: another one, talk or noise may come before, after or between.

Each proposed start gives a diagonal of cosines, one for each query row. A row above FLOOR is evidence that the
recording is heard there, one below is evidence against. The part of a diagonal with the largest sum is where it is
heard.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nafp.search import collection, match

# Of 240 clips of 10 and 25 s that are in no collection of 17 tracks (clean, 5 and 0 dB of noise), the best part has 0.3
# of evidence in the median. Of 360 clips with 5 s of a track in them, the least has 1.9.
FLOOR = 0.4  # Cosine that says neither.
LEAST_EVIDENCE = 1.5
_LEAST_ROWS = 3
_MOST = 3  # Parts of one clip to look for.
_BLOCK = 512  # Diagonals scored at once.


class Part(NamedTuple):
    """A part of a clip that holds a recording.

    track: by position. start: row of the collection at which the clip, not the part, begins; it may lie between two
    rows and before the track. first, stop: the query rows of the part. score: mean cosine over the rows of the part
    that say something. elsewhere: the same of the best place elsewhere, 0 if there is none. evidence: see
    LEAST_EVIDENCE.
    """

    track: int
    start: float
    first: int
    stop: int
    score: float
    elsewhere: float
    evidence: float


class _Diagonals(NamedTuple):
    """tracks, starts: int64 [C]. halves: float64 [C], 0.5 between two rows. cosines: float32 [C, n]."""

    tracks: np.ndarray
    starts: np.ndarray
    halves: np.ndarray
    cosines: np.ndarray


def law() -> dict[str, Any]:
    """Returns the constants by which parts are found, for a search that is not ours, such as that of a page."""
    return {"floor": FLOOR, "least_evidence": LEAST_EVIDENCE, "least_rows": _LEAST_ROWS, "most": _MOST}


def found(query: np.ndarray, near: np.ndarray, rows: collection.Collection) -> list[Part]:
    """Lists the parts of a clip that hold a recording, most evidence first. They do not overlap.

    query: float32 [n, D], one for each row of the collection; zeros for what says nothing. near: int64 [n, K], the
    nearest rows of each, -1 for none.
    """
    diagonals, is_free = _diagonals(query, near, rows), np.asarray(query.any(axis=1))
    parts: list[Part] = []
    while len(diagonals.tracks) and len(parts) < _MOST:
        part = _best(diagonals, is_free, rows)
        if part is None:
            break
        parts.append(part)
        is_free[part.first : part.stop] = False
    return parts


def _diagonals(query: np.ndarray, near: np.ndarray, rows: collection.Collection) -> _Diagonals:
    """Returns the cosines of a query along every proposed start, on rows or half a row on, whichever is better."""
    n = len(query)
    tracks, starts, _ = match.proposed(near, rows)
    is_inside = match.is_inside_tracks(tracks, starts, n + 1, rows)
    cosines, halves = np.empty((len(starts), n), np.float32), np.zeros(len(starts))
    for first in range(0, len(starts), _BLOCK):
        block = slice(first, first + _BLOCK)
        windows = rows.windows(starts[block], n + 1)
        on_rows = np.where(is_inside[block, :-1], np.vecdot(windows[:, :-1], query), 0)
        between = match.between_rows(windows, query, is_inside[block])
        is_between = _gains(between).max(axis=1) > _gains(on_rows).max(axis=1)
        cosines[block] = np.where(is_between[:, None], between, on_rows)
        halves[block] = 0.5 * is_between
    return _Diagonals(tracks, starts, halves, cosines)


def _gains(cosines: np.ndarray) -> np.ndarray:
    """Returns the largest sum of evidence that ends before each row, [C, n + 1]. Rows that say nothing add none."""
    evidence = np.where(cosines != 0, cosines - FLOOR, 0)
    sums = np.concatenate([np.zeros((len(cosines), 1)), np.cumsum(evidence, axis=1)], axis=1)
    return sums - np.minimum.accumulate(sums, axis=1)


def _best(diagonals: _Diagonals, is_free: np.ndarray, rows: collection.Collection) -> Part | None:
    """Returns the part with most evidence among the rows that are free. None if no part has enough."""
    cosines = np.where(is_free, diagonals.cosines, 0)
    gains = _gains(cosines).max(axis=1)
    best = int(gains.argmax())
    first, stop = heard_rows(cosines[best])
    if gains[best] < LEAST_EVIDENCE or stop - first < _LEAST_ROWS:
        return None
    part = cosines[:, first:stop]
    scores = part.sum(axis=1) / max(1, int(is_free[first:stop].sum()))
    order = np.argsort(-scores, kind="stable")
    order = np.r_[best, order[order != best]]
    starts = diagonals.starts[order] + first
    rival = match.elsewhere(
        diagonals.tracks[order], starts, scores[order], rows, stop - first, twin_cosine=match.TWIN_COSINE
    )
    start = float(diagonals.starts[best] + diagonals.halves[best])
    return Part(int(diagonals.tracks[best]), start, first, stop, float(scores[best]), rival, float(gains[best]))


def heard_rows(cosines: np.ndarray) -> tuple[int, int]:
    """Returns the rows first .. stop of a diagonal [n] at which its recording is heard: those with most evidence."""
    stop = int(_gains(cosines[None])[0].argmax())
    evidence = np.where(cosines != 0, cosines - FLOOR, 0)[:stop]
    before = np.cumsum(evidence[::-1])  # From the last row back to each.
    return stop - 1 - int(before.argmax()) if stop else 0, stop
