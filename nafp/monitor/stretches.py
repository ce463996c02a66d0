"""Audio without end in, what is played out: a network, its fingerprints and a timeline put together."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode
from nafp.monitor import timeline
from nafp.monitor.playing import Played
from nafp.search import collection, confidence, index

HOP_S = 0.25  # At most, between rows of what is heard: places between two rows of a track are met, too.
SILENCE = 3e-4  # RMS, -70 dB: below, every track that pauses anywhere would match.
SHORTEST_GAP_S = 3.0  # Of what is reported as unknown.
_CONTEXT_S = 0.25  # Around what is resampled; soxr's longest filter at 8 kHz reaches 0.05 s.


class Stretch(NamedTuple):
    """From when to when something was played. track: "" for what is not in the collection.

    start_s, end_s: of the recording; track_start_s, track_end_s: of the track. score: mean cosine;
    probability: that it is right, None without a calibration; margin: score less the best of another
    recording; speed: seconds of the track in one of the recording. contrast, lead: what score and margin
    are above what the track has elsewhere; they decide.
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
    """Names every track that is played in a long recording or a stream; in constant memory.

    network: as `nafp.weights.sources.load` gives it. rows, searched: the fingerprints to search in. speeds: those
    that tracks are looked for at; a few percent beyond are covered by the tolerance of the network.
    """

    def __init__(
        self,
        network: Any,
        rows: collection.Collection,
        searched: index.Index,
        *,
        calibrated: confidence.Confidence | None = None,
        speeds: Sequence[float] = (1.0,),
        rules: timeline.Rules | None = None,
    ):
        self._rows, self._calibrated = rows, calibrated
        self._rate_hz = network.sample_rate_hz
        shifts = max(1, round(network.hop / self._rate_hz / HOP_S))
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
        """Seconds taken in so far."""
        return self.timeline.heard * self.hop_s

    @property
    def start_s(self) -> float:
        """The second from which on audio is needed to go on from a state."""
        return max(0.0, self.heard_s - self.timeline.rules.lookback_s - 2.0)

    @property
    def now(self) -> list[Stretch]:
        """What is being played, as far as is known."""
        hop_s = self._rows.hop_s
        return [self._stretch(one.played(hop_s=hop_s)) for one in self.timeline.playing]

    def hear(self, samples: np.ndarray) -> list[Stretch]:
        """Takes in the next samples [S], mono at the network's rate; returns what has ended."""
        self._ear.add(samples)
        found: list[Stretch] = []
        ready, step = self._ear.n_rows, self.timeline.n_step
        last = self.timeline.heard + (ready - self.timeline.heard) // step * step
        self._ear.prepare([1.0], self.timeline.heard, last)
        while self.timeline.heard < last:
            found += self._advance(self.timeline.heard + step)
        return found

    def finish(self) -> list[Stretch]:
        """Returns what was still played at the end, and what of the end is unknown."""
        end_s = self._ear.end_s
        found: list[Stretch] = []
        self._ear.close()
        while self.timeline.heard < self._ear.n_rows:
            last = min(self.timeline.heard + self.timeline.n_step, self._ear.n_rows)
            found += self._advance(last)
        found += self._told(self.timeline.finish(), horizon_s=np.inf)
        return found + self._gap(end_s)

    def state(self) -> dict[str, Any]:
        """Gives what JSON knows, to go on from with `restore` and audio from start_s on."""
        return {
            "timeline": self.timeline.state(),
            "known_until_s": self._known_until_s,
            "waiting": [list(one) for one in self._waiting],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state: the samples that are heard next are those from start_s on."""
        self.timeline.restore(state["timeline"])
        self._known_until_s = state["known_until_s"]
        self._waiting = [Stretch(*one) for one in state["waiting"]]
        self._ear.begin(round(self.start_s * self._rate_hz))

    def _advance(self, last: int) -> list[Stretch]:
        ended = self.timeline.advance(self._ear, last)
        self._ear.forget(last - round(self.timeline.rules.lookback_s / self.hop_s) - 1)
        return self._told(ended, horizon_s=self.heard_s - self.timeline.rules.lookback_s)

    def _told(self, ended: Sequence[Played], *, horizon_s: float) -> list[Stretch]:
        """Gives what can be said for good: nothing that begins earlier can still come up."""
        waiting = sorted([*self._waiting, *map(self._stretch, ended)], key=lambda one: one.start_s)
        found: list[Stretch] = []
        self._waiting = []
        for one in waiting:
            if one.start_s > horizon_s:
                self._waiting.append(one)
                continue
            starts = [playing.start_s for playing in self.timeline.playing]
            found += self._gap(min([one.start_s, *starts]))
            found.append(one)
            self._known_until_s = max(self._known_until_s, one.end_s)
        return found

    def _gap(self, until_s: float) -> list[Stretch]:
        """Gives the unknown stretch up to here, if there is one."""
        since_s = self._known_until_s
        if until_s - since_s < SHORTEST_GAP_S:
            return []
        self._known_until_s = until_s
        return [Stretch("", since_s, until_s)]

    def _stretch(self, one: Played) -> Stretch:
        probability = None
        if self._calibrated:
            score, margin = np.array(one.score), np.array(one.margin)
            # Margins are those of windows, so a stretch is as sure as a window of it is.
            length = min(one.n_rows, round(self.timeline.rules.window_s / self._rows.hop_s))
            probability = float(self._calibrated.probability(length, score, margin))
        return Stretch(
            self._rows.tracks[one.track],
            one.start_s,
            one.end_s,
            one.track_start_s,
            one.track_end_s,
            one.score,
            probability,
            one.margin,
            one.speed,
            one.contrast,
            one.lead,
        )


_Held = dict[float, dict[int, Any]]


class _Ear:
    """The last of what was heard: samples, and rows of them at every speed that was asked for."""

    def __init__(self, network: Any, searched: index.Index, *, hop: int, speeds: Sequence[float]):
        self._network, self._index, self._hop = network, searched, hop
        self._rate_hz, self._segment = network.sample_rate_hz, network.segment
        self._context = round(_CONTEXT_S * self._rate_hz)
        self._reach = int(np.ceil(self._segment / min(speeds))) + self._context * (len(speeds) > 1)
        self.begin(0)

    def begin(self, first_sample: int) -> None:
        """Forgets everything; the next sample has this number."""
        self._samples, self._first, self._closed = np.empty(0, np.float32), first_sample, False
        # Of rows, by speed and number: fingerprints; cosines and numbers of their neighbours.
        self._vectors: _Held = collections.defaultdict(dict)
        self._near: _Held = collections.defaultdict(dict)

    def add(self, samples: np.ndarray) -> None:
        self._samples = np.concatenate([self._samples, np.asarray(samples, np.float32)])

    def close(self) -> None:
        """Says that nothing follows: the last rows hold silence where they reach beyond the end."""
        self._closed = True

    @property
    def end_s(self) -> float:
        return (self._first + len(self._samples)) / self._rate_hz

    @property
    def n_rows(self) -> int:
        """Rows that are complete at all speeds; at the end, at speed 1."""
        reach = self._segment if self._closed else self._reach
        return max(0, (self._first + len(self._samples) - reach) // self._hop + 1)

    def prepare(self, speeds: Sequence[float], first: int, last: int) -> None:
        """Fingerprints and searches rows at several speeds together, which is faster than one by one."""
        self._fingerprint(speeds, first, last)
        missing = _missing(self._near, speeds, first, last)
        if missing:
            vectors = [self.vectors(speed, rows[0], rows[-1] + 1) for speed, rows in missing.items()]
            cosines, near = self._index.search(np.concatenate(vectors))
            near = np.where(np.concatenate(vectors).any(axis=1)[:, None], near, -1)
            _hold(self._near, missing, list(zip(cosines, near)))

    def forget(self, row: int) -> None:
        """Lets go of everything before this row."""
        for rows in [*self._vectors.values(), *self._near.values()]:
            for number in [number for number in rows if number < row]:
                del rows[number]
        n_samples = row * self._hop - self._context - self._first
        if n_samples > 0:
            self._samples, self._first = self._samples[n_samples:], self._first + n_samples

    def vectors(self, speed: float, first: int, last: int) -> np.ndarray:
        """Gives rows first .. last at a speed, float32 [n, D]; zeros for silence."""
        self._fingerprint([speed], first, last)
        return np.stack([self._vectors[speed][row] for row in range(first, last)])

    def near(self, speed: float, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Gives cosines and numbers of the nearest rows, [n, K]; -1 for silence."""
        self.prepare([speed], first, last)
        cosines, near = zip(*(self._near[speed][row] for row in range(first, last)))
        return np.stack(cosines), np.stack(near)

    def _fingerprint(self, speeds: Sequence[float], first: int, last: int) -> None:
        """Computes what is missing, at all speeds together."""
        missing = _missing(self._vectors, speeds, first, last)
        if missing:
            waveforms = [self._waveforms(speed, rows) for speed, rows in missing.items()]
            waveforms = np.concatenate(waveforms)
            heard = np.sqrt(np.square(waveforms).mean(axis=1)) >= SILENCE
            found = np.zeros((len(waveforms), self._network.dim), np.float32)
            found[heard] = self._network(waveforms[heard])
            _hold(self._vectors, missing, found)

    def _waveforms(self, speed: float, rows: range) -> np.ndarray:
        """Cuts rows [n, S]; at another speed, out of what is heard resampled."""
        context = self._context if speed != 1 else 0
        start = rows[0] * self._hop - context
        reach = int(np.ceil(self._segment / speed)) + context
        samples = self._cut(start, rows[-1] * self._hop + reach)
        samples = decode.resample(samples, from_hz=10_000, to_hz=round(speed * 10_000))
        starts = np.rint((np.arange(len(rows)) * self._hop + context) * speed).astype(int)
        places = starts[:, None] + np.arange(self._segment)
        return samples[np.minimum(places, len(samples) - 1)]

    def _cut(self, start: int, stop: int) -> np.ndarray:
        """Gives samples start .. stop, with zeros where nothing is held."""
        low, high = start - self._first, stop - self._first
        inside = self._samples[max(0, low) : max(0, high)]
        before = min(max(0, -low), stop - start)
        return np.pad(inside, (before, max(0, stop - start - before - len(inside))))


def _missing(held: _Held, speeds: Sequence[float], first: int, last: int) -> dict[float, range]:
    """Gives the rows first .. last that are not held, by speed; they are in one piece."""
    wanted = {speed: [row for row in range(first, last) if row not in held[speed]] for speed in speeds}
    return {speed: range(rows[0], rows[-1] + 1) for speed, rows in wanted.items() if rows}


def _hold(held: _Held, rows: dict[float, range], values: Sequence[Any]) -> None:
    """Keeps values of rows of several speeds that follow each other."""
    first = 0
    for speed, numbers in rows.items():
        held[speed].update(zip(numbers, values[first : first + len(numbers)]))
        first += len(numbers)


def speeds_for(most: float, *, tolerance: float) -> list[float]:
    """Lists the speeds to hear at so that a change of up to `most` (0.05: 5 %) is found.

    tolerance: the change that fingerprints of the network bear. Multiples of 0.5 %.
    """
    if not 0 <= most <= 0.3:
        raise errors.Invalid(f"a change of speed of up to {most:g} was asked for; allowed are 0 to 0.3")
    n_sides = int(np.ceil(max(0.0, most - tolerance) / (2 * tolerance) - 1e-9))
    return [1 + round(400 * i * tolerance) / 200 for i in range(-n_sides, n_sides + 1)]


def watch(monitor: Monitor, blocks: Iterable[np.ndarray]) -> Iterator[Stretch]:
    """Yields what is played in audio that arrives in blocks [S], as soon as it has ended."""
    for block in blocks:
        yield from monitor.hear(block)
    yield from monitor.finish()
