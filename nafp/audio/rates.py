"""Converts between sampling rates. Only this file imports soxr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr


def resample(samples: np.ndarray, *, from_hz: float, to_hz: float) -> np.ndarray:
    """Resamples float32 [S] or [S, C] at soxr's high quality, as decoding does."""
    return soxr.resample(samples, from_hz, to_hz) if from_hz != to_hz else samples


def resampled(pieces: Iterable[np.ndarray], *, from_hz: int, to_hz: int) -> Iterator[np.ndarray]:
    """Resamples float32 [S] or [S, C] that arrives in pieces. The output, concatenated, is `resample` of the whole."""
    if from_hz == to_hz:
        yield from pieces
        return
    resampler, shape = None, (0,)
    for piece in pieces:
        if resampler is None:
            n_channels = 1 if piece.ndim == 1 else piece.shape[1]
            resampler, shape = soxr.ResampleStream(from_hz, to_hz, n_channels, dtype="float32"), (0, *piece.shape[1:])
        yield resampler.resample_chunk(piece)
    if resampler is not None:
        yield resampler.resample_chunk(np.empty(shape, np.float32), last=True)
