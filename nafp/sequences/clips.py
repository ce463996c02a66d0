"""Folders of clips to train the second stage on, in the form of AMG-Embedding.

    CLIPS/ID-00.npy    float32 [n, D], the fingerprints of a clip; 59 rows for 30 s
    CLIPS/ID-01.npy    the same clip degraded, row for row; also ID-02.npy ... ID-09.npy
    CLIPS/clips.csv    id,track,start_s: where each clip was cut. AMG-Embedding has no such file; no reader needs it
    CLIPS/clips.json   the network and the settings that the clips were made with. AMG-Embedding has none either

A cut clip is ID-CC_K.npy, chunk K of ID-CC.npy (see `nafp.sequences.chunks`). Each chunk is then a clip of its own.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.jobs import plain_files, whole_files

NAME = re.compile(r"(?P<id>.+)-(?P<version>\d{2})(?:_(?P<chunk>\d+))?\.npy")
TABLE, COLUMNS = "clips.csv", ("id", "track", "start_s")
ABOUT = "clips.json"
CLEAN = 0  # The number of the clean version.
_ON_ERROR = "surrogateescape"  # Names of tracks are bytes, not text.


class Place(NamedTuple):
    """Where a clip was cut: from second `start_s` of a track on."""

    track: str
    start_s: float


class Clip(NamedTuple):
    """The files of a clip: the clean version, and the degraded ones in the order of their numbers."""

    name: str
    clean: pathlib.Path
    degraded: tuple[pathlib.Path, ...]

    @property
    def versions(self) -> tuple[pathlib.Path, ...]:
        """All files of the clip, the clean one first."""
        return (self.clean, *self.degraded)


def listed(folder: str | os.PathLike, *, most: int = 0, versions: int = 0) -> list[Clip]:
    """Lists the clips of a folder in the order of their ids, 2 before 10.

    most: the number of clips to take, 0 for all. versions: the number of versions of each clip to take, the clean one
    counted, 0 for all. Raises nafp.errors.NotFound for a missing folder, and nafp.errors.Invalid if it holds no clip,
    or a clip without its clean version.
    """
    root = pathlib.Path(folder)
    if not root.is_dir():
        raise errors.NotFound(f"{folder}: no such folder of clips; nafp amg clips --out={folder} makes one")
    files: dict[str, dict[int, pathlib.Path]] = {}
    for path in root.iterdir():
        if match := NAME.fullmatch(path.name):
            chunk = f"_{match['chunk']}" if match["chunk"] else ""
            files.setdefault(match["id"] + chunk, {})[int(match["version"])] = path
    if not files:
        raise errors.Invalid(f"{folder}: no clip in it; clips are files such as 1-00.npy (clean) and 1-01.npy")
    return [_clip(folder, name, files[name], versions) for name in sorted(files, key=in_order)[: most or None]]


def _clip(folder: str | os.PathLike, name: str, files: Mapping[int, pathlib.Path], versions: int) -> Clip:
    if CLEAN not in files:
        raise errors.Invalid(f"{folder}: clip {name} has no clean version; it needs {name}-{CLEAN:02d}.npy")
    degraded = tuple(files[number] for number in sorted(files) if number != CLEAN)
    return Clip(name, files[CLEAN], degraded[: versions - 1] if versions else degraded)


def version_of(path: pathlib.Path) -> int:
    """Returns the number of the version that a file of `listed` holds."""
    match = NAME.fullmatch(path.name)
    return int(match["version"]) if match else CLEAN


def in_order(name: str) -> list[tuple[int, int | str]]:
    """Returns a key that sorts names as people do: numbers by value, the rest by letters."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def read(path: str | os.PathLike, *, dim: int = 0) -> np.ndarray:
    """Reads the fingerprints of a clip, float32 [n, D]. Raises nafp.errors.Invalid, naming the file, if it has none.

    dim: the D that is needed, 0 for any.
    """
    try:
        rows = plain_files.array(path)
    except FileNotFoundError:
        raise errors.NotFound(f"{path}: no such file of fingerprints") from None
    except (errors.Invalid, OSError) as error:
        raise errors.Invalid(f"{path}: no file of fingerprints: {error}") from None
    if rows.ndim != 2 or rows.dtype.kind != "f" or (dim and rows.shape[1] != dim):
        raise errors.Invalid(
            f"{path}: holds {rows.dtype} of shape {rows.shape}; need float32 [rows, {dim or 'dimensions'}]"
        )
    if not np.isfinite(rows).all():
        raise errors.Invalid(f"{path}: a fingerprint has NaN or infinity in it; make this clip anew")
    return np.ascontiguousarray(rows, np.float32)


