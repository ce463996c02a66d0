"""Collections of many mixtures of real fingerprints, and how well clips are found in them. `distractors` runs it."""

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np

from nafp.jobs import whole_files
from nafp.search import collection, index, match, plans, store

LENGTHS = (1, 3)  # Seconds, and as many whole fingerprints.
UNDONE = ("speed+4", "speed-4", "pitch+1")  # Conditions that need speeds undone. The mean at 3 s leaves them out.
BLOCK_ROWS = 2**18
SHARES = np.float32(0.8), np.float32(0.6)
SHORTEST = np.float32(np.sqrt(1 - 2 * 0.48 * 0.45))  # Mixture of two rows whose cosine is -0.45.
QUERIES, COPIES = 64, 16  # That are searched together.


class Clip(NamedTuple):
    """A query: its rows float32 [5, D], a quarter of a second apart, and what is right."""

    rows: np.ndarray
    answer: str
    time_s: float
    condition: str


class Mixed(collection.Collection):
    """Real rows, then mixtures of them, which are computed as they are read.

    shifts: of each copy, how far b lies behind a.
    """

    def __init__(self, real: collection.Collection, shifts: np.ndarray, n_rows: int):
        self.real, self.shifts, self.n_real = real.read(0, len(real)), shifts, len(real)
        names, firsts, counts = [], [], []
        for copy in range(-(-n_rows // self.n_real)):
            names += [f"mix{copy} {name}" for name in real.tracks] if copy else list(real.tracks)
            firsts.append(real.first_rows + copy * self.n_real)
            counts.append(np.minimum(real.end_rows - real.first_rows, np.maximum(0, n_rows - firsts[-1])))
        first_rows, rows_of = np.concatenate(firsts), np.concatenate(counts)
        kept = rows_of > 0
        table = collection.TrackTable(
            [n for n, is_kept in zip(names, kept) if is_kept], first_rows[kept], rows_of[kept]
        )
        nothing = np.broadcast_to(np.float32(0), (n_rows, real.dim))
        super().__init__([nothing], table, hop_s=real.hop_s)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Computes rows start .. stop."""
        return self._at(np.arange(start, stop))

    def windows(self, starts: np.ndarray, n: int) -> np.ndarray:
        """Computes n rows from each start on."""
        return self._at(np.clip(np.asarray(starts)[:, None] + np.arange(n), 0, len(self) - 1))

    def _at(self, rows: np.ndarray) -> np.ndarray:
        copy, place = np.divmod(rows, self.n_real)
        out = self.real[place]
        of_mixtures = copy > 0
        other = (place[of_mixtures] + self.shifts[copy[of_mixtures] - 1]) % self.n_real
        out[of_mixtures] = mixed(out[of_mixtures], self.real[other])
        return out

    def blocks_from(self, start: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (first row, rows) from `start` on. A block lies within one copy."""
        while start < len(self):
            copy, place = divmod(start, self.n_real)
            stop = min(start + BLOCK_ROWS, len(self), (copy + 1) * self.n_real)
            block = self.real[place : place + stop - start]
            if copy:
                other = np.take(self.real, np.arange(place, place + len(block)) + self.shifts[copy - 1], 0, mode="wrap")
                block = mixed(block, other)
            yield start, block
            start = stop


def mixed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mixes rows [n, D] with others, which it overwrites."""
    other *= SHARES[1]
    other += SHARES[0] * one
    other /= np.sqrt(np.vecdot(other, other))[:, None]
    return other


class Nearest:
    """The nearest rows of each query row so far.

    n_asked: rows that are still asked for of each clip: all, the first, or none. lines: the sizes that are done.
    n_seen: rows that were looked at, int64 [Q]. cosines, rows: [Q, K], in no order.
    """

    def __init__(self, clips: list[Clip], file: str | None):
        self._file = Path(file) if file else None
        self.n_asked = np.array([len(clip.rows) for clip in clips])
        self.lines: list[dict[str, Any]] = []
        self.n_seen, self.cpu_s = np.zeros(self.n_asked.sum(), np.int64), 0.0
        self.cosines = np.full((self.n_asked.sum(), plans.K), -np.inf, np.float32)
        self.rows = np.full(self.cosines.shape, -1, np.int64)
        if self._file and self._file.exists():
            with np.load(self._file) as kept:
                self.n_seen, self.cpu_s = kept["n_seen"], float(kept["cpu_s"])
                self.lines, self.n_asked = json.loads(str(kept["lines"])), kept["n_asked"]
                self.cosines, self.rows = kept["cosines"], kept["rows"]

    def add(self, asked: np.ndarray, cosines: np.ndarray, rows: np.ndarray) -> None:
        """Takes the nearest rows of one block, for the query rows with the numbers `asked`."""
        cosines, rows = np.hstack([self.cosines[asked], cosines]), np.hstack([self.rows[asked], rows])
        best = np.argpartition(-cosines, plans.K - 1, axis=1)[:, : plans.K]
        self.cosines[asked] = np.take_along_axis(cosines, best, axis=1)
        self.rows[asked] = np.take_along_axis(rows, best, axis=1)

    def save(self) -> None:
        """Writes what was found, if there is a file for it."""
        if not self._file:
            return
        with whole_files.opened(self._file, "wb") as file:
            np.savez(
                file,
                lines=json.dumps(self.lines),
                n_asked=self.n_asked,
                n_seen=self.n_seen,
                cpu_s=self.cpu_s,
                cosines=self.cosines,
                rows=self.rows,
            )


def joined(one: collection.Collection, other: collection.Collection) -> collection.Collection:
    """Puts the rows of two collections end to end."""
    names = [*one.tracks, *(f"changed {name}" for name in other.tracks)]
    firsts = np.concatenate([one.first_rows, other.first_rows + len(one)])
    ends = np.concatenate([one.end_rows, other.end_rows + len(one)])
    table = collection.TrackTable(names, firsts, ends - firsts)
    return collection.Collection([*one.parts, *other.parts], table, hop_s=one.hop_s)


def read_clips(folder: str, truth: str, *, step: int) -> list[Clip]:
    """Reads the clips of every step-th place, as `nafp identify` asks for them: four rows a second."""
    with open(truth, newline="") as text:
        wanted = {line["query"]: line for line in csv.DictReader(text)}
    queries = store.Store.open(folder, "query")
    named = [(Path(track.track).name, track) for track in queries.tracks]
    places = set(sorted({name.split("_")[0] for name, _ in named})[::step])
    clips = []
    for name, track in named:
        if name.split("_")[0] in places:
            rows = np.asarray(queries.vectors[track.first_row : track.first_row + track.n_rows : 2], np.float32)
            line = wanted[name]
            clips.append(Clip(rows, Path(line["answer"]).name, float(line["time"]), line["condition"]))
    return clips


def measured(
    real: collection.Collection,
    shifts: np.ndarray,
    sizes: list[int],
    clips: list[Clip],
    *,
    coded: bool,
    work: str | None,
) -> Iterator[dict[str, Any]]:
    """Yields the hit rates at each size, ascending.

    shifts: as `Mixed` has them. coded: whether codes are searched. work: a file for what is found, to go on from.
    """
    codes = codebook(Mixed(real, shifts, sizes[-1])) if coded else None
    rows = np.concatenate([clip.rows for clip in clips])
    edges = np.cumsum([0, *(len(clip.rows) for clip in clips)])
    near = Nearest(clips, work)
    yield from near.lines
    for size in sizes[len(near.lines) :]:
        part = Mixed(real, shifts, size)
        asked = np.concatenate([np.arange(first, first + n) for first, n in zip(edges, near.n_asked)])
        if codes is not None:
            look_coded(part, codes, rows, asked, near)
        else:
            look_exactly(part, rows, asked, near)
        of_clip = [near.rows[first : first + n] for first, n in zip(edges, near.n_asked)]
        is_hit = np.array([hits(clip, found, part) for clip, found in zip(clips, of_clip)])
        near.n_asked = np.where(is_hit[:, 1], near.n_asked, np.minimum(near.n_asked, is_hit[:, 0]))
        cpu_s = round(near.cpu_s, 1)
        near.lines.append({"rows": size, "hits": rates(clips, is_hit), "rows_asked": len(asked), "cpu_s": cpu_s})
        near.save()
        yield near.lines[-1]


def codebook(rows: Mixed) -> faiss.IndexPQFastScan:
    """Returns an empty index that has learned from a sample of all rows."""
    sample = np.sort(np.random.default_rng(plans.SEED).integers(0, len(rows), 65_536))
    empty = faiss.IndexPQFastScan(rows.dim, rows.dim // 2, 4)
    empty.train(rows.take(sample))
    return empty


def look_coded(
    part: Mixed, coded: faiss.IndexPQFastScan, queries: np.ndarray, asked: np.ndarray, near: Nearest
) -> None:
    """Searches the codes of the rows of `part` that were not searched yet."""
    plan, saved_s = plans.plan("PQ64x4fs", n_rows=len(part), dim=part.dim), time.monotonic()
    for start, block in part.blocks_from(int(near.n_seen[asked].min(initial=len(part)))):
        began = time.process_time()
        coded.reset()
        coded.add(block)
        cosines, rows = index.Index(coded, plan).search(queries[asked], min(plans.K, len(block)))
        near.add(asked, cosines, np.where(rows >= 0, rows + start, -1))
        near.n_seen[asked], near.cpu_s = start + len(block), near.cpu_s + time.process_time() - began
        if time.monotonic() - saved_s > 20:
            near.save()
            saved_s = time.monotonic()


def look_exactly(part: Mixed, queries: np.ndarray, asked: np.ndarray, near: Nearest) -> None:
    """Searches the rows of `part` that were not searched yet, a few queries at a time."""
    asked = asked[near.n_seen[asked] < len(part)]
    if not len(asked):
        return
    began, n_seen = time.process_time(), int(near.n_seen[asked[0]])
    copies = range(max(1, n_seen // part.n_real), -(-len(part) // part.n_real))
    lengths = np.array([mixture_lengths(part.real, int(part.shifts[copy - 1])) for copy in copies])
    for block in np.array_split(asked, -(-len(asked) // QUERIES)):
        for number, to_real in zip(block, queries[block] @ part.real.T):
            if n_seen < part.n_real:
                fresh = np.arange(n_seen, min(part.n_real, len(part)))
                keep(near, number, to_real[fresh], fresh)
            for first in range(0, len(copies), COPIES):
                some = slice(first, first + COPIES)
                search_copies(part, to_real, number, np.array(copies[some]), lengths[some], near, n_seen)
            near.n_seen[number] = len(part)
        near.cpu_s, began = near.cpu_s + time.process_time() - began, time.process_time()
        near.save()


def mixture_lengths(real: np.ndarray, shift: int) -> np.ndarray:
    """Returns the lengths [n] of the mixtures of one copy before they are brought to 1."""
    cosines = np.concatenate([np.vecdot(real[:-shift], real[shift:]), np.vecdot(real[-shift:], real[:shift])])
    return np.sqrt(SHARES[0] ** 2 + SHARES[1] ** 2 + 2 * SHARES[0] * SHARES[1] * cosines)


def search_copies(
    part: Mixed,
    to_real: np.ndarray,
    number: int,
    copies: np.ndarray,
    lengths: np.ndarray,
    near: Nearest,
    n_seen: int,
) -> None:
    """Searches a few copies for one query row. to_real: its cosines to the real rows. number: of the query row.

    A mixture is nearer than the worst of the nearest only if the cosine to one of its two is `bound` or more.
    """
    worst, n = near.cosines[number].min(), part.n_real
    bound = worst * SHORTEST / sum(SHARES)
    twice = np.concatenate([to_real, to_real])  # So that no place runs over the end.
    likely = np.flatnonzero(to_real >= bound)
    shifts = part.shifts[copies - 1][:, None]
    as_a = SHARES[0] * to_real[likely] + SHARES[1] * twice[likely + shifts]
    at_a = likely + 0 * shifts
    at_b = likely - shifts + n
    a_of_b = twice[at_b]
    as_b = np.where(
        a_of_b < bound, SHARES[0] * a_of_b + SHARES[1] * to_real[likely], -np.inf
    )  # The others are in as_a.
    for values, places in ((as_a, at_a), (as_b, at_b)):
        which, column = np.nonzero(values >= worst * SHORTEST)
        place = places[which, column] % n
        cosines = values[which, column] / lengths[which, place]
        rows = copies[which] * n + place
        is_better = (cosines > worst) & (rows >= n_seen) & (rows < len(part))
        keep(near, number, cosines[is_better], rows[is_better])


def keep(near: Nearest, number: int, cosines: np.ndarray, rows: np.ndarray) -> None:
    """Keeps the nearest rows of one query row."""
    near.add(np.array([number]), cosines[None], rows[None])


def hits(clip: Clip, near: np.ndarray, rows: collection.Collection) -> tuple[bool, bool]:
    """Returns whether a clip is found at each of LENGTHS, within half a second. near: of the rows that were asked."""
    found = [False, False]
    if not len(near):
        return False, False
    n_lengths = len(LENGTHS) if len(near) == len(clip.rows) else 1
    rankings = match.rank(clip.rows[: len(near)], near, rows, lengths=LENGTHS[:n_lengths], between=True)
    for number, ranking in enumerate(rankings):
        if len(ranking.tracks):
            track = ranking.tracks[0]
            start_s = (ranking.starts[0] - rows.first_rows[track]) * rows.hop_s
            is_there = abs(start_s - clip.time_s) <= 0.5
            found[number] = Path(rows.tracks[track]).name == clip.answer and bool(is_there)
    return found[0], found[1]


def rates(clips: list[Clip], is_hit: np.ndarray) -> dict[str, float]:
    """Returns the rates of clips found, in percent: 1 s of all conditions, 3 s of those that need no other speed."""
    is_own = np.array([clip.condition not in UNDONE for clip in clips])
    return {"1": round(100 * float(is_hit[:, 0].mean()), 2), "3": round(100 * float(is_hit[is_own, 1].mean()), 2)}


def fall(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Fits a line over the logarithm of the number of rows. Returns points lost for each factor of ten."""
    if len(lines) < 2:
        return {}
    tens = np.log10([line["rows"] for line in lines])
    return {key: round(-float(np.polyfit(tens, [line["hits"][key] for line in lines], 1)[0]), 3) for key in ("1", "3")}
