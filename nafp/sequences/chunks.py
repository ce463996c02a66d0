"""Cuts sequences of fingerprints into chunks: drawn ones to train on, consecutive ones to search in.

A row is one second of sound, and a row begins every half second, as everywhere in AMG-Embedding. So s seconds have
2 s - 1 rows.
"""

from __future__ import annotations

import os
import pathlib
from typing import NamedTuple

from nafp import errors
from nafp.jobs import choices
from nafp.sequences import clips

# The longest sequence of a network, in seconds -> the rows that sequences are padded to (AMG-Embedding's).
PADDED_ROWS = {5: 12, 10: 24, 15: 32, 30: 64}
SHORTEST = 3  # Rows, two seconds. AMG-Embedding embeds nothing shorter.


class Chunk(NamedTuple):
    """Rows first .. first + n_rows - 1 of a sequence. overlap: how many of them lie in its central window."""

    first: int
    n_rows: int
    overlap: int


def rows_of(seconds: float) -> int:
    """Returns the rows of so many seconds: 9 for 5 s, 59 for 30 s."""
    return int(2 * seconds - 1)


def padded_rows(seconds: int) -> int:
    """Returns the rows that sequences of at most `seconds` are padded to. Raises nafp.errors.Invalid if none is set."""
    choices.require("seconds", seconds, PADDED_ROWS)
    return PADDED_ROWS[seconds]


def window(n_rows: int, most: int) -> tuple[int, int]:
    """Returns the central window of a sequence: its first row and its rows, at most `most`."""
    return max((n_rows - most) // 2, 0), min(n_rows, most)


def drawn(n_rows: int, most: int, *, size: float, place: float) -> Chunk:
    """Draws a chunk to train on, which may leave the central window by half its length on either side.

    most: the rows of the window. size, place: two numbers drawn from [0, 1). The chunk has max(size^3 x window, 3)
    rows, so most are short. Raises nafp.errors.Invalid for a sequence of fewer than three rows.
    """
    if n_rows < SHORTEST:
        raise errors.Invalid(f"a clip of {n_rows} rows: at least {SHORTEST} are needed to cut a chunk from")
    begin, length = window(n_rows, most)
    n = max(int(size**3 * length), SHORTEST)
    lowest = max(0, begin - n // 2)
    highest = begin + length - n + (begin - lowest)
    first = lowest + int(place * (highest - lowest + 1))
    return Chunk(first, n, min(first + n, begin + length) - max(first, begin))


def cut(n_rows: int, size: int) -> list[int]:
    """Returns the first rows of the consecutive chunks of `size` rows. What is left at the end is dropped."""
    return [size * number for number in range(n_rows // size)]


def files(folder: str | os.PathLike) -> list[pathlib.Path]:
    """Lists the .npy files of a folder, 2 before 10. Raises nafp.errors.NotFound or nafp.errors.Invalid for none."""
    root = pathlib.Path(folder)
    if not root.is_dir():
        raise errors.NotFound(f"{folder}: no such folder of fingerprints")
    paths = sorted(root.glob("*.npy"), key=lambda path: clips.in_order(path.stem))
    if not paths:
        raise errors.Invalid(f"{folder}: no .npy file in it; each should hold the fingerprints of one recording")
    return paths