def is_former(head: bytes) -> bool:
    """Returns whether the first bytes of a file are those of fingerprints [n, D] in float32."""
    return head.startswith(b"\x93NUMPY") and b"'<f4'" in head[:128] and bool(re.search(rb"\(\d+, \d+\)", head[:128]))


def write(path: str | os.PathLike, rows: np.ndarray) -> None:
    """Writes the fingerprints of a clip, float32 [n, D], whole or not at all."""
    with whole_files.opened(path, "wb") as file:
        np.save(file, np.asarray(rows, np.float32))


class Writer:
    """Adds clips to a folder, numbered from 1. A folder that was begun is continued.

    about: how the clips are made, JSON-able, with the identity of the network as `model`. places: where the clips that
    are in the folder were cut. Raises nafp.errors.AlreadyExists for a folder that holds other clips.
    """

    def __init__(self, folder: str | os.PathLike, about: Mapping[str, Any]):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        plain_files.require_plain(self.folder / TABLE)  # What is appended to a link would go into another file.
        whole_files.tidy(self.folder)
        self.places = places(self.folder)
        if not self.places and any(NAME.fullmatch(path.name) for path in self.folder.iterdir()):
            raise errors.AlreadyExists(f"{folder}: holds clips without {TABLE}; give another --out")
        self._begin(json.loads(json.dumps(about)))

    def _begin(self, about: dict[str, Any]) -> None:
        before = about_of(self.folder) if self.places else about
        changed = [key for key in {**before, **about} if before.get(key) != about.get(key)]
        if changed:
            raise errors.AlreadyExists(
                f"{self.folder}: holds clips made with another {' and '.join(changed)}; give another --out"
            )
        with whole_files.opened(self.folder / ABOUT) as file:
            file.write(json.dumps(about, indent=1) + "\n")

    def append(self, place: Place, versions: Sequence[np.ndarray]) -> None:
        """Writes a clip, the clean version first: each float32 [n, D]. It counts once its line is in the table."""
        number = len(self.places) + 1
        for version, rows in enumerate(versions):
            write(self.folder / f"{number}-{version:02d}.npy", rows)
        with (self.folder / TABLE).open("a", newline="", encoding="utf-8", errors=_ON_ERROR) as file:
            table = csv.writer(file, lineterminator="\n")
            if not self.places and not file.tell():
                table.writerow(COLUMNS)
            table.writerow((number, place.track, f"{place.start_s:g}"))
        self.places.append(place)


def about_of(folder: str | os.PathLike) -> dict[str, Any]:
    """Returns how the clips of a folder were made, {} if it does not say. Raises errors.Invalid for a damaged file."""
    path = pathlib.Path(folder) / ABOUT
    try:
        return plain_files.json_object(path) if path.exists() else {}
    except errors.Invalid as error:
        raise errors.Invalid(f"{error}; remove it to use the clips without it") from None


def places(folder: str | os.PathLike) -> list[Place]:
    """Reads where the clips of a folder were cut, [] if it does not say. A line that a kill left incomplete is cut off.

    Raises errors.Invalid, with the line, for a table that cannot be right.
    """
    path = pathlib.Path(folder) / TABLE
    if not path.exists():
        return []
    text = path.read_bytes().decode("utf-8", errors=_ON_ERROR)
    whole = text[: text.rfind("\n") + 1]
    if len(whole) < len(text):
        with whole_files.opened(path, encoding="utf-8", newline="", errors=_ON_ERROR) as file:
            file.write(whole)
    table = csv.DictReader(io.StringIO(whole, newline=""))
    if whole and tuple(table.fieldnames or ()) != COLUMNS:
        raise errors.Invalid(f"{path} needs the columns {', '.join(COLUMNS)}; it has {table.fieldnames}")
    try:
        return [Place(line["track"], float(line["start_s"])) for line in table]
    except (csv.Error, TypeError, ValueError) as error:
        raise errors.Invalid(f"{path}, line {table.line_num}: is damaged ({error})") from None
