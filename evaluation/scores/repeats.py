"""Right places elsewhere: where the collection holds the very same sound once more.

A loop, a passage two tracks share, a track inside another one: an answer that names such a place has heard right. The
sound decides, never fingerprints: what was asked for, cut clean from its recording, is laid over the place answered.
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

# Correlation of two stretches, each sample less the one before it, from which they are one sound. Of 315 answers in
# wrong tracks of real music, at lengths of 2 to 10 s, 249 stayed below 0.7, 64 were above 0.95, and 2 between.
SAME = 0.95
SAMPLE_RATE_HZ = 8000
WITHIN_S = 0.5  # From the place answered to the same sound; `metrics.near` at the usual hop.
_HALF_S = 0.25
_HOPELESS = 0.6  # What is less alike than this at whole samples is not SAME between them.
_PLACES = 64  # Listened to between two looks at the clock.
_FINER = 8  # Places looked at between two samples.


class Place(NamedTuple):
    """Where in which track, by its name in a store."""

    track: str
    start_s: float


class Sound:
    """The audio that a database was made of: corpora, manifests or folders of audio."""

    def __init__(self, places: Sequence[str | os.PathLike]):
        self.places = [os.fspath(place) for place in places]
        opened = [material.Material(place) for place in self.places]
        self._pieces = [(one, piece) for one in opened for piece in one.pieces]
        self._names = Names([piece.name for _, piece in self._pieces])

    def has(self, track: str) -> bool:
        """Whether there is a recording of that name."""
        return bool(self._names.find(track))

    def away_s(self, right: Place, other: Place, *, seconds: float) -> float | None:
        """Gives the seconds from `other` to the nearest place that sounds as `right` does for so many seconds.

        None where there is none within WITHIN_S, where either is silent, or where a recording is missing or broken.
        """
        if not (self.has(right.track) and self.has(other.track)):
            return None
        try:
            asked = self._read(right.track, right.start_s, seconds)
            there = self._read(other.track, other.start_s - WITHIN_S, seconds + 2 * WITHIN_S)
        except errors.Undecodable:
            return None
        alike, lag = _alike(np.diff(asked), np.diff(there))
        return abs(lag / SAMPLE_RATE_HZ - WITHIN_S) if alike >= SAME else None

    def _read(self, track: str, start_s: float, seconds: float) -> np.ndarray:
        """Reads float64 [S]: zeros before the recording begins and after it ends."""
        source, piece = self._pieces[self._names.find(track)[0]]
        rate = piece.sample_rate_hz
        first, n = round(start_s * rate), segments.to_samples(seconds, rate)
        low = min(max(first, 0), piece.n_samples)
        high = min(max(first + n, low), piece.n_samples)
        found = np.zeros(n, np.float32)
        if high > low:
            part = source.read(piece, first=low, n_samples=high - low)[: n - max(0, low - first)]
            found[low - first : low - first + len(part)] = part
        return decode.resample(found, from_hz=rate, to_hz=SAMPLE_RATE_HZ).astype(np.float64)


def _alike(asked: np.ndarray, there: np.ndarray) -> tuple[float, float]:
    """Finds where in `there` [S + more] the stretch `asked` [S] lies: the correlation, 0..1, and the sample.

    Louder, softer and upside down are the same sound.
    """
    n, size = len(asked), 1 << (len(there) - 1).bit_length()  # No lag looked at goes round the end.
    spectrum = np.fft.rfft(there, size) * np.conj(np.fft.rfft(asked, size))
    products = np.abs(np.fft.irfft(spectrum, size)[: len(there) - n + 1])
    squares = np.cumsum(np.r_[0.0, there**2])
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
    """Counts first answers as right that name an exact repeat; also says how many, by length.

    They count for exact, near, top-3, top-10 and song alike, by how near they are to the repeat.
    """
    far = scored.asked["near"] & ~scored.right["near"] & (scored.answers.tracks[:, :, 0] >= 0)
    todo = np.argwhere(far & np.isfinite(scored.questions.starts[:, :1])).tolist()
    # A rate is the seconds of a recording that pass in one of the query.
    rates = scored.questions.groups.get("rate") or [""] * len(scored.questions)

    def away_s(which: tuple[int, int]) -> float | None:
        right, other = _places(scored, database, *which)
        length = scored.lengths[which[1]]
        heard_s = tables.seconds(length, hop_s=database.hop_s, segment_s=segment_s)
        return sound.away_s(right, other, seconds=heard_s * float(rates[which[0]] or 1))

    found = {name: value.copy() for name, value in scored.right.items()}
    n_counted = np.zeros((2, len(scored.lengths)), int)
    with threads.threads() as lend, progress.Progress(len(todo), "places", show=show) as bar:
        for start in range(0, len(todo), _PLACES):
            some = todo[start : start + _PLACES]
            for (question, column), away in zip(some, lend(away_s, some)):
                if away is None:
                    continue
                n_counted[:, column] += 1, not found["song"][question, column]
                for name in metrics.METRICS:
                    if name in ("near", "song") or away <= _HALF_S:
                        found[name][question, column] = True
            bar.add(len(some))
    lengths = [str(length) for length in scored.lengths]
    told = {"sound": sound.places, "same": SAME}
    told |= {name: dict(zip(lengths, n.tolist())) for name, n in zip(("counted", "other_track"), n_counted)}
    return scored._replace(right=found), told


def opened(places: Sequence[str], songs: Sequence[str]) -> Sound | None:
    """Opens what --repeats names, None for nothing; raises ValueError where it has none of the songs asked for."""
    if not places:
        return None
    sound = Sound(places)
    if not any(sound.has(song) for song in songs):
        raise errors.Invalid(
            f"--repeats={','.join(places)}: has none of the recordings asked for, such as {songs[0]}; give what the"
            " database was made of: the corpus, manifest or folder"
        )
    return sound


def _places(scored: results.Scored, database: collection.Collection, question: int, column: int) -> tuple[Place, Place]:
    """Gives the right place of a question and the one answered first."""
    pairs = (
        (scored.questions.tracks[question, 0], scored.questions.starts[question, 0]),
        (scored.answers.tracks[question, column, 0], scored.answers.starts[question, column, 0]),
    )
    one, other = (
        Place(database.tracks[track], float(start - database.first_rows[track]) * database.hop_s)
        for track, start in pairs
    )
    return one, other
