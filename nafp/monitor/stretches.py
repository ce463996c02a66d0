"""Follows what is played in endless audio: a network, fingerprints and a timeline put together."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp.audio import decode
from nafp.identify import asking, identifier
from nafp.models import protocol
from nafp.monitor import timeline
from nafp.monitor.playing import Played
from nafp.monitor.rules import Rules
from nafp.search import collection, confidence

SHORTEST_GAP_S = 3.0  # A shorter gap between tracks is not reported as unknown.
_CONTEXT_S = 0.25  # Audio around resampled rows; soxr's longest filter at 8 kHz reaches 0.05 s.


class Stretch(NamedTuple):
    """A stretch of the recording in which one track was played, or nothing known.

    track: its name, "" for what is not in the collection. start_s, end_s: seconds of the recording. track_start_s,
    track_end_s: seconds of the track. score: mean cosine, -1..1. probability: chance that the track is right, None
    without a calibration. margin: score minus the best score of another recording. speed: seconds of the track that
    pass in one second of the recording. contrast, lead: score and margin, measured from what the track scores off its
    line; they decide.
    """

    track: str
    start_s: float
    end_s: float
    track_start_s: float = 0.0
    track_end_s: float = 0.0
    score: float = 0.0
    probability: float | None = None
    margin: float = 0.0
    speed: float = 1.0
    contrast: float = 0.0
    lead: float = 0.0


class Monitor:
    """Names every track that is played in a long recording or a stream, in constant memory.

    network: what `nafp.load` returns. rows, searched: the fingerprints to look in, and their index. calibrated: turns
    scores into probabilities. speeds: those that tracks are looked for at; the network tolerates a little more. rules:
    when a line is a track.
    """

    def __init__(
        self,
        network: protocol.Network,
        rows: collection.Collection,
        searched: identifier.Searchable,
        *,
        calibrated: confidence.Confidence | None = None,
        speeds: Sequence[float] = (1.0,),
        rules: Rules | None = None,
    ):
        self._rows, self._calibrated = rows, calibrated
        self._rate_hz = network.sample_rate_hz
        shifts = asking.shifts_for(network.hop / self._rate_hz, at_most_s=asking.LISTENING_HOP_S)
        self._ear = _Ear(network, searched, hop=network.hop // shifts, speeds=speeds)
        self.hop_s = network.hop // shifts / self._rate_hz
        self.timeline = timeline.Timeline(
            rows,
            hop_s=self.hop_s,
            segment_s=network.segment / self._rate_hz,
            speeds=speeds,
            rules=rules,
        )
        self._known_until_s = 0.0
        self._waiting: list[Stretch] = []

    @property
    def heard_s(self) -> float:
        """Seconds of the recording that were taken in so far."""
        return self.timeline.heard * self.hop_s

    @property
    def start_s(self) -> float:
        """The second of the recording from which audio is needed to go on from a state."""
        return max(0.0, self.heard_s - self.timeline.rules.lookback_s - 2.0)

    @property
    def now(self) -> list[Stretch]:
        """The tracks that are being played, as far as is known."""
        hop_s = self._rows.hop_s
        return [self._stretch(playing.played(hop_s=hop_s)) for playing in self.timeline.playing]

    @property
    def lost(self) -> list[str]:
        """The tracks that would have been named, if their fingerprints were not damaged."""
        return [self._rows.tracks[track] for track in sorted(self.timeline.lost)]

    def hear(self, samples: np.ndarray) -> list[Stretch]:
        """Takes in the next samples [S], mono, at the network's rate. Returns the stretches that have ended."""
        self._ear.add(samples)
        stretches: list[Stretch] = []
        ready, step = self._ear.n_rows, self.timeline.n_step
        last = self.timeline.heard + (ready - self.timeline.heard) // step * step
        self._ear.prepare([1.0], self.timeline.heard, last)
        while self.timeline.heard < last:
            stretches += self._advance(self.timeline.heard + step)
        return stretches

    def finish(self) -> list[Stretch]:
        """Returns the stretches that reach the end of the recording, known and unknown."""
        end_s = self._ear.end_s
        stretches: list[Stretch] = []
        self._ear.close()
        while self.timeline.heard < self._ear.n_rows:
            last = min(self.timeline.heard + self.timeline.n_step, self._ear.n_rows)
            stretches += self._advance(last)
        stretches += self._final(self.timeline.finish(), horizon_s=np.inf)
        return stretches + self._gap(end_s)

    def state(self) -> dict[str, Any]:
        """Returns the state, fit for JSON. `restore` goes on from it, with the audio from start_s on."""
        return {
            "timeline": self.timeline.state(),
            "known_until_s": self._known_until_s,
            "waiting": [list(stretch) for stretch in self._waiting],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state. The samples that are taken in next must be those from start_s on."""
        self.timeline.restore(state["timeline"])
        self._known_until_s = state["known_until_s"]
        self._waiting = [Stretch(*values) for values in state["waiting"]]
        self._ear.begin(round(self.start_s * self._rate_hz))

    def _advance(self, last: int) -> list[Stretch]:
        ended = self.timeline.advance(self._ear, last)
        self._ear.forget(last - round(self.timeline.rules.lookback_s / self.hop_s) - 1)
        return self._final(ended, horizon_s=self.heard_s - self.timeline.rules.lookback_s)

    def _final(self, ended: Sequence[Played], *, horizon_s: float) -> list[Stretch]:
        """Returns the stretches that begin by horizon_s, in order. Later ones wait for tracks that start earlier."""
        waiting = sorted([*self._waiting, *map(self._stretch, ended)], key=lambda stretch: stretch.start_s)
        final: list[Stretch] = []
        self._waiting = []
        for stretch in waiting:
            if stretch.start_s > horizon_s:
                self._waiting.append(stretch)
                continue
            starts = [playing.start_s for playing in self.timeline.playing]
            final += self._gap(min([stretch.start_s, *starts]))
            final.append(stretch)
            self._known_until_s = max(self._known_until_s, stretch.end_s)
        return final

    def _gap(self, until_s: float) -> list[Stretch]:
        """Returns the unknown stretch up to `until_s`, if it is long enough."""
        since_s = self._known_until_s
        if until_s - since_s < SHORTEST_GAP_S:
            return []
        self._known_until_s = until_s
        self._rows.look_over(np.empty(0, np.int64))  # Damage may be why nothing is known.
        return [Stretch("", since_s, until_s)]

    def _stretch(self, played: Played) -> Stretch:
        # Margins are those of windows, so a stretch is as sure as a window of it is.
        length = min(played.n_rows, round(self.timeline.rules.window_s / self._rows.hop_s))
        return Stretch(
            self._rows.tracks[played.track],
            played.start_s,
            played.end_s,
            played.track_start_s,
            played.track_end_s,
            played.score,
            asking.probability(self._calibrated, length=length, score=played.score, margin=played.margin),
            played.margin,
            played.speed,
            played.contrast,
            played.lead,
        )


_Held = dict[float, dict[int, Any]]  # By speed and row number.


class _Ear:
    """The latest audio: samples, and their rows at every speed that was asked for.

    hop: samples from one row to the next. speeds: all that may be asked for.
    """

    def __init__(
        self, network: protocol.Network, searched: identifier.Searchable, *, hop: int, speeds: Sequence[float]
    ):
        self._network, self._index, self._hop = network, searched, hop
        self._rate_hz, self._segment = network.sample_rate_hz, network.segment
        self._context = round(_CONTEXT_S * self._rate_hz)
        self._reach = int(np.ceil(self._segment / min(speeds))) + self._context * (len(speeds) > 1)
        self.begin(0)

    def begin(self, first_sample: int) -> None:
        """Forgets everything. The next sample that is added has the number `first_sample`."""
        self._samples, self._first, self._closed = np.empty(0, np.float32), first_sample, False
        # By speed and row number: fingerprints [D], and (cosines [K], numbers [K]) of their neighbours.
        self._vectors: _Held = collections.defaultdict(dict)
        self._near: _Held = collections.defaultdict(dict)

    def add(self, samples: np.ndarray) -> None:
        """Appends samples [S]."""
        self._samples = np.concatenate([self._samples, np.asarray(samples, np.float32)])

    def close(self) -> None:
        """Ends the audio. The last rows are silent where they reach beyond the end."""
        self._closed = True

    @property
    def end_s(self) -> float:
        """Seconds of the recording up to the last sample."""
        return (self._first + len(self._samples)) / self._rate_hz

    @property
    def n_rows(self) -> int:
        """Number of rows that are complete at all speeds. Once the audio has ended, at speed 1."""
        reach = self._segment if self._closed else self._reach
        return max(0, (self._first + len(self._samples) - reach) // self._hop + 1)

    def prepare(self, speeds: Sequence[float], first: int, last: int) -> None:
        """Fingerprints and searches rows first .. last at several speeds in one batch, which is faster."""
        self._fingerprint(speeds, first, last)
        missing = _missing(self._near, speeds, first, last)
        if missing:
            vectors = [self.vectors(speed, rows[0], rows[-1] + 1) for speed, rows in missing.items()]
            cosines, near = self._index.search(np.concatenate(vectors))
            is_heard = np.any(np.concatenate(vectors), axis=1, keepdims=True)  # [n, 1]
            near = np.where(is_heard, near, -1)
            _hold(self._near, missing, list(zip(cosines, near)))

    def forget(self, row: int) -> None:
        """Forgets everything before this row."""
        for rows in [*self._vectors.values(), *self._near.values()]:
            for number in [number for number in rows if number < row]:
                del rows[number]
        n_samples = row * self._hop - self._context - self._first
        if n_samples > 0:
            self._samples, self._first = self._samples[n_samples:], self._first + n_samples

    def vectors(self, speed: float, first: int, last: int) -> np.ndarray:
        """Returns rows first .. last at a speed, float32 [n, D]. Silent rows are zeros."""
        self._fingerprint([speed], first, last)
        return np.stack([self._vectors[speed][row] for row in range(first, last)])

    def near(self, speed: float, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns cosines and numbers of the rows nearest to rows first .. last, [n, K] each, -1 for silence."""
        self.prepare([speed], first, last)
        cosines, near = zip(*(self._near[speed][row] for row in range(first, last)))
        return np.stack(cosines), np.stack(near)

    def _fingerprint(self, speeds: Sequence[float], first: int, last: int) -> None:
        """Computes the rows first .. last that are missing, at all speeds in one batch."""
        missing = _missing(self._vectors, speeds, first, last)
        if missing:
            waveforms = np.concatenate([self._waveforms(speed, rows) for speed, rows in missing.items()])
            is_heard = ~asking.says_nothing(waveforms, sample_rate_hz=self._rate_hz)
            vectors = np.zeros((len(waveforms), self._network.dim), np.float32)
            vectors[is_heard] = self._network(waveforms[is_heard])
            _hold(self._vectors, missing, list(vectors))

    def _waveforms(self, speed: float, rows: range) -> np.ndarray:
        """Cuts the segments of rows, [n, S]. At another speed than 1 the audio is resampled first."""
        context = self._context if speed != 1 else 0
        start = rows[0] * self._hop - context
        reach = int(np.ceil(self._segment / speed)) + context
        samples = self._cut(start, rows[-1] * self._hop + reach)
        samples = decode.resample(samples, from_hz=10_000, to_hz=round(speed * 10_000))
        starts = np.rint((np.arange(len(rows)) * self._hop + context) * speed).astype(int)
        places = starts[:, None] + np.arange(self._segment)
        return samples[np.minimum(places, len(samples) - 1)]

    def _cut(self, start: int, stop: int) -> np.ndarray:
        """Returns samples start .. stop, with zeros where none are held."""
        low, high = start - self._first, stop - self._first
        inside = self._samples[max(0, low) : max(0, high)]
        before = min(max(0, -low), stop - start)
        return np.pad(inside, (before, max(0, stop - start - before - len(inside))))


def _missing(held: _Held, speeds: Sequence[float], first: int, last: int) -> dict[float, range]:
    """Returns the rows of first .. last that are not held, by speed. They follow each other."""
    wanted = {speed: [row for row in range(first, last) if row not in held[speed]] for speed in speeds}
    return {speed: range(rows[0], rows[-1] + 1) for speed, rows in wanted.items() if rows}


def _hold(held: _Held, rows: dict[float, range], values: Sequence[Any]) -> None:
    """Keeps one value for each of the rows, which are listed speed by speed."""
    first = 0
    for speed, numbers in rows.items():
        held[speed].update(zip(numbers, values[first : first + len(numbers)]))
        first += len(numbers)


def watch(monitor: Monitor, blocks: Iterable[np.ndarray]) -> Iterator[Stretch]:
    """Yields the stretches of audio that arrives in blocks [S], each as soon as it has ended."""
    for block in blocks:
        yield from monitor.hear(block)
    yield from monitor.finish()


def speeds(network: protocol.Network, most: float) -> list[float]:
    """Returns the speeds to listen at, so that tracks up to `most` (0.05: 5 %) faster or slower are found."""
    tolerance = asking.tolerance(trained_with=float(network.config.augment.get("speed", 0.0)))
    return asking.speeds_within(most, tolerance=tolerance)
