"""Databases to test with: random fingerprints, and a network small enough to compute some in no time."""

import functools
import pathlib
import tempfile

import numpy as np

from nafp.database import catalogue, database, index_segments, snapshot, writer
from nafp.weights import files
from tests import killed_writer, networks

SEAL = 640


def network_file(folder: pathlib.Path, *, seed: int = 0) -> str:
    """Writes an exported network of random numbers. It gives the same audio the same fingerprint."""
    path = folder / f"tiny{seed}.safetensors"
    path.write_bytes(_network(seed))
    return str(path)


@functools.cache
def _network(seed: int) -> bytes:
    """Returns the bytes of an exported network."""
    config = networks.config()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "network.safetensors"
        files.write(path, networks.variables(config, seed=seed), config, step=seed, format="safetensors")
        return path.read_bytes()


def unit(n: int, *, seed: int = 0, dim: int = 16) -> np.ndarray:
    """Draws fingerprints [n, D] of length 1."""
    rows = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(
    folder: pathlib.Path,
    n_tracks: int,
    *,
    first: int = 0,
    network: str | None = None,
    storage: str | None = "float16",
    hop_s: float | None = None,
    seal_rows: int = index_segments.SEAL_ROWS,
) -> database.Database:
    """Makes a database of tracks "/music/0.wav", "/music/1.wav", ... of 40 random rows, drawn from their numbers.

    first: number of the first track. network: its file, one beside the folder if left out.
    """
    network = network or network_file(folder.parent)
    opened = database.Database.create(folder, network=network, storage=storage, hop_s=hop_s)
    with writer.DatabaseWriter(folder, seal_rows=seal_rows) as writing:
        for group in _groups(first, n_tracks):
            with writing.together():
                for number in group:
                    writing.append(
                        f"/music/{number}.wav",
                        20.5,
                        unit(40, seed=number),
                        digest=f"digest {number}",
                        metadata={"title": f"Title {number}"},
                    )
    return opened.refresh()


def create_bare(folder: pathlib.Path, *, with_peaks: bool = False) -> pathlib.Path:
    """Makes an empty database without a network: all that fingerprints need."""
    killed_writer.create(str(folder), with_peaks=with_peaks)
    return folder


def fill(folder: pathlib.Path, n: int, *, first: int = 0, rows: int = 40, seal_rows: int = SEAL) -> None:
    """Adds tracks "0", "1", ... of random rows, drawn from their numbers. An index file covers each 640 rows."""
    with writer.DatabaseWriter(folder, seal_rows=seal_rows) as writing:
        for group in _groups(first, n):
            with writing.together():
                for number in group:
                    writing.append(str(number), 1.0, unit(rows, seed=number), metadata={"title": f"T{number}"})


def _groups(first: int, n: int) -> list[range]:
    """Cuts first .. first + n into groups of 16: enough rows for an index file, and one wait for the disk."""
    return [range(start, min(first + n, start + 16)) for start in range(first, first + n, 16)]


def snapped(folder: pathlib.Path) -> snapshot.Snapshot:
    """Opens a database as a reader of fingerprints does."""
    return snapshot.Snapshot(folder, catalogue.Catalogue(folder))


def names(opened: snapshot.Snapshot) -> list[str]:
    """Returns the names of the tracks of a snapshot."""
    return list(opened.rows.tracks)
