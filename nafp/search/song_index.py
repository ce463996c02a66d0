"""A faiss index as a file of its own, with the song at each first row: what the benchmark and song_mine search in.

NAME.index    a plain faiss file
NAME.json     {"0": first song, "59": second song, ...}: the first row of each song, and its name
"""

from __future__ import annotations

import json
import os
import pathlib
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from nafp import errors
from nafp.jobs import outputs, plain_files, whole_files
from nafp.search import collection, index, store

_FAISS = re.compile(rb"I[A-Za-z0-9]{3}.", re.DOTALL)  # How a file of faiss begins: its kind, such as IwPQ.
_SONGS = re.compile(rb'\{"\d+": "')
_MOST_MAPPED = 30_000  # Files: Linux maps at most 65,530 into one process.


def rows_of(folder: str | os.PathLike, names: Sequence[str] = ()) -> collection.Collection:
    """Opens the named stores of a folder, or its .npy files [n, D], one a song, in the order of their paths.

    names: of the stores, none for `db`. A folder of .npy files has no names. Raises nafp.errors.NotFound or
    nafp.errors.Invalid.
    """
    place = pathlib.Path(folder)
    paths = sorted(path for path in place.rglob("*.npy") if not path.name.endswith("_shape.npy"))
    if not store.names(place) and paths:
        if names:
            raise errors.Invalid(f"--name={','.join(names)}: {folder} holds files of songs and no stores: leave it out")
        return _of_files(place, paths)
    rows = collection.Collection.of([store.Store.open(place, name) for name in names or ("db",)])
    if not rows.tracks:
        raise errors.Invalid(
            f"{folder}: bare stores, which do not say where songs begin; extract them with nafp extract"
        )
    return rows


def _of_files(place: pathlib.Path, paths: Sequence[pathlib.Path]) -> collection.Collection:
    parts = [_loaded(path, is_mapped=len(paths) <= _MOST_MAPPED) for path in paths]
    for path, part in zip(paths, parts):
        if part.shape[1] != parts[0].shape[1]:
            raise errors.Invalid(f"{path}: has {part.shape[1]} dimensions, {paths[0]} has {parts[0].shape[1]}")
    firsts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
    names = [str(path.relative_to(place)) for path in paths]
    return collection.Collection(
        parts, [store.TrackRows(name, first, len(part), 0.0) for name, first, part in zip(names, firsts, parts)]
    )


def _loaded(path: pathlib.Path, *, is_mapped: bool) -> np.ndarray:
    try:
        rows = plain_files.array(path, is_mapped=is_mapped)
    except (OSError, errors.Invalid) as error:
        raise errors.Invalid(f"{path}: no array of fingerprints ({error})") from None
    if rows.ndim != 2 or rows.dtype.kind != "f":
        raise errors.Invalid(f"{path}: holds {rows.dtype} {list(rows.shape)}; fingerprints [n, D] are needed")
    return rows if rows.dtype == np.float32 and len(rows) else np.asarray(rows, np.float32)


def songs(rows: collection.Collection) -> dict[int, str]:
    """Returns the name of each song that has rows, by its first row.

    The name is that of its file without folder and suffix, or the whole path without suffix if two songs share it.
    """
    paths = [pathlib.PurePath(track) for track in rows.tracks]
    shared = Counter(path.stem for path in paths)
    names = [path.stem if shared[path.stem] == 1 else str(path.with_suffix("")) for path in paths]
    starts = zip(rows.first_rows.tolist(), rows.end_rows.tolist(), names)
    return {first: name for first, end, name in starts if end > first}


def paths_of(out: str | os.PathLike) -> list[str]:
    """Returns the paths of the two files: OUT.index and OUT.json."""
    return [f"{os.fspath(out)}{suffix}" for suffix in (".index", ".json")]


def require_out(out: str | os.PathLike) -> None:
    """Raises nafp.errors.Invalid if one of the two files is there and was not written here."""
    formers = (lambda head: bool(_FAISS.match(head)), lambda head: bool(_SONGS.match(head)))
    outputs.require_set(dict(zip(paths_of(out), formers)), verb="nafp index")


def write(built: index.Index, rows: collection.Collection, out: str | os.PathLike) -> list[str]:
    """Writes OUT.index and OUT.json, each whole or not at all. Returns their paths."""
    paths = paths_of(out)
    pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
    built.save(paths[0])
    with whole_files.opened(paths[1], encoding="utf-8", errors="surrogateescape") as file:
        file.write(json.dumps(songs(rows)) + "\n")
    return paths
