"""Finds answers that are right at another place, because the collection holds exactly the same sound there.

Examples are a loop, a passage that two tracks share, and a track inside another one. Sound decides, never fingerprints:
the passage asked for is cut from its clean recording and compared with the place that was answered.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.jobs import progress, threads
from nafp.search import collection

from ..queries import material
from . import metrics, results, tables
from .questions import Names

# Two stretches with at least this correlation are the same sound. It is taken of the differences between samples. Of
# 315 answers in wrong tracks of real music, at lengths of 2 to 10 s, 249 were below 0.7, 64 above 0.95, and 2 between.
SAME = 0.95
SAMPLE_RATE_HZ = 8000
WITHIN_S = 0.5  # Largest distance from an answer to the same sound: that of `metrics.near` at the usual hop.
_EXACT_S = 0.25  # Likewise for `metrics.exact`.
_HOPELESS = 0.6  # A smaller correlation at whole samples does not reach SAME between them.
_PLACES = 64  # Places that are compared between two updates of the progress.
_FINER = 8  # Lags that are tried between two samples.


class TrackPlace(NamedTuple):
    """A place in a track, which has its name in a store."""

    track: str
    start_s: float


class Sound:
    """The audio that a database was made of. places: corpora, manifests or folders of audio."""

    def __init__(self, places: Sequence[str | os.PathLike]):
        self.places = [os.fspath(place) for place in places]
        sources = [material.Material(place) for place in self.places]
        self._pieces = [(source, piece) for source in sources for piece in source.pieces]
        self._names = Names([piece.name for _, piece in self._pieces])

    def has(self, track: str) -> bool:
        """Returns whether there is a recording of this name."""
        return bool(self._names.find(track))

    def away_s(self, right: TrackPlace, other: TrackPlace, *, seconds: float) -> float | None:
        """Returns the time from `other` to the nearest place that sounds for `seconds` as `right` does.

        Returns None if there is no such place within WITHIN_S, if either is silent, or if a recording is missing or
        broken.
        """
        if not (self.has(right.track) and self.has(other.track)):
            return None
        try:
            asked = self._read(right.track, right.start_s, seconds)
            around = self._read(other.track, other.start_s - WITHIN_S, seconds + 2 * WITHIN_S)
        except errors.Undecodable:
            return None
        likeness, lag = _alike(np.diff(asked), np.diff(around))
        return abs(lag / SAMPLE_RATE_HZ - WITHIN_S) if likeness >= SAME else None

    def _read(self, track: str, start_s: float, seconds: float) -> np.ndarray:
        """Returns samples, float64 [S], which are zero before and after the recording."""
        source, piece = self._pieces[self._names.find(track)[0]]
        rate = piece.sample_rate_hz
        first, n = round(start_s * rate), segments.to_samples(seconds, rate)
        low = min(max(first, 0), piece.n_samples)
        high = min(max(first + n, low), piece.n_samples)
        samples = np.zeros(n, np.float32)
        if high > low:
            part = source.read(piece, first=low, n_samples=high - low)[: n - max(0, low - first)]
            samples[low - first : low - first + len(part)] = part
        return decode.resample(samples, from_hz=rate, to_hz=SAMPLE_RATE_HZ).astype(np.float64)


def _alike(asked: np.ndarray, around: np.ndarray) -> tuple[float, float]:
    """Finds the stretch `asked` [S] in `around` [S + lags]. Returns the correlation, 0 to 1, and the lag in samples.

    A louder, a softer and an inverted copy are the same sound.
    """
    n, size = len(asked), 1 << (len(around) - 1).bit_length()  # Large enough that no lag wraps around.
    spectrum = np.fft.rfft(around, size) * np.conj(np.fft.rfft(asked, size))
    products = np.abs(np.fft.irfft(spectrum, size)[: len(around) - n + 1])
    squares = np.cumsum(np.r_[0.0, around**2])
    squares = (squares[n:] - squares[:-n]) * (asked @ asked)
    likeness = products / np.sqrt(np.maximum(squares, 1e-12))
    best = int(np.argmax(likeness))
    if likeness[best] < _HOPELESS:
        return float(likeness[best]), float(best)
    lags = best + np.arange(-_FINER, _FINER + 1) / _FINER
    turns = np.exp(2j * np.pi / size * np.outer(lags, np.arange(len(spectrum))))
    finer = np.abs(2 * (turns @ spectrum).real - spectrum[0].real) / size
    finer /= np.sqrt(max(squares[best], 1e-12))
    at = int(np.argmax(finer))
    return min(1.0, float(finer[at])), float(lags[at])


def counted(
    scored: results.Scored, database: collection.Collection, sound: Sound, *, segment_s: float, show: bool = False
) -> tuple[results.Scored, dict[str, Any]]:
    """Counts first answers that name an exact repeat as right. Returns the scores, and the record for results.json.

    They count for exact, near, top-3, top-10 and song, depending on how near they are to the repeat.
    """
    missed = scored.asked["near"] & ~scored.right["near"] & (scored.answers.tracks[:, :, 0] >= 0)
    todo = np.argwhere(missed & np.isfinite(scored.questions.starts[:, :1])).tolist()
    # A rate is the seconds of the recording that pass in one second of the query.
    rates = scored.questions.groups.get("rate") or [""] * len(scored.questions)

    def away_s(cell: Sequence[int]) -> float | None:
        question, column = cell
        right, other = _places(scored, database, question, column)
        heard_s = tables.seconds(scored.lengths[column], hop_s=database.hop_s, segment_s=segment_s)
        return sound.away_s(right, other, seconds=heard_s * float(rates[question] or 1))

    is_right = {name: value.copy() for name, value in scored.right.items()}
    n_counted = np.zeros((2, len(scored.lengths)), int)
    with threads.threads() as lend, progress.Progress(len(todo), "places", show=show) as bar:
        for start in range(0, len(todo), _PLACES):
            cells = todo[start : start + _PLACES]
            for (question, column), away in zip(cells, lend(away_s, cells)):
                if away is None:
                    continue
                n_counted[:, column] += 1, not is_right["song"][question, column]
                for name in metrics.METRICS:
                    if name in ("near", "song") or away <= _EXACT_S:
                        is_right[name][question, column] = True
            bar.add(len(cells))
    lengths = [str(length) for length in scored.lengths]
    record: dict[str, Any] = {"sound": sound.places, "same": SAME}
    record |= {name: dict(zip(lengths, n.tolist())) for name, n in zip(("counted", "other_track"), n_counted)}
    return scored._replace(right=is_right), record


def opened(places: Sequence[str], songs: Sequence[str]) -> Sound | None:
    """Opens the audio that --repeats names, or returns None if it names none.

    Raises errors.Invalid if the audio has none of the songs asked for.
    """
    if not places:
        return None
    sound = Sound(places)
    if not any(sound.has(song) for song in songs):
        raise errors.Invalid(
            f"--repeats={','.join(places)}: has none of the recordings asked for, such as {songs[0]}; give what the"
            " database was made of: the corpus, manifest or folder"
        )
    return sound


def _places(
    scored: results.Scored, database: collection.Collection, question: int, column: int
) -> tuple[TrackPlace, TrackPlace]:
    """Returns the right place of a question, and the place of the first answer."""
    pairs = (
        (scored.questions.tracks[question, 0], scored.questions.starts[question, 0]),
        (scored.answers.tracks[question, column, 0], scored.answers.starts[question, column, 0]),
    )
    right, answer = (
        TrackPlace(database.tracks[track], float(start - database.first_rows[track]) * database.hop_s)
        for track, start in pairs
    )
    return right, answer
