"""Rows of a recording without end become the tracks that are played in it, and when.

Every step, the neighbours of the last seconds propose lines through tracks (`diagonals`), and lines
that are played already go on. A line counts for what it adds: what a better line explains is taken off
it (how alike the two are there, times what the other has), so that a loop that is in two tracks
is found once, and two tracks at the same time are both found. What it adds, summed over the rows above
a floor, opens a line, moves its start back and its end on. Nothing grows with the recording.

Times: row k begins k * hop_s into the recording. Rows may be heard at several speeds: at speed a, a row
is 1/a of a segment long, and is fingerprinted as if played a times slower.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from nafp.monitor import diagonals
from nafp.monitor.playing import Line, Played, Playing
from nafp.search import collection

_STAY = np.zeros(1)
_NUDGES = np.array([-0.01, -0.005, 0.0, 0.005, 0.01])  # Of a slope.
_SHIFTS = np.linspace(-0.5, 0.5, 9)  # Rows of a track.
_WIDE = np.linspace(-1.25, 1.25, 6)
_APART = 1.25  # Segments: rows that far from each other have nothing in common.
_MOST_ENDED = 64  # Of those that may still explain others.
_SAMPLES = 32  # Places at which two tracks are compared.


class Hearing(Protocol):
    """What was heard last, as fingerprints. Silence is a row of zeros."""

    def prepare(self, speeds: Sequence[float], first: int, last: int) -> None:
        """Says that rows first .. last will be asked for, at all these speeds."""

    def vectors(self, speed: float, first: int, last: int) -> np.ndarray:
        """Gives rows first .. last, float32 [n, D]."""

    def near(self, speed: float, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Gives cosines and numbers of their nearest rows, [n, K] both; -1 for none."""


@dataclasses.dataclass(frozen=True)
class Rules:
    """When a line is a track. Evidence is in seconds of contrast 1 above the floor."""

    window_s: float = 8.0  # Looked at together.
    step_s: float = 4.0
    lookback_s: float = 32.0  # So far back a start is looked for.
    proposals: int = 12  # Lines looked at in each step, at each speed.
    opens: float = 1.2
    open_floor: float = 0.2
    tempo_costs: float = 2.0  # Contrast: a line at 5 % more than its speed must be 0.1 better.
    floor: float = 0.05  # Once it is open.
    resumes: float = 0.4  # After it was lost.
    hold_s: float = 15.0  # So long a track may be drowned out and still go on.
    leads: float = -0.08  # Of contrast, before any other recording, without which it is dropped.
    adds: float = 0.1  # To the tracks that overlap it, in contrast, or it is dropped at its end.
    shortest_s: float = 3.0
    bonus: float = 0.05  # In contrast, for a line that is played already.
    follows: float = 0.3  # Mean contrast from which a line is fitted anew.
    explained: float = 0.5  # Mean contrast of a played line from which no other speed is tried.
    same_s: float = 1.5  # Lines of a track closer than this are one.
    tempo: float = 0.06  # Largest change of tempo that leaves the pitch.
    twin: float = 0.6  # Mean cosine of two places that hold one recording.


@dataclasses.dataclass
class _Candidate:
    line: Line
    cosines: np.ndarray  # [W]
    level: float
    vectors: np.ndarray  # [W, D]
    playing: Playing | None = None
    adds: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))  # [W]

    @property
    def contrasts(self) -> np.ndarray:
        """How far each cosine is on the way from those off the line to 1: [W]."""
        level = max(0.0, self.level)
        return (self.cosines - level) / max(1 - level, 0.05)

    @property
    def strength(self) -> float:
        return float(np.maximum(self.contrasts, 0).mean())


