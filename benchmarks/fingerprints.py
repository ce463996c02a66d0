"""Makes random fingerprints that behave like real ones in a search.

Each track is a random walk on the unit sphere around a centre of its own. Neighbouring rows therefore resemble each
other: their cosine is about 0.67. A third of the tracks repeat a loop with small changes, as music does. Queries are
database rows plus noise in a random direction. The strength of the noise varies from clip to clip and from row to row:
the cosines to the original rows have the percentiles 1/10/50/90/99 at .17/.35/.59/.80/.90. Two things are unlike real
fingerprints: the noise has no preferred direction, and every track has 59 rows (30 s). The same seed and numbers give
the same store.
"""

from pathlib import Path

import numpy as np

DIM = 128
TRACK_ROWS = 59
MEMORY = 0.65  # Correlation of the walk from row to row.
CENTRE = 0.057  # Share of a row's power that comes from the centre of its track.
LOOP_CHANGE = 0.3
_TRACKS = 1000  # Tracks that are made at once.


def make(folder: str, *, n_dummy: int, n_tracks: int = 500, seed: int = 0) -> None:
    """Writes the bare stores dummy_db, db and query. Row i of query is row i of db with noise."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    n_fillers = -(-n_dummy // TRACK_ROWS)
    with open(path / "dummy_db.mm", "wb") as out:
        for start in range(0, n_fillers, _TRACKS):
            out.write(tracks(min(_TRACKS, n_fillers - start), random).tobytes())
    np.save(path / "dummy_db_shape.npy", (n_fillers * TRACK_ROWS, DIM))
    db = tracks(n_tracks, random)
    for name, vectors in (("db", db), ("query", noisy(db, random))):
        vectors.tofile(path / f"{name}.mm")
        np.save(path / f"{name}_shape.npy", vectors.shape)


def tracks(n: int, random: np.random.Generator) -> np.ndarray:
    """Returns n tracks, float32 [n * 59, 128] of unit length."""
    shape = (n, TRACK_ROWS, DIM)
    fresh = random.standard_normal(shape, dtype=np.float32)
    walk = fresh.copy()
    for row in range(1, TRACK_ROWS):
        walk[:, row] *= np.float32(np.sqrt(1 - MEMORY**2))
        walk[:, row] += np.float32(MEMORY) * walk[:, row - 1]
    centre = random.standard_normal((n, 1, DIM), dtype=np.float32)
    rows = np.float32(np.sqrt(CENTRE)) * centre + np.float32(np.sqrt(1 - CENTRE)) * walk
    periods = random.integers(4, 17, n)
    for track in np.flatnonzero(random.random(n) < 1 / 3):
        loop = rows[track, np.arange(TRACK_ROWS) % periods[track]]
        rows[track] = loop + np.float32(LOOP_CHANGE) * fresh[track]
    return _unit(rows).reshape(-1, DIM)


def noisy(vectors: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Adds noise of log-normal strength. Half of the variance belongs to the clip, and half to the row."""
    noise = _unit(random.standard_normal(vectors.shape, dtype=np.float32))
    clip, row = random.standard_normal((2, len(vectors)))
    spread = 0.48 * np.sqrt(0.5) * (clip[np.arange(len(vectors)) // TRACK_ROWS] + row)
    strength = 1.4 * np.exp(spread)
    return _unit(vectors + strength[:, None].astype(np.float32) * noise)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
