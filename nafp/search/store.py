"""Keeps fingerprints on disk, with the track and second of each row: the border between JAX and search.

A store is a folder. Under each name (`query`, `db`, `dummy_db`, ...) it holds

    NAME.mm           float32 [N, D], row-major, no header   (layout of mimbres/neural-audio-fp)
    NAME_shape.npy    int64 [2]: N, D                        (the same)
    NAME_tracks.csv   track,first_row,n_rows,seconds         rows of a track are consecutive
    NAME.json         format, rows, dim and the writer's metadata; written last: it means "finished"

The original implementation has the first two only; such a bare store opens with no tracks. While a store grows it is
`NAME.mm.part` and `NAME.journal`: a killed writer loses at most the track it was writing, and an older finished store
stays readable until the new one replaces it.
"""

import contextlib
import csv
import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.jobs import locks, plain_files, whole_files
from nafp.models import identities

FORMAT = 1
COLUMNS = ("track", "first_row", "n_rows", "seconds")
BARE_HOP_S = 0.5  # The original's hop (config/default.yaml); a bare store does not say its own.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # The last one is a limit on the size of one file.
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class TrackRows(NamedTuple):
    """One track of a store: rows first_row .. first_row + n_rows - 1, of `seconds` of audio."""

    track: str
    first_row: int
    n_rows: int
    seconds: float


class Store:
    """A finished store, read-only.

    vectors: float32 [N, D], memory-mapped. tracks: in the order of their rows, [] for a bare store. meta: the metadata
    in NAME.json, {} for a bare store.
    """

    def __init__(self, folder: Path, name: str, vectors: np.ndarray, tracks: list[TrackRows], meta: Mapping[str, Any]):
        self.folder, self.name = folder, name
        self.vectors, self.tracks, self.meta = vectors, tracks, meta

    @classmethod
    def open(cls, folder: str | os.PathLike, name: str) -> "Store":
        """Opens STORE/NAME after checking that its files agree.

        Raises FileNotFoundError when there is no such store or it is unfinished. Raises ValueError when shape, file
        size and table of tracks contradict each other.
        """
        files = _Files(Path(folder), name)
        plain_files.require_files(files.all)
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
        """D, the numbers in a fingerprint."""
        return self.vectors.shape[1]

    @property
    def hop_s(self) -> float:
        """Seconds from the start of one row to the start of the next, within a track."""
        return float(self.meta.get("hop_s", BARE_HOP_S))


def names(folder: str | os.PathLike) -> list[str]:
    """Returns the names of the finished stores in a folder, sorted."""
    all_names = sorted(path.name.removesuffix(".mm") for path in Path(folder).glob("*.mm"))
    return [name for name in all_names if not _Files(Path(folder), name).is_unfinished()]


