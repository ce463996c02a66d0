"""Fingerprints on disk, and which track and second each row is: the border between JAX and search.

A store is a folder. Under each name (`query`, `db`, `dummy_db`, ...) it holds

    NAME.mm           float32 [N, D], row-major, no header   (layout of mimbres/neural-audio-fp)
    NAME_shape.npy    int64 [2]: N, D                        (the same)
    NAME_tracks.csv   track,first_row,n_rows,seconds         rows of a track are consecutive
    NAME.json         format, rows, dim and the writer's metadata; written last: it means "finished"

The original implementation has the first two only; such a bare store opens with no tracks. While
a store grows it is `NAME.mm.part` plus `NAME.journal`, so a killed writer loses at most the track
it was writing, and an older finished store stays readable until the new one replaces it.
"""

import csv
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nafp import errors

FORMAT = 1
COLUMNS = ("track", "first_row", "n_rows", "seconds")
BARE_HOP_S = 0.5  # The original's hop (config/default.yaml); a bare store does not say its own.


class TrackRows(NamedTuple):
    """One track of a store: rows first_row .. first_row + n_rows - 1, of `seconds` of audio."""

    track: str
    first_row: int
    n_rows: int
    seconds: float


class Store:
    """A finished store, read-only.

    vectors: float32 [N, D], memory-mapped. tracks: in order of their rows, [] for a bare store.
    meta: what NAME.json says, {} for a bare store.
    """

    def __init__(self, folder: Path, name: str, vectors: np.ndarray, tracks: list[TrackRows], meta: dict):
        self.folder, self.name = folder, name
        self.vectors, self.tracks, self.meta = vectors, tracks, meta

    @classmethod
    def open(cls, folder: str | os.PathLike, name: str) -> "Store":
        """Opens STORE/NAME after checking that its files agree.

        Raises FileNotFoundError when there is no such store or it is unfinished, and ValueError
        when shape, file size and table of tracks contradict each other.
        """
        files = _Files(Path(folder), name)
        _require_finished(files)
        meta = _read_meta(files.meta)
        vectors = _map(files)
        tracks = _read_tracks(files.tracks) if files.tracks.exists() else []
        if tracks:
            _check_tracks(files.tracks, tracks, n_rows=len(vectors))
        return cls(files.folder, name, vectors, tracks, meta)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """D, the size of a fingerprint."""
        return self.vectors.shape[1]

    @property
    def hop_s(self) -> float:
        """Seconds from the start of one row to the start of the next, within a track."""
        return float(self.meta.get("hop_s", BARE_HOP_S))

    def track_of_row(self) -> np.ndarray | None:
        """Gives the position in `tracks` of every row, int32 [N]; None for a bare store."""
        if not self.tracks:
            return None
        numbers = np.arange(len(self.tracks), dtype=np.int32)
        return np.repeat(numbers, [track.n_rows for track in self.tracks])


def names(folder: str | os.PathLike) -> list[str]:
    """Lists the names a store folder holds, finished ones only."""
    found = sorted(path.name.removesuffix(".mm") for path in Path(folder).glob("*.mm"))
    return [name for name in found if not _Files(Path(folder), name).is_unfinished()]


