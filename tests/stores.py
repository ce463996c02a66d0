"""Writes stores to test with, without a network."""

import pathlib
from collections.abc import Mapping

import numpy as np

from nafp.search import store

META = {"hop_s": 0.5, "segment_s": 1.0, "sample_rate_hz": 8000, "model": {"sha256": "x"}}


def write(folder: pathlib.Path, name: str, tracks: Mapping[str, np.ndarray], **meta: object) -> None:
    """Writes a finished store.

    tracks: name -> vectors [n, D]. meta: added to META.
    """
    (dim,) = {vectors.shape[1] for vectors in tracks.values()}
    with store.Writer(folder, name, dim=dim, meta=META | meta) as writer:
        for track, vectors in tracks.items():
            writer.append(track, len(vectors) / 2, vectors)
        writer.finish()
