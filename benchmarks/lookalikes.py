"""Large stores that look real, out of a small real one.

Dummy tracks are real tracks turned, each by rotations of its own among directions of nearly equal
variance (eight at a time of the collection's principal axes). Rows of a track are as alike as
they were, and the whole keeps its shape in space: what an index has to cut up, and what a track
has in common with itself, stays as the network made it. Lost is what tracks have in common with
each other, a riff or a sample that two songs share.

Queries are real rows degraded as real queries are: the cosine of a query row to the row it belongs
to and the direction in which it lies off it are those of a whole real clip, laid over another
place. Seeded: the same store gives the same lookalikes.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nafp.search import collection, store

BAND = 8  # Directions that are turned among themselves.
TRACK_ROWS = 59  # Of the row-aligned stores: 30 s, as the original's.


def make(folder: str, real: str, truth: str, *, n_dummy: int, n_tracks: int = 500, seed: int = 0) -> tuple[str, str]:
    """Writes FOLDER/aligned (db, and query: row i of one is row i of the other) and FOLDER/dummy.

    real: a folder with the stores db and query; truth: the CSV that says where each query is from.
    Returns the two folders.
    """
    random = np.random.default_rng(seed)
    source, clips = store.Store.open(real, "db"), store.Store.open(real, "query")
    aligned, dummy = Path(folder) / "aligned", Path(folder) / "dummy"
    db = pieces(source, n_tracks, random)
    for name, tracks in (("db", db), ("query", degraded(db, source, clips, truth, random))):
        write(aligned, name, source, ((f"{name}{n}", rows) for n, rows in enumerate(tracks)))
    write(dummy, "dummy_db", source, turned(source, n_dummy, random))
    return str(aligned), str(dummy)


def write(folder: Path, name: str, like: store.Store, tracks: Iterator) -> None:
    """Writes a store with the metadata of `like`."""
    meta = {key: value for key, value in like.meta.items() if key not in ("format", "rows", "dim")}
    with store.Writer(folder, name, dim=like.dim, meta=meta) as writer:
        for track, rows in tracks:
            if track not in writer.done:
                writer.append(track, len(rows) * like.hop_s, rows)
        writer.finish()


def turned(source: store.Store, n_rows: int, random: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Yields turned tracks (name, rows) until there are n_rows."""
    axes, done, turn = principal_axes(source), 0, 0
    while done < n_rows:
        for track in source.tracks:
            if done >= n_rows:
                return
            rows = source.vectors[track.first_row : track.first_row + track.n_rows]
            rows = rows[: n_rows - done] @ axes
            bands = rows.reshape(len(rows), -1, BAND)
            rotations = np.linalg.qr(random.standard_normal((bands.shape[1], BAND, BAND)))[0]
            bands = np.einsum("nbi,bij->nbj", bands, rotations.astype(np.float32), optimize=True)
            yield f"{track.track}#{turn}", bands.reshape(rows.shape) @ axes.T
            done += len(rows)
        turn += 1


def principal_axes(source: store.Store) -> np.ndarray:
    """Returns the principal axes of a sample as columns, float32 [D, D], by descending variance."""
    sample = source.vectors[:: max(1, len(source) // 50_000)]
    return np.linalg.eigh(np.cov(sample.T))[1][:, ::-1].astype(np.float32)


def pieces(source: store.Store, n: int, random: np.random.Generator) -> list[np.ndarray]:
    """Cuts one piece of 30 s out of each of n tracks, float32 [59, D] each."""
    long = [track for track in source.tracks if track.n_rows >= TRACK_ROWS]
    chosen = random.permutation(len(long))[:n]
    if len(chosen) < n:
        raise ValueError(f"{source.folder}: {len(long)} tracks of 30 s or more, {n} are needed")
    starts = [random.integers(long[i].n_rows - TRACK_ROWS + 1) + long[i].first_row for i in chosen]
    return [np.array(source.vectors[start : start + TRACK_ROWS]) for start in starts]


def degraded(
    pieces: list[np.ndarray],
    source: store.Store,
    clips: store.Store,
    truth: str,
    random: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Yields a query for each piece, float32 [59, D]: one real clip's losses after the other."""
    cosines, directions = losses(source, clips, truth)
    for rows in pieces:
        drawn = random.integers(len(cosines), size=-(-len(rows) // cosines.shape[1]))
        cosine = cosines[drawn].reshape(-1, 1)[: len(rows)]
        aside = directions[drawn].reshape(-1, source.dim)[: len(rows)]
        aside = aside - np.vecdot(aside, rows)[:, None] * rows
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        yield (cosine * rows + np.sqrt(1 - cosine**2) * aside).astype(np.float32)


def losses(source: store.Store, clips: store.Store, truth: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the cosines of all real clips to their own rows, [C, L], and the directions off them.

    The directions, float32 [C, L, D], are of unit length. Clips are of one length L; those whose
    rows lie half-way between the database's are held against the nearer ones.
    """
    where = {track.track: track for track in source.tracks}
    length = min(track.n_rows for track in clips.tracks)
    rows_of = collection.Collection.of([clips])
    names = {Path(track.track).name: n for n, track in enumerate(clips.tracks)}
    pairs = []
    with open(truth, newline="") as text:
        for line in csv.DictReader(text):
            track = where.get(line["answer"])
            start = round(float(line["time"]) / source.hop_s)
            if track is None or start + length > track.n_rows:
                continue
            first = int(rows_of.first_rows[names[line["query"]]])
            asked = rows_of.read(first, first + length)
            pairs.append((asked, source.vectors[track.first_row + start :][:length]))
    asked, rows = (np.array(side) for side in zip(*pairs))
    cosines = np.vecdot(asked, rows)
    aside = asked - cosines[:, :, None] * rows
    return cosines, aside / np.maximum(np.linalg.norm(aside, axis=2, keepdims=True), 1e-6)