class Writer:
    """Writes STORE/NAME track by track. Every appended track survives a kill.

    An unfinished store with the same `dim` and `meta` is resumed: `done` holds the names of the tracks it has. A
    finished store is replaced only with overwrite=True, and only by finish(). A lock on the journal keeps to one writer
    per name at a time.

    meta: JSON-able; by convention hop_s, segment_s, sample_rate_hz, model (its identity) and config. Raises
    FileExistsError for a finished store and while another process writes this one, ValueError for an unfinished store
    that was begun with other metadata, and errors.Unwritable, here and in every method, when the disk is full or
    read-only.
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
        require_name(name)
        self._files = _Files(Path(folder), name)
        self._dim, self._meta = int(dim), json.loads(json.dumps(dict(meta)))
        with self._writing():
            for path in self._files.all:
                plain_files.require_plain(path)  # What is appended to a link would go into another file.
            self._files.folder.mkdir(parents=True, exist_ok=True)
            _refuse_finished(self._files, overwrite)
            # Unbuffered: rows that a full disk refused must not be left over for the next write.
            self._journal = open(self._files.journal, "a+b", buffering=0)  # noqa: SIM115 (lives as long as the writer)
            self._lock()
            self.tracks = self._recover(overwrite)
            self.done = {track.track for track in self.tracks}
            self._vectors = open(self._files.part, "r+b", buffering=0)  # noqa: SIM115
            self._vectors.truncate(self.n_rows * self._dim * 4)
            self._vectors.seek(0, os.SEEK_END)

    @property
    def n_rows(self) -> int:
        """Rows written so far."""
        return self.tracks[-1].first_row + self.tracks[-1].n_rows if self.tracks else 0

    def append(self, track: str, seconds: float, vectors: np.ndarray) -> None:
        """Adds one whole track, which is on the disk on return.

        vectors: [n, D]; n is 0 for a track too short for a row. Raises ValueError, and writes nothing, for vectors of
        another shape or not finite, and for a track that is in the store already.
        """
        vectors = np.ascontiguousarray(vectors, dtype="<f4")
        if vectors.ndim != 2 or vectors.shape[1] != self._dim:
            raise errors.Invalid(f"{track}: vectors are {vectors.shape}, this store takes [n, {self._dim}]")
        if track in self.done:
            raise errors.Invalid(f"{track}: this track is in {self._files.part} already")
        if not np.isfinite(vectors).all():
            raise errors.Invalid(f"{track}: a vector has NaN or infinity in it; nothing was written")
        row = TrackRows(track, self.n_rows, len(vectors), float(seconds))
        with self._writing():  # The rows before the journal: a line there promises that its rows are safe.
            _append(self._vectors, vectors.reshape(-1).view(np.uint8).data, at=row.first_row * self._dim * 4)
            _append(self._journal, json.dumps(row).encode() + b"\n")
        self.tracks.append(row)
        self.done.add(track)

    def finish(self) -> Store:
        """Turns the growing store into the finished one, and opens it."""
        files, shape = self._files, (self.n_rows, self._dim)
        meta = {"format": FORMAT, "rows": shape[0], "dim": shape[1], **self._meta}
        self._vectors.close()
        with self._writing():
            files.meta.unlink(missing_ok=True)  # From here to the last line the store is unfinished.
            with whole_files.opened(files.shape, "wb") as file:
                np.save(file, np.array(shape, np.int64))
            with whole_files.opened(files.tracks, "wb") as file:
                file.write(_table(self.tracks))
            os.replace(files.part, files.vectors)
            with whole_files.opened(files.meta, "wb") as file:
                file.write(json.dumps(meta, indent=1).encode() + b"\n")
        files.journal.unlink()
        self._journal.close()
        return Store.open(files.folder, files.name)

    def close(self) -> None:
        """Closes the files. The store stays unfinished and can be resumed."""
        self._vectors.close()
        self._journal.close()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raises errors.Unwritable, with the way on, when the disk is full, read-only or failing."""
        try:
            yield
        except (OSError, errors.Unwritable) as error:
            refusal = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(refusal, OSError) or refusal.errno not in (*_FULL, *_FORBIDDEN, errno.EIO):
                raise
            remedy = "make room" if refusal.errno in _FULL else "see to that, or write to another folder"
            where = f"{self._files.folder}/{self._files.name}"
            raise errors.Unwritable(
                f"{where}: {whole_files.reason(refusal)}; the tracks written before are safe: {remedy}, "
                "and give the same command again, it resumes"
            ) from error

    def _lock(self) -> None:
        try:
            locks.hold(self._journal)
        except BlockingIOError as error:
            self._journal.close()
            raise errors.AlreadyExists(
                f"{self._files.journal} is locked: another process is writing this store; "
                "wait for it, or write under another name"
            ) from error

    def _recover(self, overwrite: bool) -> list[TrackRows]:
        """Returns the tracks that are safely on the disk, or begins a new journal."""
        files, (begun, tracks) = self._files, self._begun()
        self._meta = identities.as_begun(self._meta, begun)
        head = {"dim": self._dim, "meta": self._meta}
        if begun is not None and begun != head and not overwrite:
            self._journal.close()
            raise errors.Invalid(
                f"{files.journal} was begun with other settings ({_differences(begun, head)}); "
                "finish it with those, or start anew with overwrite (--overwrite)"
            )
        if begun == head and files.is_unfinished() and not files.part.exists():
            os.replace(files.vectors, files.part)  # Killed in the middle of finish().
        if begun == head and files.part.exists() and _bytes(tracks, dim=self._dim) <= files.part.stat().st_size:
            return tracks  # Otherwise a disk lost what it had promised: begin anew.
        files.part.write_bytes(b"")
        self._journal.truncate(0)
        _append(self._journal, json.dumps(head).encode() + b"\n")
        return []

    def _begun(self) -> tuple[Any, list[TrackRows]]:
        """Reads the journal: its head, None if there is none, and the tracks."""
        try:
            head, *rows = [json.loads(line) for line in _whole_lines(self._journal)] or [None]
            return head, [TrackRows(*row) for row in rows]
        except (ValueError, TypeError, RecursionError) as error:
            self._journal.close()
            raise errors.Invalid(f"{self._files.journal}: is damaged ({error}); remove it, and extract anew") from None


