"""How well a long recording was monitored: seconds, stretches, their borders, places and speeds.

A second that the truth gives to a track and the report to the same one counts as right; one that
only the report has is a false one, one that only the truth has is missed. Where tracks overlap, a
second counts for each of them. Reported stretches of one track in one recording are merged where
they overlap. Times are in seconds, read from files as `evaluation.queries.mixes` and `nafp monitor
--format=csv` (or json) write them.
"""

import csv
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

HALF = 0.5  # Of a stretch must be common with another for the two to belong together.


class Stretch(NamedTuple):
    """A track played in a recording; track_start_s is NaN and speed 1 where they are unknown."""

    recording: str
    track: str
    start_s: float
    end_s: float
    track_start_s: float = float("nan")
    speed: float = 1.0


class Seconds(NamedTuple):
    """Sums that merge by adding."""

    right: float
    reported: float
    true: float

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(*(a + b for a, b in zip(self, other)))

    @property
    def precision(self) -> float:
        return self.right / self.reported if self.reported else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        total = self.reported + self.true
        return 2 * self.right / total if total else 1.0


class Pairs(NamedTuple):
    """Stretches that belong together, and how far apart they are.

    true, reported: how many there were; found: true ones with a partner; partners: reported ones with
    one. Errors are float64 [found], reported less true: start, end, place (of the track at the same
    moment) in seconds; speed in percent.
    """

    true: int
    reported: int
    found: int
    partners: int
    start_s: np.ndarray
    end_s: np.ndarray
    place_s: np.ndarray
    speed: np.ndarray

    def __add__(self, other: "Pairs") -> "Pairs":
        sums = [a + b for a, b in zip(self[:4], other[:4])]
        return Pairs(*sums, *(np.concatenate(each) for each in zip(self[4:], other[4:])))


def seconds(true: Sequence[Stretch], reported: Sequence[Stretch]) -> Seconds:
    """Compares two lists by the second."""
    of_true, of_reported = _by_track(true), _by_track(reported)
    right = sum(_common(of_true[key], of_reported[key]) for key in of_true.keys() & of_reported.keys())
    return Seconds(right, _length(of_reported), _length(of_true))


def pairs(true: Sequence[Stretch], reported: Sequence[Stretch]) -> Pairs:
    """Looks for each stretch of one list in the other.

    A true one is found when half of it was reported, in one piece or in several; a reported one is
    right when half of it is true. Errors are those of the piece that shares most.
    """
    errors, partners, found = [], set(), 0
    for each in true:
        shares = {
            i: _shared(each, other)
            for i, other in enumerate(reported)
            if (other.recording, other.track) == (each.recording, each.track)
        }
        shares = {i: shared for i, shared in shares.items() if shared > 0}
        partners |= {i for i, shared in shares.items() if shared >= HALF * _own(reported[i])}
        if sum(shares.values()) >= HALF * _own(each):
            found += 1
            errors.append(_errors(each, reported[max(shares, key=lambda i: shares[i])]))
    columns = np.array(errors, np.float64).reshape(-1, 4).T
    return Pairs(len(true), len(reported), found, len(partners), *columns)


def read(path: str | os.PathLike, *, is_known: bool | None = None) -> list[Stretch]:
    """Reads truth.csv, or a report in CSV or JSON lines; what is unknown there is left out.

    is_known: of a truth, only what is in the database, or only what is not; None for all.
    """
    with open(path, encoding="utf-8", newline="") as file:
        is_json = file.read(1) == "{"
        file.seek(0)
        rows: Iterable[dict] = map(json.loads, file) if is_json else csv.DictReader(file)
        rows = [row for row in rows if row.get("track")]
    if is_known is not None:
        rows = [row for row in rows if bool(int(row.get("known") or 1)) == is_known]
    return [_stretch(row) for row in rows]


def split(stretches: Iterable[Stretch], key: Callable[[Stretch], str]) -> dict[str, list[Stretch]]:
    """Sorts stretches by what the key says of each."""
    found: dict[str, list[Stretch]] = defaultdict(list)
    for each in stretches:
        found[key(each)].append(each)
    return found


def summary(true: Sequence[Stretch], reported: Sequence[Stretch]) -> dict[str, float | int]:
    """Puts everything into one flat record, for tables and JSON."""
    by_second, by_stretch = seconds(true, reported), pairs(true, reported)
    record: dict[str, float | int] = {
        "true_s": round(by_second.true, 1),
        "reported_s": round(by_second.reported, 1),
        "right_s": round(by_second.right, 1),
        "precision": round(by_second.precision, 4),
        "recall": round(by_second.recall, 4),
        "f1": round(by_second.f1, 4),
        "true_stretches": by_stretch.true,
        "found_stretches": by_stretch.found,
        "reported_stretches": by_stretch.reported,
        "right_stretches": by_stretch.partners,
    }
    for name in ("start_s", "end_s", "place_s", "speed"):
        errors = np.abs(getattr(by_stretch, name))
        errors = errors[np.isfinite(errors)]
        for share in (50, 90) if len(errors) else ():
            record[f"{name}_error_p{share}"] = round(float(np.percentile(errors, share)), 3)
    return record


def _stretch(row: dict) -> Stretch:
    recording = row.get("mix") or row.get("recording") or row.get("query") or ""
    place = row.get("track_start_s")
    return Stretch(
        os.path.basename(recording),
        row["track"],
        float(row["start_s"]),
        float(row["end_s"]),
        float("nan") if place in (None, "") else float(place),
        float(row.get("speed") or 1.0),
    )


def _by_track(stretches: Sequence[Stretch]) -> dict[tuple[str, str], np.ndarray]:
    """Merges overlapping stretches: (recording, track) -> [n, 2], disjoint, ascending."""
    found = defaultdict(list)
    for each in stretches:
        found[each.recording, each.track].append((each.start_s, each.end_s))
    return {key: _merged(np.array(sorted(spans))) for key, spans in found.items()}


def _merged(spans: np.ndarray) -> np.ndarray:
    kept = [spans[0].tolist()]
    for start, end in spans[1:].tolist():
        if start <= kept[-1][1]:
            kept[-1][1] = max(kept[-1][1], end)
        else:
            kept.append([start, end])
    return np.array(kept)


def _common(one: np.ndarray, other: np.ndarray) -> float:
    ends = np.minimum(one[:, None, 1], other[None, :, 1])
    starts = np.maximum(one[:, None, 0], other[None, :, 0])
    return float(np.maximum(ends - starts, 0).sum())


def _length(tracks: dict[tuple[str, str], np.ndarray]) -> float:
    return float(sum((spans[:, 1] - spans[:, 0]).sum() for spans in tracks.values()))


def _shared(one: Stretch, other: Stretch) -> float:
    return min(one.end_s, other.end_s) - max(one.start_s, other.start_s)


def _own(one: Stretch) -> float:
    return one.end_s - one.start_s


def _errors(true: Stretch, reported: Stretch) -> tuple[float, float, float, float]:
    """Gives the errors of one pair; the place at the middle of what they share."""
    at = (max(true.start_s, reported.start_s) + min(true.end_s, reported.end_s)) / 2
    places = [each.track_start_s + (at - each.start_s) * each.speed for each in (reported, true)]
    return (
        reported.start_s - true.start_s,
        reported.end_s - true.end_s,
        places[0] - places[1],
        100 * (reported.speed - true.speed),
    )
