"""Databases to test with: a network small enough to fingerprint with in no time."""

import pathlib

import numpy as np

from nafp.database import catalogue, database, snapshot, writer
from nafp.weights import files
from tests import killed_writer, networks

SEAL = 640


def network_file(folder: pathlib.Path, *, seed: int = 0) -> str:
    """Writes an exported network of random numbers, which gives the same audio the same fingerprint."""
    path, c = folder / f"tiny{seed}.safetensors", networks.config()
    if not path.exists():
        files.write(path, networks.variables(c, seed=seed), c, step=seed)
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


def create_bare(folder: pathlib.Path) -> pathlib.Path:
    """Makes an empty database without a network: all that fingerprints need."""
    killed_writer.create(str(folder))
    return folder


def fill(folder: pathlib.Path, n: int, *, first: int = 0, rows: int = 40) -> None:
    """Adds tracks "0", "1", ... of random rows, drawn from their numbers; an index file for every 640."""
    with writer.Writer(folder, seal_rows=SEAL) as writing:
        for number in range(first, first + n):
            known = {"title": f"T{number}"}
            writing.append(str(number), 1.0, unit(rows, seed=number), metadata=known)


def snapped(folder: pathlib.Path) -> snapshot.Snapshot:
    """Opens a database as a reader of fingerprints does."""
    return snapshot.Snapshot(folder, catalogue.Catalogue(folder))


def names(there: snapshot.Snapshot) -> list[str]:
    return list(there.rows.tracks)
