"""Keeps built indexes beside their stores: reused while the stores are unchanged, never after.

FILE.faiss is a plain faiss file. FILE.faiss.json holds the recipe it was built by and the checksum of its bytes,
and is written last.
"""

import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from nafp import errors
from nafp.jobs import plain_files, whole_files
from nafp.search import checked_index, collection, index, store

_SAMPLES = 64  # Blocks of a store's vectors that go into its digest, evenly spread.
_BLOCK = 4096  # Bytes.


def opened(
    rows: collection.Collection,
    chosen: index.Plan,
    folder: str | os.PathLike | None,
    *,
    train_on: collection.Collection | None = None,
) -> index.Index:
    """Loads the index of these rows if the folder has it. Otherwise builds it and keeps it there.

    Nothing is kept if `folder` is None, or the index is exact: that is no more than the store again. A folder that
    cannot be written is no error; about["not_kept"] of the index then says why.
    """
    if folder is None or not chosen.train_rows:
        return index.build(rows, chosen, train_on=train_on)
    wanted = recipe(rows, chosen, train_on)
    path = Path(folder) / f"{_stem(rows, chosen, wanted)}.faiss"
    note = path.with_name(path.name + ".json")
    if loaded := _loaded(path, note, wanted, rows, chosen):
        return loaded
    built = index.build(rows, chosen, train_on=train_on)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)  # The note of an older file must not vouch for this one.
        built.save(path)
        with whole_files.opened(note, encoding="utf-8") as file:
            written = {"recipe": wanted, "about": built.about, "crc": plain_files.size_and_checksum(path)[1]}
            file.write(json.dumps(written, indent=1) + "\n")
        built.about["file"] = str(path)
    except (OSError, errors.Unwritable) as error:
        built.about["not_kept"] = str(error)
    return built


def _loaded(
    path: Path, note: Path, wanted: dict[str, Any], rows: collection.Collection, chosen: index.Plan
) -> index.Index | None:
    """Loads an index that was kept. None if it is not there, is of another recipe, or is not what was written.

    Notes of earlier versions hold no checksum. Their indexes are built anew.
    """
    began, kept = time.perf_counter(), _read(note)
    crc, about = kept.get("crc"), kept.get("about")
    if kept.get("recipe") != wanted or not isinstance(crc, int) or not isinstance(about, dict):
        return None
    try:
        loaded = checked_index.opened(path, chosen, crc=crc, n_rows=len(rows), dim=rows.dim)
    except errors.Invalid:
        return None
    loaded.about.update(about, load_s=time.perf_counter() - began, file=str(path))
    return loaded


def recipe(rows: collection.Collection, chosen: index.Plan, train_on: collection.Collection | None) -> dict[str, Any]:
    """Returns everything that an index depends on. How it is searched is no part of it."""
    return {
        "factory": chosen.factory,
        "train_rows": chosen.train_rows,
        "rows": [digest(source) for source in rows.sources],
        "trained_on": [digest(source) for source in (train_on or rows).sources],
        **({"add_rows": list(chosen.add_rows)} if chosen.add_rows else {}),
        "faiss": index.VERSION,
    }


def digest(source: store.Store) -> str:
    """Returns a digest of a store's vectors by size, times of change, and blocks all over the file."""
    path = source.folder / f"{source.name}.mm"
    status = path.stat()
    sha256 = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}".encode())
    with open(path, "rb") as vectors:
        for place in np.linspace(0, max(0, status.st_size - _BLOCK), _SAMPLES).astype(int):
            vectors.seek(int(place))
            sha256.update(vectors.read(_BLOCK))
    return sha256.hexdigest()


def _stem(rows: collection.Collection, chosen: index.Plan, wanted: dict[str, Any]) -> str:
    """Returns the name of the file: stores, kind, and enough of the recipe to keep two apart."""
    names = "+".join(dict.fromkeys(source.name for source in rows.sources))
    places = [str(source.folder.resolve()) for source in rows.sources]
    recipe_and_places = json.dumps([places, wanted["factory"], wanted["train_rows"]])
    mark = hashlib.sha256(recipe_and_places.encode()).hexdigest()[:8]
    return re.sub(r"[^\w.+-]", "_", f"{names}.{chosen.factory}.{mark}")


def _read(note: Path) -> dict[str, Any]:
    """Reads a note. Returns {} if it cannot be read."""
    try:
        kept = json.loads(plain_files.contents(note).decode())
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}
