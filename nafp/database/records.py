"""What the catalogue of a database holds: tracks, and the index files over their fingerprints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


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