class _Files:
    """The paths of one name in a store folder."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        self.vectors, self.part = folder / f"{name}.mm", folder / f"{name}.mm.part"
        self.shape, self.tracks = folder / f"{name}_shape.npy", folder / f"{name}_tracks.csv"
        self.meta, self.journal = folder / f"{name}.json", folder / f"{name}.journal"
        self.all = (self.vectors, self.part, self.shape, self.tracks, self.meta, self.journal)

    def is_unfinished(self) -> bool:
        return self.journal.exists() and not self.meta.exists()


def require_unfinished(folder: str | os.PathLike, name: str, *, overwrite: bool = False) -> None:
    """Raises errors.AlreadyExists if STORE/NAME is a finished store, unless it may be overwritten."""
    require_name(name)
    _refuse_finished(_Files(Path(folder), name), overwrite)


def _refuse_finished(files: _Files, overwrite: bool) -> None:
    if files.vectors.exists() and not files.is_unfinished() and not overwrite:
        raise errors.AlreadyExists(
            f"{files.vectors} is a finished store and is left as it is; "
            "overwrite it explicitly (--overwrite), or write under another name"
        )


def _require_finished(files: _Files) -> None:
    if not files.folder.is_dir():
        raise errors.NotFound(f"{files.folder}: no such folder of fingerprints")
    if files.is_unfinished():
        raise errors.NotFound(
            f"{files.folder}: {files.name!r} is unfinished; run the same `nafp extract` again, it resumes"
        )
    if not files.vectors.exists() or not files.shape.exists():
        raise errors.NotFound(
            f"{files.folder} has no store {files.name!r} ({files.vectors.name} and {files.shape.name}); "
            f"it has: {', '.join(names(files.folder)) or 'none'}"
        )


def _read_meta(path: Path) -> dict[str, Any]:
    """Reads the metadata of a store. Returns {} for a bare store."""
    if not path.exists():
        return {}
    try:
        meta = plain_files.json_object(path)
        hop_s = float(meta.get("hop_s", BARE_HOP_S))
    except (errors.Invalid, TypeError, ValueError) as error:
        raise errors.Invalid(
            f"{error}; extract this store again, or remove {path} to use the vectors without its metadata"
        ) from error
    if not 0 < hop_s < 1e9:
        raise errors.Invalid(f"{path}: hop_s is {hop_s}; it should be seconds between two rows")
    return meta


def _map(files: _Files) -> np.ndarray:
    """Maps the vectors into memory, float32 [N, D]. Raises ValueError when shape file and file size disagree."""
    shape = plain_files.array(files.shape).ravel()
    if shape.size != 2 or shape.dtype.kind not in "iu" or shape[1] < 1 or shape[0] < 0:
        raise errors.Invalid(f"{files.shape} says {shape.tolist()}; it should be two numbers: rows, dimensions")
    n_rows, dim = int(shape[0]), int(shape[1])
    n_bytes = files.vectors.stat().st_size
    if n_bytes != n_rows * dim * 4:
        raise errors.Invalid(
            f"{files.vectors} has {n_bytes} bytes, but {files.shape.name} says {n_rows} rows of "
            f"{dim} float32, which are {n_rows * dim * 4} bytes; the two files are not of one run"
        )
    if n_rows == 0:
        return np.zeros((0, dim), np.float32)  # An empty file cannot be mapped.
    return np.memmap(files.vectors, "<f4", "r", shape=(n_rows, dim))


def _read_tracks(path: Path) -> list[TrackRows]:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as lines:
        table = csv.DictReader(lines)
        try:
            if not set(COLUMNS) <= set(table.fieldnames or ()):
                raise errors.Invalid(f"{path} needs the columns {', '.join(COLUMNS)}; it has {table.fieldnames}")
            return [
                TrackRows(line["track"], int(line["first_row"]), int(line["n_rows"]), float(line["seconds"]))
                for line in table
            ]
        except errors.Error:
            raise
        except (ValueError, TypeError, csv.Error) as error:
            raise errors.Invalid(f"{path}, line {table.line_num}: is damaged: {error}") from None


def _check_tracks(path: Path, tracks: list[TrackRows], *, n_rows: int) -> None:
    """Raises ValueError unless the tracks fill rows 0 .. n_rows without a gap."""
    next_row = 0
    for track in tracks:
        if track.first_row != next_row or track.n_rows < 0:
            raise errors.Invalid(f"{path}: {track.track} begins at row {track.first_row}, not at {next_row}")
        next_row += track.n_rows
    if next_row != n_rows:
        raise errors.Invalid(f"{path} accounts for {next_row} rows, the store has {n_rows}")


def require_name(name: str) -> None:
    """Raises errors.Invalid for what cannot be the name of a store."""
    if not name or name != Path(name).name or name.startswith("."):
        raise errors.Invalid(f"--name={name}: the name of a store is a plain word such as db or query")


def _table(tracks: list[TrackRows]) -> bytes:
    lines = _Lines()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(tracks)
    return "".join(lines).encode("utf-8", errors="surrogateescape")


class _Lines(list):
    """A list that csv can write into."""

    write = list.append


def _whole_lines(journal: IO[bytes]) -> list[bytes]:
    """Returns the lines of a journal, after cutting off a last one that a kill left incomplete."""
    journal.seek(0)
    text = journal.read()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        journal.truncate(len(whole))
    return whole.splitlines()


def _bytes(tracks: list[TrackRows], *, dim: int) -> int:
    return sum(track.n_rows for track in tracks) * dim * 4


def _differences(begun: dict, head: dict) -> str:
    """Returns in words what changed between two journal heads."""
    old, new = ({"dim": line["dim"], **line["meta"]} for line in (begun, head))
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return "; ".join(f"{key}: {old.get(key)!r} then, {new.get(key)!r} now" for key in changed)[:300]


def _append(file: IO[bytes], data: bytes | memoryview, *, at: int | None = None) -> None:
    """Writes data to an unbuffered file, durably, where it ends (or at byte `at`, which is then its end).

    A file that cannot take all of it is cut off there again.
    """
    end, left = file.seek(0, os.SEEK_END) if at is None else at, memoryview(data)
    try:
        file.truncate(end)
        file.seek(end)
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise
