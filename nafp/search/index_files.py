"""Keeps built indexes beside their stores: reused while the stores are unchanged, never after.

FILE.faiss is a plain faiss file; FILE.faiss.json says what it was built from, and is written last.
"""

import hashlib
import json
import os
import re
import time
from pathlib import Path

import numpy as np

from nafp.search import collection, index, store

_SAMPLES = 64  # Blocks of a store's vectors that go into its digest, evenly spread.
_BLOCK = 4096  # Bytes.


def opened(
    rows: collection.Collection,
    chosen: index.Plan,
    folder: str | os.PathLike | None,
    *,
    train_on: collection.Collection | None = None,
) -> index.Index:
    """Loads the index of these rows if the folder has it, else builds and keeps it.

    folder=None, or an exact index, which is no more than the store again: nothing is kept. A
    folder that cannot be written is no error.
    """
    if folder is None or not chosen.train_rows:
        return index.build(rows, chosen, train_on=train_on)
    wanted = recipe(rows, chosen, train_on)
    path = Path(folder) / f"{_stem(rows, chosen, wanted)}.faiss"
    note = path.with_name(path.name + ".json")
    if path.exists() and note.exists() and _said(note).get("recipe") == wanted:
        began = time.perf_counter()
        found = index.Index.load(path, chosen)
        found.about.update(_said(note)["about"], load_s=time.perf_counter() - began, file=str(path))
        return found
    built = index.build(rows, chosen, train_on=train_on)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)  # The note of an older file must not vouch for this one.
        built.save(path)
        _write(note, {"recipe": wanted, "about": built.about})
        built.about["file"] = str(path)
    except OSError as error:
        built.about["not_kept"] = str(error)
    return built


def recipe(rows: collection.Collection, chosen: index.Plan, train_on: collection.Collection | None) -> dict:
    """Gives everything an index depends on; how it is searched is no part of it."""
    return {
        "factory": chosen.factory,
        "train_rows": chosen.train_rows,
        "rows": [digest(each) for each in rows.sources],
        "trained_on": [digest(each) for each in (train_on or rows).sources],
        "faiss": index.VERSION,
    }


def digest(one: store.Store) -> str:
    """Identifies the content of a store by size, times of change, and blocks all over it."""
    path = one.folder / f"{one.name}.mm"
    there = path.stat()
    found = hashlib.sha256(f"{there.st_size} {there.st_mtime_ns} {there.st_ctime_ns}".encode())
    with open(path, "rb") as vectors:
        for place in np.linspace(0, max(0, there.st_size - _BLOCK), _SAMPLES).astype(int):
            vectors.seek(int(place))
            found.update(vectors.read(_BLOCK))
    return found.hexdigest()


def _stem(rows: collection.Collection, chosen: index.Plan, wanted: dict) -> str:
    """Names the file: stores, kind, and enough of the recipe to keep two apart."""
    names = "+".join(dict.fromkeys(each.name for each in rows.sources))
    places = [str(each.folder.resolve()) for each in rows.sources]
    recipe_and_places = json.dumps([places, wanted["factory"], wanted["train_rows"]])
    mark = hashlib.sha256(recipe_and_places.encode()).hexdigest()[:8]
    return re.sub(r"[^\w.+-]", "_", f"{names}.{chosen.factory}.{mark}")


def _said(note: Path) -> dict:
    try:
        return json.loads(note.read_text())
    except (OSError, json.JSONDecodeError):
        return {}


def _write(path: Path, said: dict) -> None:
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(json.dumps(said, indent=1) + "\n")
    os.replace(partial, path)
