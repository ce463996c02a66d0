"""What `classical` asks of a fingerprinting system, whoever wrote it."""

from typing import NamedTuple, Protocol

import numpy as np


class Answer(NamedTuple):
    """Where a clip is from: number of the track as added, second of it, and how sure (larger: surer)."""

    track: int
    start_s: float
    score: float


class System(Protocol):
    """Adds tracks, then answers clips: all float32 [S] at its own rate.

    stored_bytes: what the fingerprints of all tracks take, without tables that only speed it up.
    """

    name: str
    version: str
    sample_rate_hz: int

    def add(self, samples: np.ndarray) -> None: ...

    def answer(self, samples: np.ndarray) -> Answer | None: ...

    def stored_bytes(self) -> int: ...
