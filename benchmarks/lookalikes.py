"""Makes a large store that resembles a real one, out of a small real one.

A dummy track is a real track that was rotated. Each takes rotations of its own, among directions of nearly equal
variance: eight principal axes of the collection at a time. The rows of a track keep their cosines to each other, and
the collection keeps its shape, so an index has the same work as with real tracks. Only what tracks share, such as a
riff or a sample that two songs use, is lost.

Queries are database rows with the losses of real clips. A real clip lies at some cosine to its own rows, and off them
in some direction. Both are applied to another place. The same seed and store give the same lookalikes.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nafp.search import collection, store

BAND = 8  # Principal axes that are rotated among themselves.
TRACK_ROWS = 59  # Rows of a track in the aligned stores: 30 s, as the original's.


def make(folder: str, real: str, truth: str, *, n_dummy: int, n_tracks: int = 500, seed: int = 0) -> tuple[str, str]:
    """Writes the folders FOLDER/aligned and FOLDER/dummy, and returns their paths.

    aligned holds the stores db and query, and row i of query belongs to row i of db. real: a folder with the stores db
    and query. truth: the CSV file that says where each query was cut.
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
    """Yields rotated tracks (name, rows) until they have n_rows in all."""
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
    """Yields a query for each piece, float32 [59, D], with the losses of real clips one after another."""
    cosines, directions = losses(source, clips, truth)
    for rows in pieces:
        drawn = random.integers(len(cosines), size=-(-len(rows) // cosines.shape[1]))
        cosine = cosines[drawn].reshape(-1, 1)[: len(rows)]
        aside = directions[drawn].reshape(-1, source.dim)[: len(rows)]
        aside = aside - np.vecdot(aside, rows)[:, None] * rows
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        yield (cosine * rows + np.sqrt(1 - cosine**2) * aside).astype(np.float32)


def losses(source: store.Store, clips: store.Store, truth: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the cosines of C real clips to their own rows, [C, L], and their directions off these rows.

    The directions, float32 [C, L, D], have unit length. All clips are cut to the rows L of the shortest one. A clip
    whose rows lie between two rows of the database is compared with the nearer ones.
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
