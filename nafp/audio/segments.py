"""Converts between seconds, samples and rows. No other file does.

A track of S samples is cut into rows. Row r covers samples [r * hop, r * hop + segment). A last piece shorter than a
segment is dropped, so a row never holds padding. `segment` and `hop` are in samples, names that end in `_s` in seconds.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from nafp import errors


def to_samples(seconds: float, sample_rate_hz: int) -> int:
    """Returns the whole number of samples nearest to this many seconds."""
    return int(np.floor(seconds * sample_rate_hz + 0.5))


def to_seconds(n_samples: int, sample_rate_hz: int) -> float:
    """Returns how many seconds this many samples last."""
    return n_samples / sample_rate_hz


def count(n_samples: int, *, segment: int, hop: int) -> int:
    """Returns the number of rows of a track, 0 if it is shorter than one segment."""
    if segment < 1 or hop < 1:
        raise errors.Invalid(f"segment {segment} and hop {hop} are in samples and must be at least 1")
    return 0 if n_samples < segment else (n_samples - segment) // hop + 1


def frame(samples: np.ndarray, *, segment: int, hop: int) -> np.ndarray:
    """Cuts samples [S] into rows [N, segment] without copying. The view is read-only."""
    if samples.ndim != 1:
        raise errors.Invalid(f"samples of shape {samples.shape} given; one channel [S] is needed")
    if not count(len(samples), segment=segment, hop=hop):
        return np.empty((0, segment), samples.dtype)
    return np.lib.stride_tricks.sliding_window_view(samples, segment)[::hop]


def frame_blocks(blocks: Iterable[np.ndarray], *, segment: int, hop: int) -> Iterator[np.ndarray]:
    """Cuts a track that arrives in blocks [S_i] and yields rows [n, segment], n >= 1.

    The rows, concatenated, are those of `frame` over the whole track, for blocks of any size. No more than one block
    and one segment are in memory.
    """
    rest, skip = np.empty(0, np.float32), 0
    for block in blocks:
        rest = np.concatenate([rest, block]) if len(rest) else block
        rest, skip = rest[skip:], max(0, skip - len(rest))
        n_used = hop * count(len(rest), segment=segment, hop=hop)
        if n_used:
            yield frame(rest, segment=segment, hop=hop)
            rest, skip = rest[n_used:], max(0, n_used - len(rest))  # If hop > segment, the next blocks are skipped too.


def start_s(row: int, *, hop_s: float) -> float:
    """Returns the second at which a row starts."""
    return row * hop_s


def row_of(start_s: float, *, hop_s: float) -> float:
    """Returns the row that starts at this second, a fraction if it lies between the starts of two rows."""
    return start_s / hop_s
