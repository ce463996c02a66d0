"""Cuts fingerprints of recordings into files of one chunk each, as AMG-Embedding's `split_database` does."""

from __future__ import annotations

import os
import pathlib

from nafp import errors
from nafp.jobs import outputs
from nafp.sequences import chunks, clips, recordings


def split(source: str | os.PathLike, out: str | os.PathLike, *, seconds: float) -> tuple[int, int]:
    """Cuts every recording into chunks NAME_0.npy, NAME_1.npy ... in the folder `out`. The tail is dropped.

    source: a folder of .npy files, STORE/NAME, or CLIPS@CC. The files of a store's track are named after its number and
    the name of its file. seconds: the length of a chunk. Returns the number of recordings and of chunks. Raises
    nafp.errors.Invalid, before anything is written, for files that cannot be cut, or if no recording is as long as a
    chunk.
    """
    size = chunks.rows_of(seconds)
    if size < chunks.SHORTEST:
        raise errors.Invalid(f"--seconds={seconds:g}: chunks need 2 s or more")
    folder = pathlib.Path(out)
    if folder.resolve() == pathlib.Path(source).resolve():
        raise errors.Invalid(f"--out={out}: is the source itself; the chunks need a folder of their own")
    opened = recordings.opened(source, dim=0, chunk_rows=0)
    cuts = [chunks.cut(len(rows), size) for rows in opened.rows]
    if not any(cuts):
        raise errors.Invalid(f"{source}: none of its {len(cuts)} recordings has {size} rows ({seconds:g} s)")
    names = _file_names(opened.names)
    chunk_files = (
        folder / f"{name}_{number}.npy" for name, firsts in zip(names, cuts) for number in range(len(firsts))
    )
    for path in chunk_files:
        outputs.require(path, verb="nafp amg split", is_former=clips.is_former)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows, firsts in zip(names, opened.rows, cuts):
        for number, first in enumerate(firsts):
            clips.write(folder / f"{name}_{number}.npy", rows[first : first + size])
    return len(cuts), sum(map(len, cuts))


def _file_names(names: list[str]) -> list[str]:
    """Returns names for files, in the same order: a track's path becomes its number and its file's name."""
    if all(name == pathlib.Path(name).name for name in names):
        return names
    return [f"{number}-{pathlib.Path(name).stem}" for number, name in enumerate(names, 1)]
