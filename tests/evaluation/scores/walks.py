"""Small stores whose tracks are random walks, and evaluations of them."""

import numpy as np

from evaluation.scores import evaluate
from nafp.search import store

DIM = 16
LENGTHS = (1, 3, 5, 9)
ROWS = 12  # Of a track.


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def tracks(n, *, seed, rows=ROWS):
    """Random walks on the sphere: neighbours in time are alike, as fingerprints are."""
    random = np.random.default_rng(seed)
    walk = random.normal(size=(n, rows, DIM))
    for row in range(1, rows):
        walk[:, row] = 0.6 * walk[:, row - 1] + 0.8 * walk[:, row]
    return unit(walk.reshape(-1, DIM))


def noisy(vectors, *, noise, seed):
    return unit(vectors + noise * np.random.default_rng(seed).normal(size=vectors.shape) / 4)


DUMMY, DB = tracks(60, seed=1), tracks(20, seed=2)
QUERY = noisy(DB, noise=1.2, seed=3)


def save_bare(folder, **stores):
    """Writes stores as the original does: vectors and their shape, and no table of tracks."""
    folder.mkdir(exist_ok=True)
    for name, vectors in stores.items():
        vectors.tofile(folder / f"{name}.mm")
        np.save(folder / f"{name}_shape.npy", vectors.shape)
    return str(folder)


def save(folder, name, vectors, *, rows=ROWS, names=None, model="m", **meta):
    """Writes a store whose tracks have `rows` rows each."""
    meta = {"hop_s": 0.5, "segment_s": 1.0, "sample_rate_hz": 8000, "model": model, **meta}
    with store.Writer(folder, name, dim=DIM, meta=meta) as writer:
        for number, start in enumerate(range(0, len(vectors), rows)):
            track = names[number] if names else f"music/{name}{number:03}.wav"
            writer.append(track, rows / 2 + 0.5, vectors[start : start + rows])
        writer.finish()
    return str(folder)


def run(folder, out, **settings):
    """Evaluates one folder of stores with an exact index, and returns the record."""
    settings = {"lengths": LENGTHS, "index": "l2", "show": False, **settings}
    return evaluate.run(evaluate.Request(store=[folder], out=str(out), **settings))
