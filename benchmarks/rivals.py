"""The interface of a fingerprinting system that `classical` can ask."""

from typing import NamedTuple, Protocol

import numpy as np


class RivalAnswer(NamedTuple):
    """Where a clip was cut from.

    track: the number of the track, in the order in which tracks were added. start_s: the second of the track at which
    the clip begins. score: larger is surer. Its scale differs between systems.
    """

    track: int
    start_s: float
    score: float


class RivalSystem(Protocol):
    """A system that first adds tracks and then answers clips, each float32 [S] at its own sample rate."""

    name: str
    version: str
    sample_rate_hz: int

    def add(self, samples: np.ndarray) -> None:
        """Adds the next track."""

    def answer(self, samples: np.ndarray) -> RivalAnswer | None:
        """Returns where a clip was cut from, or None if the system has no answer."""
        ...

    def stored_bytes(self) -> int:
        """Returns the bytes of the fingerprints of all tracks, without tables that only speed up the search."""
        ...
