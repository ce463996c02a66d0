"""A clip of which only the fingerprints are known, because they were computed elsewhere: in a browser, on a phone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nafp.identify import asking
from nafp.identify.answers import Answer
from nafp.identify.identifier import Searchable
from nafp.search import collection, confidence, match, speeds

_EVERY_PLACE = 1 << 20  # Places to rank: a track that repeats itself has many.


def rank(
    vectors: Mapping[float, np.ndarray],
    rows: collection.Collection,
    searched: Searchable,
    *,
    calibrated: confidence.Confidence | None = None,
    shifts: int = 1,
    top: int = match.TOP,
) -> list[Answer]:
    """Ranks the `top` best tracks of a clip, each at its best place, however improbable.

    vectors: float32 [n, D] at each speed that was undone, the clip's own, 1, first; zeros for a segment that says
    nothing. shifts: their rows for each row of the collection. calibrated: turns scores into probabilities. A caller
    that is not sure of the answer looks closer itself: with more speeds and more rows.
    """
    versions = [
        speeds.ClipAtSpeed(speed, own, _near(own, searched), [len(own[::shifts])]) for speed, own in vectors.items()
    ]
    places = speeds.rank(versions, rows, shifts=shifts, top=_EVERY_PLACE)[0]
    length = int(versions[0].vectors[::shifts].any(axis=1).sum())
    best = match.best_of_each_track(places.tracks)[:top]
    tracks, starts, scores = (values[best] for values in (places.tracks, places.starts, places.scores))
    matches = match.matches(match.Ranking(tracks, starts, scores, places.elsewhere, starts), rows)
    return [
        Answer(
            found.track,
            found.start_s,
            found.score,
            asking.probability(calibrated, length=length, score=found.score, margin=found.margin),
            found.margin,
            float(speed),
        )
        for found, speed in zip(matches, places.speeds[best])
    ]


def _near(vectors: np.ndarray, searched: Searchable) -> np.ndarray:
    """Returns the nearest rows of fingerprints, int64 [n, K], -1 for those that say nothing."""
    is_heard = vectors.any(axis=1)
    if not is_heard.any():
        return np.full((len(vectors), 1), -1)
    _, near = searched.search(vectors[is_heard])
    neighbours = np.full((len(vectors), near.shape[1]), -1)
    neighbours[is_heard] = near
    return neighbours
