"""Reads pairs of spectrograms that are ready to train from, in place of clips."""

from __future__ import annotations

import numpy as np

from nafp.corpora import spectrogram_pairs
from nafp.training import pipeline


class ReadyPairs:
    """Reads the pairs of one split of a set, as `pipeline.ClipReader` reads clips. shape: [F, T] of a spectrogram."""

    def __init__(self, pairs: spectrogram_pairs.SpectrogramPairs, *, shape: tuple[int, int]):
        self._pairs, self._shape = pairs, shape

    def windows(self) -> pipeline.TrainingWindows:
        """Lists the pairs."""
        return pipeline.TrainingWindows(np.arange(len(self._pairs), dtype=np.int64), self._pairs.track)

    def __call__(self, position: int, window: int) -> pipeline.Batch:
        """Returns one example: mels float32 [2, F, T] of the anchor and its replica, track, and position."""
        return {
            "mels": self._pairs.read(window, shape=self._shape),
            "track": np.asarray(self._pairs.track[window], np.int32),
            "position": np.asarray(position % 2**32, np.uint32),
        }
