"""Several stores end to end: one matrix [N, D] that stays on disk, and one table of tracks."""

import os
from collections.abc import Iterator, Sequence

import numpy as np

from nafp import errors
from nafp.search import rows, store

BLOCK_ROWS = 16_384  # 8 MiB at 128 dimensions: large for the disk, small for the memory.
CHECK_ROWS = 2_000_000  # Looked at before work starts; the rest is looked at when it is indexed.
UNIT_TOLERANCE = 1e-2  # bf16 fingerprints are off by 2e-3.


class Collection:
    """Rows of one or more stores, read in blocks or by number.

    parts: arrays float32 [n, D], memory-mapped or not. tracks: TrackRows with rows counted over
    all parts, or [] when borders are unknown.
    """

    def __init__(
        self,
        parts: Sequence[np.ndarray],
        tracks: Sequence[store.TrackRows] = (),
        *,
        hop_s: float = store.BARE_HOP_S,
        sources: Sequence[store.Store] = (),
    ):
        self.parts, self.sources, self.hop_s = list(parts), list(sources), hop_s
        self.edges = np.cumsum([0, *(len(part) for part in self.parts)])
        self._rows = [rows.of(part) for part in self.parts]
        self.dim = self.parts[0].shape[1]
        self.tracks = [track.track for track in tracks]
        self.first_rows = np.array([track.first_row for track in tracks], np.int64)
        self.end_rows = self.first_rows + np.array([track.n_rows for track in tracks], np.int64)

    @classmethod
    def of(cls, stores: Sequence[store.Store], *, rows_per_track: int = 0) -> "Collection":
        """Puts stores end to end, after checking that one model made them all.

        rows_per_track > 0 cuts bare stores, which have no table, into tracks of that many rows
        (59 for the original's clips of 30 s).
        """
        require_one_model(stores)
        tracks, first_row = [], 0
        for each in stores:
            table = each.tracks or _regular(each, rows_per_track)
            tracks.append([t._replace(first_row=t.first_row + first_row) for t in table])
            first_row += len(each)
        known = all(table or not len(each) for table, each in zip(tracks, stores))
        return cls(
            [each.vectors for each in stores],
            [track for table in tracks for track in table] if known else [],
            hop_s=stores[0].hop_s,
            sources=stores,
        )

    def __len__(self) -> int:
        return int(self.edges[-1])

    def track_of(self, rows: np.ndarray) -> np.ndarray:
        """Gives the position in `tracks` of each row; all 0 when borders are unknown."""
        if not self.tracks:
            return np.zeros(np.shape(rows), np.int64)
        return np.searchsorted(self.first_rows, rows, side="right") - 1

    def borders(self, tracks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gives first row and end row of tracks by position; 0 and N when borders are unknown."""
        if not self.tracks:
            return np.zeros_like(tracks), np.full_like(tracks, len(self))
        return self.first_rows[tracks], self.end_rows[tracks]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Copies rows start .. stop, float32 [n, D]."""
        out = np.empty((stop - start, self.dim), np.float32)
        for part, edge, end in zip(self._rows, self.edges, self.edges[1:]):
            a, b = max(start, edge), min(stop, end)
            if a < b:
                part.read(int(a - edge), out[a - start : b - start])
        return out

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (first row, rows) over everything, in constant memory."""
        for start in range(0, len(self), size):
            yield start, self.read(start, min(len(self), start + size))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Copies rows by number, float32 [..., D]; numbers outside 0 .. N are clipped into it."""
        return self.windows(np.ravel(rows), 1).reshape(*np.shape(rows), self.dim)

    def windows(self, starts: np.ndarray, n: int) -> np.ndarray:
        """Copies n rows from each start, float32 [C, n, D]; rows outside 0 .. N are clipped."""
        out = np.empty((len(starts), n, self.dim), np.float32)
        part_of = np.searchsorted(self.edges, starts, side="right") - 1
        part_of[(starts < 0) | (starts + n > self.edges[np.clip(part_of + 1, 0, len(self.parts))])] = -1
        for number in np.unique(part_of):
            here = np.flatnonzero(part_of == number)
            if number < 0:
                for place in here:  # Over the edge of a part: few.
                    out[place] = self._clipped(int(starts[place]), n)
                continue
            own = starts[here] - self.edges[number]
            if here[-1] - here[0] + 1 == len(here):  # Neighbours in `starts`: no second copy.
                self._rows[number].windows(own, out[here[0] : here[-1] + 1])
                continue
            at_once = max(1, BLOCK_ROWS // n)
            for first in range(0, len(here), at_once):
                some = slice(first, first + at_once)
                found = np.empty((len(here[some]), n, self.dim), np.float32)
                self._rows[number].windows(own[some], found)
                out[here[some]] = found
        return out

    def _clipped(self, start: int, n: int) -> np.ndarray:
        low, high = (min(max(0, edge), len(self)) for edge in (start, start + n))
        inside = self.read(low, high)
        places = np.clip(np.arange(start, start + n), 0, len(self) - 1)
        if low == high:
            return np.repeat(self.read(int(places[0]), int(places[0]) + 1), n, axis=0)
        return inside[places - low]

    def check(self) -> None:
        """Raises ValueError unless the rows looked at are finite and of unit length."""
        share = max(1, -(-len(self) // CHECK_ROWS))  # Every share-th block.
        for start in range(0, len(self), BLOCK_ROWS * share):
            block = self.read(start, min(len(self), start + BLOCK_ROWS))
            check_rows(block, where=self.place, at=start)

    def place(self, row: int) -> str:
        """Says in words where a row is: file, row in it, track."""
        number = int(np.searchsorted(self.edges, row, side="right")) - 1
        name = f"part {number}"
        if self.sources:
            source = self.sources[number]
            name = os.fspath(source.folder / f"{source.name}.mm")
        track = f" ({self.tracks[int(self.track_of(np.array(row)))]})" if self.tracks else ""
        return f"{name}, row {row - self.edges[number]}{track}"


def check_rows(rows: np.ndarray, *, where=str, at: int = 0) -> None:
    """Raises ValueError naming the first row that is not a fingerprint: finite, of length 1."""
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

    A bare store says nothing about itself but its dimension. hop=False: rows may be apart by
    different times, as those of a query store with several phases per hop are.
    """
    if not stores:
        raise errors.Invalid("no store was given")
    first = _identity(stores[0])
    for each in stores[1:]:
        other = _identity(each)
        differ = [key for key in first if key in other and first[key] != other[key]]
        for key in [key for key in differ if hop or key != "hop_s"]:
            raise errors.Invalid(
                f"{stores[0].folder}/{stores[0].name} and {each.folder}/{each.name} cannot be "
                f"mixed: {key} is {first[key]!r} in one and {other[key]!r} in the other; "
                "extract both with one checkpoint"
            )


def _identity(one: store.Store) -> dict[str, object]:
    """Gives what two stores must have in common to be searched together."""
    said = {key: one.meta[key] for key in ("segment_s", "sample_rate_hz", "hop_s") if key in one.meta}
    model = one.meta.get("model")
    if model:  # Where a checkpoint lay is no part of what it is.
        said["model"] = model.get("sha256", model) if isinstance(model, dict) else model
    config = one.meta.get("config")
    if isinstance(config, dict):
        said["spectrogram settings"] = config.get("spectrogram")
    return {"dim": one.dim, **said}


def _regular(bare: store.Store, rows_per_track: int) -> list[store.TrackRows]:
    """Cuts a bare store into tracks of equal length; the last may be shorter."""
    if not rows_per_track:
        return []
    starts = range(0, len(bare), rows_per_track)
    return [
        store.TrackRows(f"{bare.name}:{n}", start, min(rows_per_track, len(bare) - start), 0.0)
        for n, start in enumerate(starts)
    ]
