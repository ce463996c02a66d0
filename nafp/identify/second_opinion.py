"""Spectral peaks as a second opinion on the places that fingerprints found.

The places that score best are judged by how well the clip fits the peaks of their recordings (see `nafp.search.peaks`).
A judged score is the mean cosine and a share of that, which the calibration states for the length of the clip.
"""

from __future__ import annotations

import numpy as np

from nafp.models import protocol
from nafp.search import collection, confidence, match, peaks, speeds

_TRACKS = 30  # Best tracks, whose best places are judged.
_NEAR_S = 0.75  # A place is judged at the best frame within so much of it.


def judge(
    rows: collection.Collection, network: protocol.Network, calibration: confidence.Confidence | None
) -> PeakJudge | None:
    """Returns the judge of a collection. None without peaks or their calibration."""
    is_known = calibration is not None and calibration.peaks is not None
    return PeakJudge(rows, network, calibration) if calibration and is_known and rows.peak_bytes else None


def chosen(tracks: np.ndarray) -> np.ndarray:
    """Returns the positions of the places of a ranking that are judged, ascending. tracks: [T], best place first."""
    return match.best_of_each_track(tracks)[:_TRACKS]


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
        share = self._calibration.peak_share(length)
        if not share or not len(ranking.tracks):
            return ranking
        clip = self.heard(samples)
        asked = chosen(ranking.tracks)
        scores = ranking.scores.astype(np.float64)
        scores[asked] += share * self.likeness(clip, ranking.tracks[asked], ranking.starts[asked])
        order = np.argsort(-scores, kind="stable")
        tracks, starts, judged = ranking.tracks[order], ranking.starts[order], scores[order]
        rival = match.elsewhere(tracks, starts, judged, self._rows, max(1, length), twin_cosine=match.TWIN_COSINE)
        return speeds.reordered(ranking, order)._replace(elsewhere=rival, judged=judged)

    def likeness(self, clip: np.ndarray, tracks: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Returns how well a clip fits places, float32 [C], as `peaks.near` does.

        tracks, starts: [C], where the clip may begin, in rows of the collection. C is 0 for a clip near nothing.
        """
        if not len(tracks):
            return np.zeros(0, np.float32)
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
