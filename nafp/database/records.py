"""What the catalogue of a database holds: tracks, and the index files over their fingerprints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class DatabaseTrack(NamedTuple):
    """A track of a database.

    name: the path of its file when it was added. first_row, n_rows: its fingerprints in the log. crc: their checksum.
    digest: SHA-256 of its audio. damage: the decoder's remark on a file that gave less than its header promised.
    metadata: title, artist, or any other key.
    """

    id: int
    name: str
    seconds: float
    first_row: int
    n_rows: int
    crc: int = 0
    digest: str | None = None
    added: str = ""
    damage: str = ""
    metadata: Mapping[str, str] = {}

    @property
    def path(self) -> str:
        """The name: the path of the file when it was added."""
        return self.name


class Segment(NamedTuple):
    """An index file over rows first_row .. first_row + n_rows - 1 of the log, with its size and CRC-32."""

    id: int
    file: str
    first_row: int
    n_rows: int
    n_bytes: int
    crc: int


class Columns(NamedTuple):
    """The places of tracks: a name each, and arrays [T]. Those of a damaged catalogue have any type."""

    ids: np.ndarray
    names: tuple[str, ...]
    seconds: np.ndarray
    first_rows: np.ndarray
    n_rows: np.ndarray
    crcs: np.ndarray

    @classmethod
    def of(cls, places: Sequence[tuple]) -> Columns:
        """Turns places (id, name, seconds, first row, number of rows, CRC-32) into columns."""
        if not places:
            none = np.zeros(0, np.int64)
            return cls(none, (), np.zeros(0), none, none, none)
        ids, names, *rest = zip(*places)
        return cls(np.array(ids), names, *map(np.array, rest))

    def are_in_order(self) -> bool:
        """Returns whether tracks stand by first row, and by number where they have the same."""
        if self.first_rows.dtype != np.int64 or self.ids.dtype != np.int64:
            return False
        steps = np.diff(self.first_rows)
        return bool(((steps > 0) | ((steps == 0) & (np.diff(self.ids) > 0))).all())


def words(value: object) -> str:
    """Returns metadata as text that sqlite takes. Bytes of tags that are no text become question marks."""
    return str(value).encode(errors="replace").decode()