class Writer:
    """Writes STORE/NAME track by track; every appended track survives a kill.

    An unfinished store with equal `dim` and `meta` is resumed: `done` holds the names of the
    tracks it has. A finished one is replaced only with overwrite=True, and only by finish().
    One writer per name at a time (a lock on the journal says so).

    meta: JSON-able, by convention hop_s, segment_s, sample_rate_hz, model (its identity) and
    config. Raises FileExistsError for a finished store, ValueError for an unfinished one that
    was begun with other metadata, FileExistsError, too, while another process writes it.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        name: str,
        *,
        dim: int,
        meta: Mapping[str, Any],
        overwrite: bool = False,
    ):
        _check_name(name)
        self._files = _Files(Path(folder), name)
        self._dim, self._meta = int(dim), json.loads(json.dumps(dict(meta)))
        self._files.folder.mkdir(parents=True, exist_ok=True)
        self._refuse_finished(overwrite)
        self._journal = open(self._files.journal, "a+b")  # noqa: SIM115 (lives as long as the writer)
        self._lock()
        self.tracks = self._recover(overwrite)
        self.done = {track.track for track in self.tracks}
        self._vectors = open(self._files.part, "r+b")  # noqa: SIM115
        self._vectors.truncate(self.n_rows * self._dim * 4)
        self._vectors.seek(0, os.SEEK_END)

    @property
    def n_rows(self) -> int:
        """Rows written so far."""
        return self.tracks[-1].first_row + self.tracks[-1].n_rows if self.tracks else 0

    def append(self, track: str, seconds: float, vectors: np.ndarray) -> None:
        """Adds one whole track, [n, D] (n may be 0: too short for a row); durable on return."""
        vectors = np.ascontiguousarray(vectors, dtype="<f4")
        if vectors.ndim != 2 or vectors.shape[1] != self._dim:
            raise errors.Invalid(f"{track}: vectors are {vectors.shape}, this store takes [n, {self._dim}]")
        if track in self.done:
            raise errors.Invalid(f"{track}: this track is in {self._files.part} already")
        if not np.isfinite(vectors).all():
            raise errors.Invalid(f"{track}: a vector has NaN or infinity in it; nothing was written")
        self._vectors.write(vectors.data)
        _sync(self._vectors)  # Before the journal: a line there promises that its rows are safe.
        row = TrackRows(track, self.n_rows, len(vectors), float(seconds))
        self._journal.write(json.dumps(row).encode() + b"\n")
        _sync(self._journal)
        self.tracks.append(row)
        self.done.add(track)

    def finish(self) -> Store:
        """Turns the growing store into the finished one, and opens it."""
        files, shape = self._files, (self.n_rows, self._dim)
        self._vectors.close()
        files.meta.unlink(missing_ok=True)  # From here to the last line the store is unfinished.
        _replace(files.shape, lambda out: np.save(out, np.array(shape, np.int64)))
        _replace(files.tracks, lambda out: out.write(_table(self.tracks)))
        os.replace(files.part, files.vectors)
        meta = {"format": FORMAT, "rows": shape[0], "dim": shape[1], **self._meta}
        _replace(files.meta, lambda out: out.write(json.dumps(meta, indent=1).encode() + b"\n"))
        files.journal.unlink()
        self._journal.close()
        return Store.open(files.folder, files.name)

    def close(self) -> None:
        """Lets go of the files; the store stays unfinished and can be resumed."""
        self._vectors.close()
        self._journal.close()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse_finished(self, overwrite: bool) -> None:
        files = self._files
        if files.vectors.exists() and not files.is_unfinished() and not overwrite:
            raise errors.AlreadyExists(
                f"{files.vectors} is a finished store and is left as it is; "
                "overwrite it explicitly (--overwrite), or write under another name"
            )

    def _lock(self) -> None:
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._journal.close()
            raise errors.AlreadyExists(
                f"{self._files.journal} is locked: another process is writing this store; "
                "wait for it, or write under another name"
            ) from error

    def _recover(self, overwrite: bool) -> list[TrackRows]:
        """Reads the tracks that are safely there, or begins a new journal."""
        files, head = self._files, {"dim": self._dim, "meta": self._meta}
        lines = _whole_lines(self._journal)
        begun = json.loads(lines[0]) if lines else None
        if begun is not None and begun != head and not overwrite:
            self._journal.close()
            raise errors.Invalid(
                f"{files.journal} was begun with other settings ({_differences(begun, head)}); "
                "finish it with those, or start anew with overwrite (--overwrite)"
            )
        if begun == head and files.is_unfinished() and not files.part.exists():
            os.replace(files.vectors, files.part)  # Killed in the middle of finish().
        if begun == head and files.part.exists():
            tracks = [TrackRows(*json.loads(line)) for line in lines[1:]]
            if _bytes(tracks, dim=self._dim) <= files.part.stat().st_size:
                return tracks  # Otherwise a disk lost what it had promised: begin anew.
        files.part.write_bytes(b"")
        self._journal.truncate(0)
        self._journal.write(json.dumps(head).encode() + b"\n")
        _sync(self._journal)
        return []


class _Files:
    """The paths of one name in a store folder."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        self.vectors, self.part = folder / f"{name}.mm", folder / f"{name}.mm.part"
        self.shape, self.tracks = folder / f"{name}_shape.npy", folder / f"{name}_tracks.csv"
        self.meta, self.journal = folder / f"{name}.json", folder / f"{name}.journal"

    def is_unfinished(self) -> bool:
        return self.journal.exists() and not self.meta.exists()


