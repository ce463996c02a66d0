"""Spectral peaks as a second opinion on the places that fingerprints found.

The places that score best are judged by how well the clip fits the peaks of their recordings (see `nafp.search.peaks`).
A judged score is the mean cosine and a share of that, which the calibration states for the length of the clip.
"""

from __future__ import annotations

import functools
from collections.abc import Collection

import numpy as np

from nafp.models import protocol
from nafp.search import collection, confidence, match, peaks, speeds

_TRACKS, _PLACES = 30, 30  # Best tracks, at their best place, and best places that are judged.
_NEAR_S = 0.75  # A place is judged at the best frame within so much of it.
_FOUND = 5  # Places that the peaks propose.
_SCANNED = 32  # Frames of a clip that propose places.
_MOST_FRAMES = 1 << 20  # Frames of a collection that are searched, nine hours: they take 0.1 s a clip.


def judge(
    rows: collection.Collection, network: protocol.Network, calibration: confidence.Confidence | None
) -> PeakJudge | None:
    """Returns the judge of a collection. None without peaks or their calibration."""
    is_known = calibration is not None and calibration.peaks is not None
    return PeakJudge(rows, network, calibration) if calibration and is_known and rows.peak_bytes else None


def chosen(tracks: np.ndarray) -> np.ndarray:
    """Returns the positions of the places of a ranking that are judged, ascending. tracks: [T], best place first."""
    best = match.best_of_each_track(tracks)[:_TRACKS]
    return np.union1d(best, np.arange(min(_PLACES, len(tracks))))


class PeakJudge:
    """Judges places of a collection by the peaks that are kept beside its rows."""

    def __init__(self, rows: collection.Collection, network: protocol.Network, calibration: confidence.Confidence):
        self._rows, self._calibration, self._rate_hz = rows, calibration, network.sample_rate_hz
        self._hop, self._per_row = round(rows.hop_s * self._rate_hz), peaks.frames_per_row(rows.hop_s)
        self._lead = peaks.lead(segment=network.segment, sample_rate_hz=self._rate_hz, hop=self._hop)

    def heard(self, samples: np.ndarray) -> np.ndarray:
        """Returns what a clip says, float32 [F, 256]. samples: [S] at the network's rate, its speed undone."""
        return peaks.of_clip(samples, sample_rate_hz=self._rate_hz, hop=self._hop)

    def judged(self, ranking: speeds.ClipRanking, samples: np.ndarray, *, length: int) -> speeds.ClipRanking:
        """Ranks places anew by judged scores, best first. Their cosines stay, and `elsewhere` is a judged score.

        samples: as of `heard`. length: of the clip, in segments that say something.
        """
        clip, share = self.heard(samples), self._calibration.peak_share(length)
        if not len(ranking.tracks) or not len(clip):
            return ranking
        asked = chosen(ranking.tracks)
        scores = ranking.scores.astype(np.float64)
        scores[asked] += share * self.likeness(clip, ranking.tracks[asked], ranking.starts[asked])
        order = np.argsort(-scores, kind="stable")
        tracks, starts, judged = ranking.tracks[order], ranking.starts[order], scores[order]
        rival = match.elsewhere(tracks, starts, judged, self._rows, max(1, length), twin_cosine=match.TWIN_COSINE)
        return speeds.reordered(ranking, order)._replace(elsewhere=rival, judged=judged)

    def likeness(self, clip: np.ndarray, tracks: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Returns how well a clip fits places, float32 [C], as `peaks.near` does.

        tracks, starts: [C], where the clip may begin, in rows of the collection.
        """
        n_near = round(_NEAR_S * peaks.FRAMES_PER_S)
        n_frames = len(clip) + 2 * n_near
        first_rows, _ = self._rows.borders(tracks)
        first = np.round((starts - first_rows) * self._per_row).astype(np.int64) - self._lead - n_near
        around = [self._frames(track, at, n_frames) for track, at in zip(tracks.tolist(), first.tolist())]
        return peaks.near(clip, np.stack(around))

    def _frames(self, track: int, first: int, n_frames: int) -> np.ndarray:
        """Returns the peaks of frames first .. first + n_frames of a track, zeros beyond its ends: uint8 [n, B]."""
        low, high = (int(edge) for edge in self._rows.borders(np.array(track)))
        n_whole = (high - low) * self._per_row
        start, stop = (min(max(0, edge), n_whole) for edge in (first, first + n_frames))
        from_row, to_row = start // self._per_row, -(-stop // self._per_row)
        kept = self._rows.peaks(low + from_row, low + to_row).reshape(-1, len(peaks.BANDS))
        inside = kept[start - from_row * self._per_row :][: stop - start]
        before = min(max(0, -first), n_frames)
        return np.pad(inside, ((before, n_frames - before - len(inside)), (0, 0)))

    def with_proposals(
        self, version: speeds.ClipAtSpeed, starts: np.ndarray, *, left_out: Collection[int]
    ) -> speeds.ClipAtSpeed:
        """Adds rows that peaks propose to the neighbours of the first row of a clip.

        starts: as `proposed` returns them. left_out: tracks, by position, of which none is added.
        """
        starts = starts[~np.isin(self._rows.track_of(starts), list(left_out))]
        near = np.pad(version.near, ((0, 0), (0, len(starts))), constant_values=-1)
        near[0, version.near.shape[1] :] = starts
        return version._replace(near=near)

    def proposed(self, samples: np.ndarray) -> np.ndarray:
        """Returns the rows where a clip may begin, int64: those around the best place of each of few tracks.

        samples: as of `heard`. None are proposed in a collection of more than `_MOST_FRAMES`.
        """
        clip = self.heard(samples) if self._all is not None else np.zeros(0)
        if not len(clip) or self._all is None:
            return np.zeros(0, np.int64)
        chosen = np.unique(np.linspace(0, len(clip) - 1, _SCANNED).round().astype(np.int64))
        fits = peaks.scanned(clip, self._all, chosen)
        first, last = self._rows.borders(np.arange(len(self._rows.tracks)))
        edges = np.stack([first, last], axis=1).ravel() * self._per_row
        best = np.maximum.reduceat(fits, edges[:-1])[::2]
        tracks = np.argsort(-best)[:_FOUND]
        places = [int(first[t]) * self._per_row + int(fits[edges[2 * t] : edges[2 * t + 1]].argmax()) for t in tracks]
        rows = (np.array(places) + self._lead) // self._per_row
        return np.concatenate([rows, np.minimum(rows + 1, last[tracks] - 1)])

    @functools.cached_property
    def _all(self) -> np.ndarray | None:
        """The peaks of all frames, uint8 [B, N], or None if they are too many to search."""
        if len(self._rows) * self._per_row > _MOST_FRAMES or not self._rows.tracks:
            return None
        kept = self._rows.peaks(0, len(self._rows)).reshape(-1, len(peaks.BANDS))
        return np.ascontiguousarray(kept.T)
