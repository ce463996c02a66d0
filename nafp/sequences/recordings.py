"""Opens the recordings that the second stage is evaluated on: a folder of .npy files, or a store of `nafp extract`."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.corpora import pickles
from nafp.models import identities
from nafp.search import store
from nafp.sequences import chunks, clips

_VERSION = re.compile(r"(?P<clips>.+)@(?P<version>\d{2})")
_CHUNK = re.compile(r"(?P<name>.+)_(?P<number>\d+)")


class Recordings(NamedTuple):
    """Recordings in order.

    names: the name of each. rows: the fingerprints of each, float32 [n, D]. first_stage: the digest of the network that
    made them, "" if not known.
    """

    names: list[str]
    rows: list[np.ndarray]
    first_stage: str = ""


def opened(path: str | os.PathLike, *, dim: int, chunk_rows: int) -> Recordings:
    """Opens a folder of .npy files, one a recording, or STORE/NAME, or version CC of all clips of a folder, CLIPS@CC.

    Files NAME_0.npy, NAME_1.npy ... of `chunk_rows` rows each, as `nafp amg split` writes them, are put together again;
    with 0 they are not. Files are in the order of their names, 2 before 10. dim: the D that is needed, 0 for any.
    Raises nafp.errors.NotFound or nafp.errors.Invalid.
    """
    place = pathlib.Path(path)
    if match := _VERSION.fullmatch(os.fspath(path)):
        return _of_version(match["clips"], int(match["version"]), dim, chunk_rows)
    if place.is_dir() and store.names(place):
        raise errors.Invalid(f"{path}: is a folder of stores: name one of {', '.join(store.names(place))} in it, too")
    if not place.is_dir() and place.parent.is_dir() and place.name in store.names(place.parent):
        return _of_store(store.Store.open(place.parent, place.name), dim)
    paths = chunks.files(path)
    names, rows = [file.stem for file in paths], [clips.read(file, dim=dim) for file in paths]
    return Recordings(*_joined(names, rows, chunk_rows), _first_stage(path))


def _of_version(folder: str, version: int, dim: int, chunk_rows: int) -> Recordings:
    """Opens one version of every clip that has it."""
    paths = [(clip.name, path) for clip in clips.listed(folder) for path in clip.versions]
    chosen = [(name, path) for name, path in paths if clips.version_of(path) == version]
    if not chosen:
        raise errors.Invalid(f"{folder}: no clip has a version {version:02d}")
    names, rows = [name for name, _ in chosen], [clips.read(path, dim=dim) for _, path in chosen]
    return Recordings(*_joined(names, rows, chunk_rows), _first_stage(folder))


def _first_stage(folder: str | os.PathLike) -> str:
    return str(identities.digest(clips.about_of(folder).get("model")) or "")


def _of_store(source: store.Store, dim: int) -> Recordings:
    if dim and source.dim != dim:
        raise errors.Invalid(f"{source.folder}/{source.name}: fingerprints of {source.dim} numbers; need {dim}")
    tracks = source.tracks or [store.TrackRows(source.name, 0, len(source), 0.0)]
    rows = [source.vectors[t.first_row : t.first_row + t.n_rows] for t in tracks]
    return Recordings([t.track for t in tracks], rows, str(identities.digest(source.meta.get("model")) or ""))


def _joined(names: list[str], rows: list[np.ndarray], chunk_rows: int) -> tuple[list[str], list[np.ndarray]]:
    """Puts the chunks of each recording together, if all are chunks, in the order of their numbers."""
    matches = [match for name in names if (match := _CHUNK.fullmatch(name))]
    if len(matches) < len(names) or any(len(part) != chunk_rows for part in rows):
        return names, rows
    parts: dict[str, list[np.ndarray]] = {}
    for match, part in zip(matches, rows):
        parts.setdefault(match["name"], []).append(part)
    return list(parts), [np.concatenate(chunks_of_one) for chunks_of_one in parts.values()]


def answers(queries: Recordings, db: Recordings) -> list[int]:
    """Returns the recording of `db` that answers each query: the one of its name, or else of its number in order.

    Raises nafp.errors.Invalid where neither can be.
    """
    numbers = {name: number for number, name in enumerate(db.names)}
    if all(name in numbers for name in queries.names):
        return [numbers[name] for name in queries.names]
    if len(queries.names) != len(db.names):
        raise errors.Invalid(
            f"{len(queries.names)} queries and {len(db.names)} recordings in the database, under other names: which "
            "belong together is not known. Give them the same names, or one query to each recording, in their order."
        )
    return list(range(len(db.names)))


def require_one_network(opened: Sequence[Recordings | None], first_stage: str, places: Sequence[str]) -> None:
    """Raises nafp.errors.Invalid if recordings are fingerprints of another network than the second stage learnt from.

    first_stage: the digest of that network. A digest that is not known is not compared. places: where the recordings
    are, for the message.
    """
    for held, place in zip(opened, places):
        if held and held.first_stage and first_stage and held.first_stage != first_stage:
            raise errors.Invalid(
                f"{place}: fingerprints of another network ({held.first_stage[:12]}) than the second stage was trained "
                f"on ({first_stage[:12]}); extract them with that network"
            )


class Starts(NamedTuple):
    """Where queries begin.

    each: the number of places in each recording, evenly spaced. table: length of a query in rows -> the rows at which
    its queries begin. If it is given, `each` does not count.
    """

    each: int = 0
    table: Mapping[int, Sequence[int]] | None = None

    def lengths(self, seconds: Sequence[float]) -> list[int]:
        """Returns the lengths of queries, in rows: those of the table, or of `seconds`."""
        return sorted(self.table) if self.table else [chunks.rows_of(s) for s in seconds]

    def within(self, n_rows: int, length: int) -> list[int]:
        """Returns the first rows of the queries that a recording of n_rows gives. It may be none."""
        last = n_rows - length
        if self.table:
            return [row for row in self.table[length] if row <= last]
        return np.unique(np.linspace(0, last, self.each).astype(int)).tolist() if last >= 0 else []


def starts(text: str, *, chunk_seconds: int) -> Starts:
    """Reads where queries begin: a number of places, or a file of AMG-Embedding's test ids.

    The file is a pickle of {chunk seconds: {rows of a query: [row, ...]}}. Raises nafp.errors.Invalid for anything
    else.
    """
    if text.isdecimal() and int(text):
        return Starts(each=int(text))
    if not pathlib.Path(text).is_file():
        raise errors.Invalid(f"--starts={text}: a number of at least 1, or a file of test ids (.pkl), is needed")
    table = pickles.read(text)
    of_chunk = table.get(chunk_seconds, table.get(str(chunk_seconds))) if isinstance(table, Mapping) else None
    if not isinstance(of_chunk, Mapping):
        raise errors.Invalid(f"{text}: no test ids for chunks of {chunk_seconds} s in it")
    try:
        return Starts(table={int(n): np.asarray(rows, int).ravel().tolist() for n, rows in of_chunk.items()})
    except (TypeError, ValueError) as error:
        raise errors.Invalid(f"{text}: its test ids are not rows by length: {error}") from None
