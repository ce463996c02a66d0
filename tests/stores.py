"""Stores to test with: what an evaluation needs of them, and no network."""

import pathlib
from collections.abc import Mapping

import numpy as np

from nafp.search import store

META = {"hop_s": 0.5, "segment_s": 1.0, "sample_rate_hz": 8000, "model": {"sha256": "x"}}


def write(folder: pathlib.Path, name: str, tracks: Mapping[str, np.ndarray], **meta) -> None:
    """Writes a finished store of tracks by name, rows [n, D] each; meta: said of it beside META."""
    (dim,) = {vectors.shape[1] for vectors in tracks.values()}
    with store.Writer(folder, name, dim=dim, meta=META | meta) as writer:
        for track, vectors in tracks.items():
            writer.append(track, len(vectors) / 2, vectors)
        writer.finish()
