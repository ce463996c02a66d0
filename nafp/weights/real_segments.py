"""Takes segments from recordings, by which a network in 8-bit integers is calibrated."""

from __future__ import annotations

import os

import numpy as np

from nafp import errors
from nafp.corpora import corpus

_MOST_RECORDINGS = 64
_EACH = 4  # Segments of a recording, from its first half minute.


def of(path: str | os.PathLike, *, sample_rate_hz: int, segment: int) -> np.ndarray:
    """Returns segments [n, S] of up to 64 recordings, evenly spaced, the same ones for the same recordings.

    path: as of `nafp.corpora.corpus.sources`. Of a corpus, the recordings of its training split count. Raises
    nafp.errors.Invalid if nothing can be decoded or all of it is shorter than a segment.
    """
    split = "train" if os.path.isfile(os.path.join(path, "corpus.json")) else None
    sources = corpus.sources(path, sample_rate_hz=sample_rate_hz, split=split)
    chosen = sources[:: -(-len(sources) // _MOST_RECORDINGS)] if sources else []
    parts = []
    for source in chosen:
        try:
            samples = next(iter(source.blocks()), np.zeros(0, np.float32))
        except errors.Undecodable:
            continue
        if len(samples) >= segment:
            starts = np.linspace(0, len(samples) - segment, _EACH).astype(int)
            parts += [samples[start : start + segment] for start in starts]
    if not parts:
        raise errors.Invalid(f"{os.fspath(path)}: has no recording of {segment / sample_rate_hz:g} s or more")
    return np.stack(parts).astype(np.float32)
