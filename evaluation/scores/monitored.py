"""Scores the monitoring of long recordings: seconds, stretches, their borders, places and speeds.

A second counts as right if the truth and the report give it to the same track. It is false if only the report has it,
and missed if only the truth has it. Where tracks overlap, a second counts for each of them. Reported stretches of one
track in one recording are merged if they overlap. Times are in seconds. They are read from files as
`evaluation.queries.mixes` and `nafp monitor --format=csv` (or json) write them.
"""

import csv
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

HALF = 0.5  # Share of a stretch that must overlap with another one for the two to belong together.


class PlayedStretch(NamedTuple):
    """A track that plays in a recording. If they are unknown, track_start_s is NaN and speed 1."""

    recording: str
    track: str
    start_s: float
    end_s: float
    track_start_s: float = float("nan")
    speed: float = 1.0


class Seconds(NamedTuple):
    """Seconds that are right, reported and true. Sums merge by adding."""

    right: float
    reported: float
    true: float

    def __add__(self, other: "Seconds") -> "Seconds":  # type: ignore[override]  # A tuple's joins.
        return Seconds(*(a + b for a, b in zip(self, other)))

    @property
    def precision(self) -> float:
        """Share of the reported seconds that is right."""
        return self.right / self.reported if self.reported else 1.0

    @property
    def recall(self) -> float:
        """Share of the true seconds that was reported."""
        return self.right / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.reported + self.true
        return 2 * self.right / total if total else 1.0


class PairedStretches(NamedTuple):
    """Stretches that belong together, and their errors. Sums merge by adding.

    true, reported: numbers of stretches. found: number of true ones with a partner. partners: number of reported ones
    with a partner. start_s, end_s, place_s, speed: float64 [found], errors (reported less true) of the start, the end
    and the place in the track at the same moment, in seconds, and of the speed, in percent.
    """

    true: int
    reported: int
    found: int
    partners: int
    start_s: np.ndarray
    end_s: np.ndarray
    place_s: np.ndarray
    speed: np.ndarray

    def __add__(self, other: "PairedStretches") -> "PairedStretches":  # type: ignore[override]  # Likewise.
        return PairedStretches(
            self.true + other.true,
            self.reported + other.reported,
            self.found + other.found,
            self.partners + other.partners,
            *(np.concatenate(columns) for columns in zip(self[4:], other[4:])),
        )


def seconds(true: Sequence[PlayedStretch], reported: Sequence[PlayedStretch]) -> Seconds:
    """Compares true and reported stretches second by second."""
    true_spans, reported_spans = _by_track(true), _by_track(reported)
    right = sum(_common(true_spans[key], reported_spans[key]) for key in true_spans.keys() & reported_spans.keys())
    return Seconds(right, _length(reported_spans), _length(true_spans))


def pairs(true: Sequence[PlayedStretch], reported: Sequence[PlayedStretch]) -> PairedStretches:
    """Pairs true stretches with reported ones.

    A true stretch is found if half of it was reported, in one piece or in several. A reported one is right if half of
    it is true. Errors are those of the piece that overlaps most.
    """
    errors: list[tuple[float, float, float, float]] = []
    partners: set[int] = set()
    for stretch in true:
        overlaps = {
            i: _overlap_s(stretch, other)
            for i, other in enumerate(reported)
            if (other.recording, other.track) == (stretch.recording, stretch.track)
        }
        overlaps = {i: overlap_s for i, overlap_s in overlaps.items() if overlap_s > 0}
        partners |= {i for i, overlap_s in overlaps.items() if overlap_s >= HALF * _seconds(reported[i])}
        if sum(overlaps.values()) >= HALF * _seconds(stretch):
            errors.append(_errors(stretch, reported[max(overlaps, key=lambda i: overlaps[i])]))
    columns = np.array(errors, np.float64).reshape(-1, 4).T
    return PairedStretches(len(true), len(reported), len(errors), len(partners), *columns)


def read(path: str | os.PathLike, *, is_known: bool | None = None) -> list[PlayedStretch]:
    """Reads the stretches of truth.csv, or of a report in CSV or JSON lines. Lines without a track are left out.

    is_known: True takes only tracks of the database from a truth, False only the others, None all.
    """
    with open(path, encoding="utf-8", newline="") as file:
        is_json = file.read(1) == "{"
        file.seek(0)
        rows: Iterable[dict] = map(json.loads, file) if is_json else csv.DictReader(file)
        rows = [row for row in rows if row.get("track")]
    if is_known is not None:
        rows = [row for row in rows if bool(int(row.get("known") or 1)) == is_known]
    return [_stretch(row) for row in rows]


def split(stretches: Iterable[PlayedStretch], key: Callable[[PlayedStretch], str]) -> dict[str, list[PlayedStretch]]:
    """Groups stretches by their key."""
    groups: dict[str, list[PlayedStretch]] = defaultdict(list)
    for stretch in stretches:
        groups[key(stretch)].append(stretch)
    return groups


def summary(true: Sequence[PlayedStretch], reported: Sequence[PlayedStretch]) -> dict[str, float | int]:
    """Returns all scores as one flat record, for tables and JSON."""
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


def _stretch(row: dict) -> PlayedStretch:
    recording = row.get("mix") or row.get("recording") or row.get("query") or ""
    place = row.get("track_start_s")
    return PlayedStretch(
        os.path.basename(recording),
        row["track"],
        float(row["start_s"]),
        float(row["end_s"]),
        float("nan") if place in (None, "") else float(place),
        float(row.get("speed") or 1.0),
    )


def _by_track(stretches: Sequence[PlayedStretch]) -> dict[tuple[str, str], np.ndarray]:
    """Returns (recording, track) -> spans [n, 2] of start and end, merged where they overlap, in ascending order."""
    spans = defaultdict(list)
    for stretch in stretches:
        spans[stretch.recording, stretch.track].append((stretch.start_s, stretch.end_s))
    return {key: _merged(np.array(sorted(pairs))) for key, pairs in spans.items()}


def _merged(spans: np.ndarray) -> np.ndarray:
    merged = [spans[0].tolist()]
    for start, end in spans[1:].tolist():
        if start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return np.array(merged)


def _common(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the seconds that two lists of disjoint spans have in common."""
    ends = np.minimum(first[:, None, 1], second[None, :, 1])
    starts = np.maximum(first[:, None, 0], second[None, :, 0])
    return float(np.maximum(ends - starts, 0).sum())


def _length(tracks: dict[tuple[str, str], np.ndarray]) -> float:
    return float(sum((spans[:, 1] - spans[:, 0]).sum() for spans in tracks.values()))


def _overlap_s(first: PlayedStretch, second: PlayedStretch) -> float:
    return min(first.end_s, second.end_s) - max(first.start_s, second.start_s)


def _seconds(stretch: PlayedStretch) -> float:
    return stretch.end_s - stretch.start_s


def _errors(true: PlayedStretch, reported: PlayedStretch) -> tuple[float, float, float, float]:
    """Returns the errors of a pair. That of the place is taken at the middle of their overlap."""
    at = (max(true.start_s, reported.start_s) + min(true.end_s, reported.end_s)) / 2
    place, true_place = (s.track_start_s + (at - s.start_s) * s.speed for s in (reported, true))
    return (
        reported.start_s - true.start_s,
        reported.end_s - true.end_s,
        place - true_place,
        100 * (reported.speed - true.speed),
    )
