"""Presents several stores end to end: one matrix [N, D] that stays on disk, and one table of tracks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import nafp.config
from nafp import errors
from nafp.models import identities
from nafp.search import rows, store

if TYPE_CHECKING:
    from jaxtyping import Float32, Int, UInt8

BLOCK_ROWS = 16_384  # 8 MiB at 128 dimensions: large for the disk, small for the memory.
CHECK_ROWS = 2_000_000  # Rows that are looked at before work starts; the rest is looked at when it is indexed.
UNIT_TOLERANCE = 1e-2  # bf16 fingerprints are off by 2e-3.


class TrackTable(NamedTuple):
    """Tracks by column: names, and rows first_rows .. first_rows + n_rows - 1 of each, int64 [T]."""

    names: Sequence[str]
    first_rows: np.ndarray
    n_rows: np.ndarray

    @classmethod
    def of(cls, tracks: Sequence[store.TrackRows]) -> TrackTable:
        """Puts tracks into columns."""
        first_rows, n_rows = [track.first_row for track in tracks], [track.n_rows for track in tracks]
        return cls([track.track for track in tracks], np.array(first_rows, np.int64), np.array(n_rows, np.int64))


class Collection:
    """Rows of one or more stores, read in blocks or by number.

    parts: arrays float32 [n, D], memory-mapped or not. sources: the stores they are of. hop_s: seconds from one row to
    the next. dim: D. tracks: given as TrackRows or a TrackTable, counted over all parts, kept as names in the order of
    their rows; [] when the borders of tracks are unknown. first_rows, end_rows: int64, the rows of each track.
    peak_bytes: bytes of peaks beside each row, 0 where there are none (see `nafp.search.peaks`).
    """

    def __init__(
        self,
        parts: Sequence[np.ndarray],
        tracks: Sequence[store.TrackRows] | TrackTable = (),
        *,
        hop_s: float = store.BARE_HOP_S,
        sources: Sequence[store.Store] = (),
    ):
        self.parts, self.sources, self.hop_s = list(parts), list(sources), hop_s
        self.edges = np.cumsum([0, *(len(part) for part in self.parts)])
        self._readers = [rows.of(part) for part in self.parts]
        self.dim = self.parts[0].shape[1]
        table = tracks if isinstance(tracks, TrackTable) else TrackTable.of(tracks)
        self.tracks, self.first_rows = list(table.names), table.first_rows
        self.end_rows = self.first_rows + table.n_rows

    @classmethod
    def of(cls, stores: Sequence[store.Store], *, rows_per_track: int = 0) -> Collection:
        """Puts stores end to end. Raises ValueError unless one model made them all.

        rows_per_track: if above 0, bare stores, which have no table of tracks, are cut into tracks of that many rows
        (59 for the original's clips of 30 s).
        """
        require_one_model(stores)
        tables, first_row = [], 0
        for source in stores:
            table = source.tracks or _regular(source, rows_per_track)
            tables.append([track._replace(first_row=track.first_row + first_row) for track in table])
            first_row += len(source)
        are_known = all(table or not len(source) for table, source in zip(tables, stores))
        return cls(
            [source.vectors for source in stores],
            [track for table in tables for track in table] if are_known else [],
            hop_s=stores[0].hop_s,
            sources=stores,
        )

    peak_bytes: int = 0

    def __len__(self) -> int:
        return int(self.edges[-1])

    def track_of(self, rows: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
        """Returns the position in `tracks` of each row. All 0 when borders are unknown."""
        if not self.tracks:
            return np.zeros(np.shape(rows), np.int64)
        return np.asarray(np.searchsorted(self.first_rows, rows, side="right") - 1)

    def borders(self, tracks: Int[np.ndarray, "*shape"]) -> tuple[Int[np.ndarray, "*shape"], Int[np.ndarray, "*shape"]]:
        """Returns first rows and end rows of tracks by position. 0 and N when borders are unknown."""
        if not self.tracks:
            return np.zeros_like(tracks), np.full_like(tracks, len(self))
        return self.first_rows[tracks], self.end_rows[tracks]

    def is_whole(self, track: int) -> bool:
        """Returns whether the rows of a track, by position, are those written. True where no checksum is known."""
        return True

    def peaks(self, start: int, stop: int) -> UInt8[np.ndarray, "n P"]:
        """Copies the peaks of rows start .. stop, as `nafp.search.peaks` made them. P = 0 where there are none."""
        return np.zeros((stop - start, 0), np.uint8)

    def look_over(self, tracks: Int[np.ndarray, " T"]) -> None:
        """Looks for damage that could hide a track, before a clip is said to be in none. tracks: the likeliest ones."""

    def read(self, start: int, stop: int) -> Float32[np.ndarray, "n D"]:
        """Copies rows start .. stop."""
        out = np.empty((stop - start, self.dim), np.float32)
        for part, edge, end in zip(self._readers, self.edges, self.edges[1:]):
            first, last = max(start, edge), min(stop, end)
            if first < last:
                part.read(int(first - edge), out[first - start : last - start])
        return out

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (first row, rows [n, D]) over everything, in constant memory."""
        for start in range(0, len(self), size):
            yield start, self.read(start, min(len(self), start + size))

    def at_once(self, start: int, stop: int) -> Float32[np.ndarray, "n D"]:
        """Returns rows start .. stop. Nothing is copied if they are all the rows of one part."""
        for part, edge, end in zip(self.parts, self.edges, self.edges[1:]):
            if (edge, end) == (start, stop) and part.dtype == np.float32 and part.flags.c_contiguous:
                return part
        return self.read(start, stop)

    def take(self, rows: Int[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape D"]:
        """Copies rows by number. Numbers outside 0 .. N are clipped into it."""
        return self.windows(np.ravel(rows), 1).reshape(*np.shape(rows), self.dim)

    def windows(self, starts: Int[np.ndarray, " C"], n: int) -> Float32[np.ndarray, "C n D"]:
        """Copies n rows from each start on. Rows outside 0 .. N are clipped into it.

        Raises errors.Invalid if rows of an empty collection are asked for.
        """
        self._require_rows(starts)
        out = np.empty((len(starts), n, self.dim), np.float32)
        part_of = np.searchsorted(self.edges, starts, side="right") - 1
        part_of[(starts < 0) | (starts + n > self.edges[np.clip(part_of + 1, 0, len(self.parts))])] = -1
        for number in np.unique(part_of):
            own = np.flatnonzero(part_of == number)
            if number < 0:
                for place in own:  # Over the edge of a part: few.
                    out[place] = self._clipped(int(starts[place]), n)
            else:
                self._windows_of(int(number), starts, own, out)
        return out

    def _require_rows(self, starts: np.ndarray) -> None:
        if len(starts) and not len(self):
            raise errors.Invalid("rows were asked for of a collection that has none")

    def _windows_of(self, number: int, starts: np.ndarray, own: np.ndarray, out: np.ndarray) -> None:
        """Copies the windows `own`, all inside part `number`, into out [C, n, D]."""
        part, places = self._readers[number], starts[own] - self.edges[number]
        if own[-1] - own[0] + 1 == len(own):  # Consecutive in `starts`: no second copy.
            part.windows(places, out[own[0] : own[-1] + 1])
            return
        at_once = max(1, BLOCK_ROWS // out.shape[1])
        for first in range(0, len(own), at_once):
            block = slice(first, first + at_once)
            windows = np.empty((len(own[block]), *out.shape[1:]), np.float32)
            part.windows(places[block], windows)
            out[own[block]] = windows

    def _clipped(self, start: int, n: int) -> np.ndarray:
        """Copies rows start .. start + n, clipped into 0 .. N: float32 [n, D]."""
        low, high = (min(max(0, edge), len(self)) for edge in (start, start + n))
        inside = self.read(low, high)
        places = np.clip(np.arange(start, start + n), 0, len(self) - 1)
        if low == high:
            return np.repeat(self.read(int(places[0]), int(places[0]) + 1), n, axis=0)
        return inside[places - low]

    def check(self) -> None:
        """Raises ValueError unless the rows looked at, CHECK_ROWS at most, are finite and of unit length."""
        step = max(1, -(-len(self) // CHECK_ROWS))  # Every step-th block is looked at.
        for start in range(0, len(self), BLOCK_ROWS * step):
            block = self.read(start, min(len(self), start + BLOCK_ROWS))
            check_rows(block, where=self.place, at=start)

    def place(self, row: int) -> str:
        """Returns in words where a row is: file, row in it, track."""
        number = int(np.searchsorted(self.edges, row, side="right")) - 1
        name = f"part {number}"
        if self.sources:
            source = self.sources[number]
            name = os.fspath(source.folder / f"{source.name}.mm")
        track = f" ({self.tracks[int(self.track_of(np.array(row)))]})" if self.tracks else ""
        return f"{name}, row {row - self.edges[number]}{track}"


def check_rows(rows: Float32[np.ndarray, "n D"], *, where: Callable[[int], str] = str, at: int = 0) -> None:
    """Raises ValueError naming the first row that is no fingerprint: finite, of length 1.

    where: puts the number of a row into words. at: number of the first row.
    """
    squares = np.vecdot(rows, rows)
    wrong = np.flatnonzero(~(np.abs(squares - 1) <= 2 * UNIT_TOLERANCE))  # NaN is wrong, too.
    if not len(wrong):
        return
    length = float(np.sqrt(squares[wrong[0]]))
    what = f"has length {length:.3g}" if np.isfinite(length) else "has NaN or infinity in it"
    raise errors.Invalid(
        f"{where(at + int(wrong[0]))}: this vector {what}, and {len(wrong)} of the {len(rows)} rows "
        "around it are wrong, too; fingerprints are of length 1: extract this store again"
    )


def require_one_model(stores: Sequence[store.Store], *, hop: bool = True) -> None:
    """Raises ValueError unless one model with one configuration made all stores.

    A bare store says nothing about itself but its dimension. hop: whether the seconds between rows must be the same,
    too; those of a query store with several phases per hop are not.
    """
    if not stores:
        raise errors.Invalid("no store was given")
    first = _identity(stores[0])
    for source in stores[1:]:
        other = _identity(source)
        differ = [key for key in first if key in other and first[key] != other[key]]
        for key in [key for key in differ if hop or key != "hop_s"]:
            raise errors.Invalid(
                f"{stores[0].folder}/{stores[0].name} and {source.folder}/{source.name} cannot be "
                f"mixed: {key} is {first[key]!r} in one and {other[key]!r} in the other; "
                "extract both with one checkpoint"
            )


def _identity(source: store.Store) -> dict[str, object]:
    """Returns what two stores must have in common to be searched together."""
    identity: dict[str, object] = {"dim": source.dim}
    identity |= {key: source.meta[key] for key in ("segment_s", "sample_rate_hz", "hop_s") if key in source.meta}
    model = source.meta.get("model")
    if model:  # Where a checkpoint lay is no part of what it is.
        identity["model"] = identities.digest(model)
    config = source.meta.get("config")
    if isinstance(config, dict):
        identity["spectrogram settings"] = _with_later_settings(config.get("spectrogram"))
    return identity


def _with_later_settings(spectrogram: object) -> object:
    """Completes the settings that an older version wrote, which knew fewer, with the values that it worked by."""
    return (
        {**nafp.config.default().spectrogram.to_dict(), **spectrogram} if isinstance(spectrogram, dict) else spectrogram
    )


def _regular(bare: store.Store, rows_per_track: int) -> list[store.TrackRows]:
    """Cuts a bare store into tracks of equal length. The last may be shorter."""
    if not rows_per_track:
        return []
    starts = range(0, len(bare), rows_per_track)
    return [
        store.TrackRows(f"{bare.name}:{n}", start, min(rows_per_track, len(bare) - start), 0.0)
        for n, start in enumerate(starts)
    ]
