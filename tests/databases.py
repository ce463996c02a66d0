"""Databases to test with: a network small enough to fingerprint with in no time."""

import pathlib

import numpy as np

from nafp import database, export
from tests import networks


def network_file(folder: pathlib.Path, *, seed: int = 0) -> str:
    """Writes an exported network of random numbers, which gives the same audio the same fingerprint."""
    path, c = folder / f"tiny{seed}.safetensors", networks.config()
    if not path.exists():
        export.write(path, networks.variables(c, seed=seed), c, step=seed)
    return str(path)


def unit(n: int, *, seed: int = 0, dim: int = 16) -> np.ndarray:
    """Draws fingerprints [n, D] of length 1."""
    rows = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(folder: pathlib.Path, n_tracks: int, *, first: int = 0, **settings) -> database.Database:
    """Makes a database of tracks "0.wav", "1.wav", ... with 40 random rows each, drawn from their numbers."""
    settings.setdefault("network", network_file(folder.parent))
    there = database.Database.create(folder, **settings)
    with there.writer() as writing:
        for number in range(first, first + n_tracks):
            known = dict(digest=f"digest {number}", metadata={"title": f"Title {number}"})
            writing.append(f"/music/{number}.wav", 20.5, unit(40, seed=number), **known)
    return there.refresh()