def _require_finished(files: _Files) -> None:
    if not files.folder.is_dir():
        raise errors.NotFound(f"{files.folder}: no such folder of fingerprints")
    if files.is_unfinished():
        raise errors.NotFound(
            f"{files.folder}: {files.name!r} is unfinished; run the same `nafp extract` again, it resumes"
        )
    if not files.vectors.exists() or not files.shape.exists():
        raise errors.NotFound(
            f"{files.folder} has no store {files.name!r} "
            f"({files.vectors.name} and {files.shape.name}); "
            f"it has: {', '.join(names(files.folder)) or 'none'}"
        )


def _read_meta(path: Path) -> dict:
    """Reads what a store says of itself; {} for a bare store."""
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise errors.Invalid(
            f"{path} is no JSON ({error}); extract this store again, or remove the file to use the "
            "vectors without what it said"
        ) from error


def _map(files: _Files) -> np.ndarray:
    """Maps the vectors into memory once shape file and file size agree."""
    shape = np.load(files.shape, allow_pickle=False).ravel()
    if shape.size != 2 or shape[1] < 1 or shape[0] < 0:
        raise errors.Invalid(f"{files.shape} says {shape.tolist()}; it should be two numbers: rows, dimensions")
    n_rows, dim = int(shape[0]), int(shape[1])
    n_bytes = files.vectors.stat().st_size
    if n_bytes != n_rows * dim * 4:
        raise errors.Invalid(
            f"{files.vectors} has {n_bytes} bytes, but {files.shape.name} says {n_rows} rows of "
            f"{dim} float32, which are {n_rows * dim * 4} bytes; the two are not of one run"
        )
    if n_rows == 0:
        return np.zeros((0, dim), np.float32)  # An empty file cannot be mapped.
    return np.memmap(files.vectors, "<f4", "r", shape=(n_rows, dim))


def _read_tracks(path: Path) -> list[TrackRows]:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as lines:
        table = csv.DictReader(lines)
        if not set(COLUMNS) <= set(table.fieldnames or ()):
            raise errors.Invalid(f"{path} needs the columns {', '.join(COLUMNS)}; it has {table.fieldnames}")
        return [TrackRows(r["track"], int(r["first_row"]), int(r["n_rows"]), float(r["seconds"])) for r in table]


def _check_tracks(path: Path, tracks: list[TrackRows], *, n_rows: int) -> None:
    """Raises unless the tracks fill rows 0 .. n_rows without a gap."""
    next_row = 0
    for track in tracks:
        if track.first_row != next_row or track.n_rows < 0:
            raise errors.Invalid(f"{path}: {track.track} begins at row {track.first_row}, not at {next_row}")
        next_row += track.n_rows
    if next_row != n_rows:
        raise errors.Invalid(f"{path} accounts for {next_row} rows, the store has {n_rows}")


def _check_name(name: str) -> None:
    if not name or name != Path(name).name or name.startswith("."):
        raise errors.Invalid(f"a store name is a plain word such as db or query, not {name!r}")


def _table(tracks: list[TrackRows]) -> bytes:
    lines = _Lines()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(tracks)
    return "".join(lines).encode("utf-8", errors="surrogateescape")


class _Lines(list):
    """A list that csv can write into."""

    write = list.append


def _whole_lines(journal) -> list[bytes]:
    """Reads the journal and cuts off a last line that a kill left incomplete."""
    journal.seek(0)
    text = journal.read()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        journal.truncate(len(whole))
    return whole.splitlines()


def _bytes(tracks: list[TrackRows], *, dim: int) -> int:
    return sum(track.n_rows for track in tracks) * dim * 4


def _differences(begun: dict, head: dict) -> str:
    """Names what changed between two journal heads."""
    old, new = ({"dim": each["dim"], **each["meta"]} for each in (begun, head))
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return "; ".join(f"{key}: {old.get(key)!r} then, {new.get(key)!r} now" for key in changed)[:300]


def _sync(handle) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _replace(path: Path, write) -> None:
    """Writes a file whole or not at all: under another name first, then renamed."""
    partial = path.with_name(path.name + ".tmp")
    with open(partial, "wb") as out:
        write(out)
        _sync(out)
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # The rename itself must survive a power cut, too.
    finally:
        os.close(folder)
