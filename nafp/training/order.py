"""Orders of the windows, epoch after epoch: in two stages, or one window of each track."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

_WITHOUT_END = 2**62  # Draws that a sequence says it has.
Epoch = Callable[[np.random.Generator], np.ndarray]  # Random numbers -> the windows of one epoch, in order.


class Epochs:
    """The windows that a run draws, as a sequence without end. An epoch follows from the seed and its number alone."""

    def __init__(self, epoch: Epoch, *, length: int, seed: int):
        self.length = length  # Windows of one epoch.

        @functools.lru_cache(maxsize=2)  # Threads that read ahead may be one epoch apart.
        def windows(number: int) -> np.ndarray:
            return epoch(np.random.default_rng((seed, number)))

        self._windows = windows

    def __len__(self) -> int:
        return _WITHOUT_END

    def __getitem__(self, position: int) -> int:
        number, within = divmod(int(position), self.length)
        return int(self._windows(number)[within])


def in_two_stages(track: np.ndarray, *, tracks: int, seed: int) -> Epochs:
    """Shuffles tracks, cuts their order into chunks of `tracks` tracks, and shuffles the windows of each chunk.

    track: int [W], the track of every window.
    """
    _, number = np.unique(track, return_inverse=True)

    def epoch(rng: np.random.Generator) -> np.ndarray:
        chunk = rng.permutation(number.max() + 1)[number] // tracks
        return np.lexsort((rng.random(len(track)), chunk))

    return Epochs(epoch, length=len(track), seed=seed)


def one_of_each(track: np.ndarray, *, seed: int) -> Epochs:
    """Draws one window of each track, in random order. track: int [W], the track of every window."""

    def epoch(rng: np.random.Generator) -> np.ndarray:
        shuffled = rng.permutation(len(track))
        _, first = np.unique(track[shuffled], return_index=True)
        return rng.permutation(shuffled[first])

    return Epochs(epoch, length=len(np.unique(track)), seed=seed)
