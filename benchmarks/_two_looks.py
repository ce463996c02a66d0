"""What the look at other pitches adds to the answer of the looks before it, for any handicap, and fair strangers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nafp.identify import identifier
from nafp.identify.ranked import RankedClip
from nafp.search import collection, confidence, duplicates, index, speeds

_SPARE = 300  # Neighbours that are asked for beyond those wanted: other versions take some of them.


class TwoLooks(identifier.Identifier):
    """An identifier that remembers what it found before and at other pitches.

    looks: the last clip's best places, of the looks at its pitch and at others, if there was one.
    """

    looks: list[dict[str, Any]]
    _index: index.Index

    def _pitched(self, ears: Any, ranking: RankedClip, top: int) -> RankedClip:
        self.looks[:] = [self._in_short(ranking)]
        return super()._pitched(ears, ranking, top)

    def _places(self, versions: Any, shifts: int, *words: Any, **how: Any) -> RankedClip:
        found = super()._places(versions, shifts, *words, **how)
        if how.get("own") is not None:
            self.looks.append(self._in_short(found) | {"rows": int(how["own"].any(axis=1).sum())})
        return found

    def _in_short(self, found: RankedClip) -> dict[str, Any]:
        if not found.answers:
            return {"track": "", "probability": 0.0, "score": 0.0, "margin": 0.0, "stands_out": -math.inf}
        best, stands_out = found.answers[0], speeds.stands_out(found.ranking)
        score = float(found.ranking.counted[0])
        return {
            "track": best.track,
            "probability": best.probability or 0.0,
            "score": score,
            "margin": score - found.ranking.elsewhere,
            "stands_out": stands_out,
        }

    def without(self, tracks: set[int]) -> None:
        """Leaves tracks, by position, out of the collection, as if they had never been added."""
        self._left_out = tracks

    def _nearest(self, rows: np.ndarray) -> np.ndarray:
        if not self._left_out or not rows.any():
            return super()._nearest(rows)
        is_heard, wanted = rows.any(axis=1), self._index.plan.k
        more = self._index.search(rows[is_heard], wanted + _SPARE)[1]
        is_out = (more < 0) | np.isin(self.rows.track_of(np.maximum(more, 0)), list(self._left_out))
        order = np.argsort(is_out, axis=1, kind="stable")[:, :wanted]  # Those left, nearest first.
        near = np.full((len(rows), order.shape[1]), -1)
        near[is_heard] = np.take_along_axis(np.where(is_out, -1, more), order, axis=1)
        return near


def versions(rows: collection.Collection, searched: duplicates.RowSearch, names: Sequence[str]) -> dict[str, list[str]]:
    """Lists the other versions of tracks: those whose fingerprints match them at their own speed.

    The rule is that of `nafp corpus dedup`: 5 s and more along one diagonal at a mean cosine of 0.75.
    """
    tracks = [rows.tracks.index(name) for name in names]
    found: dict[str, list[str]] = {name: [] for name in names}
    for pair in duplicates.find(rows, searched, tracks=tracks):
        for one, other in ((pair.track, pair.other), (pair.other, pair.track)):
            if rows.tracks[one] in found:
                found[rows.tracks[one]].append(rows.tracks[other])
    return found


def answered(
    line: Mapping[str, Any], calibration: confidence.Confidence, *, stands_out: float, worth: float
) -> tuple[str, float, bool]:
    """Returns the track, its probability, and whether other pitches decided, with other handicaps.

    stands_out: by how much a version at another pitch must stand out more. worth: what its score counts less.
    """
    looks = line["heard"]
    if len(looks) < 2 or not looks[1]["stands_out"] - stands_out > looks[0]["stands_out"]:
        best = looks[0] if looks else line["best"]
        return best["track"], float(best["probability"] or 0), False
    score, margin = looks[1]["score"] - worth, looks[1]["margin"] - worth
    sure = calibration.probability(looks[1]["rows"], np.array([score]), np.array([margin]))
    return looks[1]["track"], float(sure[0]), True