class Timeline:
    """Follows what is played. playing: the tracks that are on now, or may come back; heard: rows so far."""

    def __init__(
        self,
        rows: collection.Collection,
        *,
        hop_s: float,
        segment_s: float,
        speeds: Sequence[float] = (1.0,),
        rules: Rules | None = None,
    ):
        self._rows, self._hop_s, self._segment_s = rows, hop_s, segment_s
        self.rules = rules or Rules()
        self._speeds = sorted(speeds, key=lambda speed: abs(speed - 1))
        self.n_step, self._n_window, self._n_back = (
            round(seconds / hop_s) for seconds in (self.rules.step_s, self.rules.window_s, self.rules.lookback_s)
        )
        self.playing: list[Playing] = []
        self._ended: list[Played] = []
        self.heard = 0

    def advance(self, hearing: Hearing, last: int) -> list[Played]:
        """Takes in the rows up to `last`, a step or less; returns what has ended."""
        first = max(0, last - self._n_window)
        live = self._continued(hearing, first, last)
        candidates = live + self._proposed(hearing, first, last, live)
        accepted = self._arbitrated(candidates)
        for one in accepted:
            if one.playing is None:
                opened = self._opened(hearing, one, live, first, last)
                opened.compare(*self._margins(one, accepted, candidates))
                self.playing.append(opened)
        for one in live:
            one.playing.compare(*self._margins(one, accepted, candidates))
            self._extend(one, last)
        self.heard = last
        return self._closed(self._second(last, 1.0))

    def finish(self) -> list[Played]:
        """Ends everything that is on; returns it."""
        return self._closed(np.inf)

    def state(self) -> dict[str, Any]:
        """Gives everything as what JSON knows."""
        playing = [one.state() for one in self.playing]
        return {"heard": self.heard, "playing": playing, "ended": [*map(list, self._ended)]}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state."""
        self.heard = state["heard"]
        self.playing = [Playing.restored(one) for one in state["playing"]]
        self._ended = [Played(*one) for one in state["ended"]]

    def _second(self, row: float, speed: float) -> float:
        """Gives the second at the centre of a row."""
        return row * self._hop_s + self._segment_s / 2 / speed

    def _fit(
        self,
        hearing: Hearing,
        lines: Sequence[Line],
        first: int,
        last: int,
        *,
        slopes: np.ndarray = _STAY,
        offsets: np.ndarray = _STAY,
    ) -> list[_Candidate]:
        """Fits lines of one speed to rows first .. last. slopes, offsets: changes to be tried."""
        if not lines:
            return []
        speed, hop_s, half = lines[0].speed, self._rows.hop_s, self._segment_s / 2
        middle = self._second((first + last - 1) / 2, speed)
        found = diagonals.fit(
            hearing.vectors(speed, first, last),
            np.array([line.track for line in lines]),
            np.array([(line.at(middle) - half) / hop_s for line in lines]),
            self._rows,
            step=self._hop_s / hop_s,
            slopes=np.array([line.slope for line in lines])[:, None] + slopes,
            offsets=offsets,
            apart=_APART * self._segment_s / hop_s,
        )
        refs = (found.places * hop_s + half).tolist()
        return [
            _Candidate(Line(line.track, speed, middle, ref, slope), cosines, level, vectors)
            for line, ref, slope, cosines, level, vectors in zip(
                lines,
                refs,
                found.slopes.tolist(),
                found.cosines,
                found.levels.tolist(),
                found.vectors,
            )
        ]

    def _continued(self, hearing: Hearing, first: int, last: int) -> list[_Candidate]:
        """Goes on along the lines that are played."""
        found = []
        for playing in self.playing:
            (now,) = self._fit(hearing, [playing.line], first, last, slopes=_NUDGES, offsets=_SHIFTS)
            if now.strength >= self.rules.follows:
                playing.follow(now.line)
            (now,) = self._fit(hearing, [playing.line], first, last)
            now.playing = playing
            found.append(now)
        return found

    def _proposed(self, hearing: Hearing, first: int, last: int, live: list[_Candidate]) -> list[_Candidate]:
        """Gives new lines; at other speeds only while nothing that is played explains the new rows."""
        new = self.heard - first
        explained = max((float(one.contrasts[new:].mean()) for one in live), default=0.0)
        speeds = self._speeds[:1] if explained >= self.rules.explained else self._speeds
        hearing.prepare(speeds, first, last)
        found = [self._at_speed(hearing, speed, first, last, live) for speed in speeds]
        return [one for some in found for one in some]

    def _at_speed(
        self, hearing: Hearing, speed: float, first: int, last: int, live: list[_Candidate]
    ) -> list[_Candidate]:
        cosines, near = hearing.near(speed, first, last)
        step = self._hop_s * speed / self._rows.hop_s
        tracks, places = diagonals.propose(near, cosines, self._rows, step=step, most=self.rules.proposals)
        refs = places * self._rows.hop_s + self._segment_s / 2
        middle = self._second((first + last - 1) / 2, speed)
        lines = [Line(track, speed, middle, ref, speed) for track, ref in zip(tracks.tolist(), refs.tolist())]
        tempo = self.rules.tempo if speed == 1 else 0.01
        slopes = np.linspace(-tempo, tempo, 7 if speed == 1 else 3)
        found = self._fit(hearing, lines, first, last, slopes=slopes, offsets=_WIDE)
        lines = [one.line for one in found]
        found = self._fit(hearing, lines, first, last, slopes=_NUDGES, offsets=_SHIFTS)
        return [one for one in found if not self._is_played(one, live)]

    def _is_played(self, one: _Candidate, live: list[_Candidate]) -> bool:
        """Whether a new line is one that is played; one that was lost is put on it."""
        for other in live:
            apart_s = abs(other.line.at(one.line.t) - one.line.ref_s)
            if other.line.track != one.line.track or apart_s >= self.rules.same_s:
                continue
            if one.strength > other.strength + 0.1:
                other.playing.jump(one.line)
                other.line, other.cosines = one.line, one.cosines
                other.level, other.vectors = one.level, one.vectors
            return True
        return False

    def _arbitrated(self, candidates: list[_Candidate]) -> list[_Candidate]:
        """Takes candidates, the best first, each for what it adds; keeps those that add enough."""
        rules, accepted = self.rules, []
        strengths = [one.strength + rules.bonus * bool(one.playing) for one in candidates]
        for number in np.argsort(-np.array(strengths), kind="stable"):
            one = candidates[number]
            one.adds = self._added(one, accepted)
            if one.playing or self._evidence(one)[0] >= rules.opens:
                accepted.append(one)
        return accepted

    def _added(self, one: _Candidate, better: list[_Candidate]) -> np.ndarray:
        """Gives what of a line's contrasts [W] better lines do not explain."""
        explained = np.zeros(len(one.cosines), np.float32)
        for other in better:
            alike = self._likeness(one, other)
            explained = np.maximum(explained, alike * np.maximum(other.contrasts, 0))
        return one.contrasts - explained

    def _likeness(self, one: _Candidate, other: _Candidate) -> np.ndarray:
        apart = int(np.ceil(_APART * self._segment_s / self._hop_s))
        return diagonals.likeness(one.vectors, other.vectors, apart=apart)

    def _evidence(self, one: _Candidate) -> tuple[float, int, int]:
        bent = self.rules.tempo_costs * abs(one.line.slope / one.line.speed - 1)
        return _richest((one.adds - bent - self.rules.open_floor) * self._hop_s)

    def _margins(
        self, one: _Candidate, accepted: list[_Candidate], candidates: list[_Candidate]
    ) -> tuple[float, float]:
        """Gives how far a line is above any of another recording that is not played: cosine, contrast."""
        rivals = [
            other
            for other in candidates
            if not any(other is each for each in accepted)
            and other.line.track != one.line.track
            and self._likeness(one, other).mean() < self.rules.twin
        ]
        cosine = max((float(other.cosines.mean()) for other in rivals), default=0.0)
        contrast = max((float(other.contrasts.mean()) for other in rivals), default=0.0)
        return float(one.cosines.mean()) - cosine, float(one.contrasts.mean()) - contrast

    def _extend(self, one: _Candidate, last: int) -> None:
        new = slice(self.heard - last, None)
        rows = np.arange(self.heard, last)
        one.playing.extend(
            one.cosines[new],
            one.contrasts[new],
            (one.adds[new] - self.rules.floor) * self._hop_s,
            times=self._second(rows, one.line.speed),
            resumes=self.rules.resumes,
        )

    def _opened(self, hearing: Hearing, one: _Candidate, live: list[_Candidate], first: int, last: int) -> Playing:
        """Begins a track: looks back for its start, and forward for its end so far."""
        _, start, stop = self._evidence(one)
        parts = [(first, one)]
        while parts[0][0] > max(0, last - self._n_back):
            at, after = parts[0]
            back = max(0, at - self.n_step)
            parts.insert(0, (back, self._before(hearing, after, live, back, at)))
        oldest = parts[0][0]
        adds, cosines, contrasts = (
            np.concatenate([getattr(part, name) for _, part in parts]) for name in ("adds", "cosines", "contrasts")
        )
        evidence = (adds - self.rules.floor) * self._hop_s
        until = first - oldest + stop
        begin = int(np.argmax(np.cumsum(evidence[:until][::-1])[::-1][: first - oldest + start + 1]))
        line = next(part.line for at, part in reversed(parts) if at - oldest <= begin)
        start_s = self._second(oldest + begin, line.speed)
        if line.at(start_s) < self._segment_s / 2 + self._rows.hop_s:  # It begins with the track.
            start_s -= self._segment_s / 2 / line.speed
        playing = Playing(one.line, start_s, line.at(start_s), start_s, line.at(start_s))
        times = self._second(np.arange(oldest + begin, last), line.speed)
        rows = (each[begin:] for each in (cosines, contrasts, evidence))
        playing.extend(*rows, times=times, resumes=0.0)
        return playing

    def _before(self, hearing: Hearing, one: _Candidate, live: list[_Candidate], first: int, last: int) -> _Candidate:
        """Follows a new line back; what was played then explains it only where it fits better."""
        (found,) = self._fit(hearing, [one.line], first, last, offsets=_SHIFTS)
        if found.strength < self.rules.follows:
            (found,) = self._fit(hearing, [one.line], first, last)
        explain = []
        for other in live:
            if other.playing.start_s < self._second(last, 1.0):
                (then,) = self._fit(hearing, [other.line], first, last, offsets=_SHIFTS)
                explain += [then] if then.strength > found.strength + self.rules.bonus else []
        found.adds = self._added(found, explain)
        return found

    def _closed(self, now_s: float) -> list[Played]:
        """Ends what has not been heard for long, or cannot come back; drops what explains nothing."""
        kept, ended = [], []
        for playing in self.playing:
            lasts_s = self._track_seconds(playing.line.track)
            is_over = playing.line.at(now_s) > lasts_s if np.isfinite(now_s) else True
            if now_s - playing.end_s < self.rules.hold_s and not is_over:
                kept.append(playing)
            else:
                ended.append(playing)
        self.playing = kept
        found: list[Played] = []
        while ended:  # The weakest first: of two that explain each other, the better one stays.
            weakest = min(ended, key=lambda one: one.score * (one.end_s - one.start_s))
            ended.remove(weakest)
            played = weakest.played(hop_s=self._rows.hop_s)
            long_enough = played.end_s - played.start_s >= self.rules.shortest_s
            clear = played.lead >= self.rules.leads
            if long_enough and clear and self._adds(played, ended):
                found.append(played)
                self._ended = [*self._ended, played][-_MOST_ENDED:]
        return sorted(found, key=lambda played: played.start_s)

    def _track_seconds(self, track: int) -> float:
        first, end = self._rows.borders(np.array([track]))
        return float(end[0] - first[0] - 1) * self._rows.hop_s + self._segment_s

    def _adds(self, one: Played, beside: list[Playing]) -> bool:
        """Whether a track explains more than those that overlap it do."""
        others = [each.played(hop_s=self._rows.hop_s) for each in self.playing + beside]
        times = np.linspace(one.start_s, one.end_s, _SAMPLES)
        own = self._vectors(one, times)
        explained = np.zeros(_SAMPLES)
        for other in self._ended + others:
            inside = (times >= other.start_s) & (times <= other.end_s)
            if inside.any():
                alike = diagonals.likeness(own, self._vectors(other, times), apart=_SAMPLES // 4)
                alike = alike * other.contrast
                explained = np.maximum(explained, np.where(inside, alike, 0))
        return one.contrast - explained.mean() >= self.rules.adds

    def _vectors(self, one: Played, times: np.ndarray) -> np.ndarray:
        """Gives what a track has at these seconds of the recording, [n, D]."""
        slope = (one.track_end_s - one.track_start_s) / max(one.end_s - one.start_s, 1e-6)
        refs = one.track_start_s + (times - one.start_s) * slope
        places = (refs - self._segment_s / 2) / self._rows.hop_s
        return diagonals.at(one.track, places, self._rows)


def _richest(values: np.ndarray) -> tuple[float, int, int]:
    """Gives the largest sum of neighbouring values, and where they start and stop."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    lowest = np.minimum.accumulate(sums)
    stop = int(np.argmax(sums - lowest))
    start = int(np.argmin(sums[: stop + 1]))
    return float(sums[stop] - sums[start]), start, stop
