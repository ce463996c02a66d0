"""Turns the rows of an endless recording into the tracks that are played in it, and when.

In every step the neighbours of the last seconds propose lines through tracks (`diagonals`), and lines that are being
played go on. A line counts for what it adds: its contrast minus what better lines explain. A better line explains its
own contrast times the likeness of the two lines. So a loop that is in two tracks is found once, and two tracks that
play at the same time are both found. What a line adds above a floor, summed over rows, opens it, moves its start back
and its end on. Memory does not grow with the recording.

Row k begins k * hop_s into the recording. Rows may be heard at several speeds: at speed a, a row is 1/a of a segment
long, and is fingerprinted as if it were played a times slower.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from nafp.monitor import diagonals
from nafp.monitor.playing import Line, Played, Playing
from nafp.monitor.rules import Rules
from nafp.search import collection

_STAY = np.zeros(1)
_NUDGES = np.array([-0.01, -0.005, 0.0, 0.005, 0.01])  # Changes of a slope to try.
_SHIFTS = np.linspace(-0.5, 0.5, 9)  # Changes of a place to try, in rows of a track.
_WIDE = np.linspace(-1.25, 1.25, 6)  # The same for a new line.
_APART = 1.25  # Segments. Rows this far from each other have no sound in common.
_MOST_ENDED = 64  # Tracks that have ended and may still explain others.
_SAMPLES = 32  # Places at which two tracks are compared.


class Hearing(Protocol):
    """The latest audio, as fingerprints. A silent row is all zeros."""

    def prepare(self, speeds: Sequence[float], first: int, last: int) -> None:
        """Announces that rows first .. last will be asked for at all these speeds."""

    def vectors(self, speed: float, first: int, last: int) -> np.ndarray:
        """Returns rows first .. last, float32 [n, D]."""

    def near(self, speed: float, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns cosines and numbers of the rows nearest to rows first .. last, [n, K] each, -1 for none."""


@dataclasses.dataclass
class _Candidate:
    """A line in one window of W rows, and how well it fits.

    level: mean cosine off the line. vectors: what the track has along the line. playing: the track that the line is
    played by, None for a new line. adds: contrasts that better lines do not explain.
    """

    line: Line
    cosines: np.ndarray  # [W]
    level: float
    vectors: np.ndarray  # [W, D]
    playing: Playing | None = None
    adds: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))  # [W]

    @property
    def played(self) -> Playing:
        """The track of a line that is being played."""
        assert self.playing is not None
        return self.playing

    @property
    def contrasts(self) -> np.ndarray:
        """Cosines scaled so that 0 is the mean cosine off the line and 1 is equality, [W]."""
        level = max(0.0, self.level)
        return (self.cosines - level) / max(1 - level, 0.05)

    @property
    def strength(self) -> float:
        """Mean of the positive contrasts."""
        return float(np.maximum(self.contrasts, 0).mean())


class Timeline:
    """Follows what is played.

    rows: fingerprints of the collection. hop_s, segment_s: of the rows that are heard. speeds: those that rows can be
    heard at. playing: tracks that are being played, or may come back. heard: rows taken in so far. lost: tracks, by
    position, that would be played if their fingerprints were those written.
    """

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
        self.heard, self.lost = 0, set[int]()

    def advance(self, hearing: Hearing, last: int) -> list[Played]:
        """Takes in the rows up to `last`, one step or less. Returns the tracks that have ended."""
        first = max(0, last - self._n_window)
        live = self._continued(hearing, first, last)
        candidates = live + self._proposed(hearing, first, last, live)
        accepted = self._arbitrated(candidates)
        for candidate in accepted:
            if candidate.playing is None:
                opened = self._opened(hearing, candidate, live, first, last)
                opened.compare(*self._margins(candidate, accepted, candidates))
                self.playing.append(opened)
        for candidate in live:
            candidate.played.compare(*self._margins(candidate, accepted, candidates))
            self._extend(candidate, last)
        self.heard = last
        return self._closed(self._second(last, 1.0))

    def finish(self) -> list[Played]:
        """Ends all tracks and returns them."""
        return self._closed(np.inf)

    def state(self) -> dict[str, Any]:
        """Returns the state, fit for JSON."""
        playing = [playing.state() for playing in self.playing]
        return {"heard": self.heard, "playing": playing, "ended": [*map(list, self._ended)]}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state."""
        self.heard = state["heard"]
        playing = [Playing.restored(playing) for playing in state["playing"]]
        self.playing = [playing for playing in playing if self._is_whole(playing.line.track)]
        self._ended = [Played(*values) for values in state["ended"]]

    def _second(self, row: float, speed: float) -> float:
        """Returns the second of the recording at the centre of a row."""
        return row * self._hop_s + self._segment_s / 2 / speed

    def _seconds(self, first: int, last: int, speed: float) -> np.ndarray:
        """Returns the seconds of the recording at the centres of rows first .. last, [n]."""
        return np.arange(first, last) * self._hop_s + self._segment_s / 2 / speed

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
        """Fits lines of one speed to rows first .. last. slopes, offsets: changes of a line to try."""
        if not lines:
            return []
        speed, hop_s, half = lines[0].speed, self._rows.hop_s, self._segment_s / 2
        middle = self._second((first + last - 1) / 2, speed)
        fit = diagonals.fit(
            hearing.vectors(speed, first, last),
            np.array([line.track for line in lines]),
            np.array([(line.at(middle) - half) / hop_s for line in lines]),
            self._rows,
            step=self._hop_s / hop_s,
            slopes=np.array([line.slope for line in lines])[:, None] + slopes,
            offsets=offsets,
            apart=_APART * self._segment_s / hop_s,
        )
        refs = (fit.places * hop_s + half).tolist()
        return [
            _Candidate(Line(line.track, speed, middle, ref, slope), cosines, level, vectors)
            for line, ref, slope, cosines, level, vectors in zip(
                lines,
                refs,
                fit.slopes.tolist(),
                fit.cosines,
                fit.levels.tolist(),
                fit.vectors,
            )
        ]

    def _continued(self, hearing: Hearing, first: int, last: int) -> list[_Candidate]:
        """Returns the lines that are being played, followed into rows first .. last."""
        live = []
        for playing in self.playing:
            (now,) = self._fit(hearing, [playing.line], first, last, slopes=_NUDGES, offsets=_SHIFTS)
            if now.strength >= self.rules.follows:
                playing.follow(now.line)
            (now,) = self._fit(hearing, [playing.line], first, last)
            now.playing = playing
            live.append(now)
        return live

    def _proposed(self, hearing: Hearing, first: int, last: int, live: list[_Candidate]) -> list[_Candidate]:
        """Returns new lines. Other speeds are tried only while nothing that is played explains the new rows."""
        new = self.heard - first
        explained = max((float(candidate.contrasts[new:].mean()) for candidate in live), default=0.0)
        speeds = self._speeds[:1] if explained >= self.rules.explained else self._speeds
        hearing.prepare(speeds, first, last)
        return [new for speed in speeds for new in self._at_speed(hearing, speed, first, last, live)]

    def _at_speed(
        self, hearing: Hearing, speed: float, first: int, last: int, live: list[_Candidate]
    ) -> list[_Candidate]:
        """Returns the new lines at one speed."""
        cosines, near = hearing.near(speed, first, last)
        step = self._hop_s * speed / self._rows.hop_s
        tracks, places = diagonals.propose(near, cosines, self._rows, step=step, most=self.rules.proposals)
        refs = places * self._rows.hop_s + self._segment_s / 2
        middle = self._second((first + last - 1) / 2, speed)
        lines = [Line(track, speed, middle, ref, speed) for track, ref in zip(tracks.tolist(), refs.tolist())]
        tempo = self.rules.tempo if speed == 1 else 0.01
        slopes = np.linspace(-tempo, tempo, 7 if speed == 1 else 3)
        lines = [rough.line for rough in self._fit(hearing, lines, first, last, slopes=slopes, offsets=_WIDE)]
        candidates = self._fit(hearing, lines, first, last, slopes=_NUDGES, offsets=_SHIFTS)
        return [candidate for candidate in candidates if not self._is_played(candidate, live)]

    def _is_played(self, new: _Candidate, live: list[_Candidate]) -> bool:
        """Returns whether a new line is one that is being played. A played line that fits worse is put on it."""
        for other in live:
            apart_s = abs(other.line.at(new.line.t) - new.line.ref_s)
            if other.line.track != new.line.track or apart_s >= self.rules.same_s:
                continue
            if new.strength > other.strength + 0.1:
                other.played.jump(new.line)
                other.line, other.cosines = new.line, new.cosines
                other.level, other.vectors = new.level, new.vectors
            return True
        return False

    def _arbitrated(self, candidates: list[_Candidate]) -> list[_Candidate]:
        """Weighs candidates from the strongest to the weakest, and returns those that add enough to stronger ones."""
        rules = self.rules
        accepted: list[_Candidate] = []
        strengths = [candidate.strength + rules.bonus * bool(candidate.playing) for candidate in candidates]
        for number in np.argsort(-np.array(strengths), kind="stable"):
            candidate = candidates[number]
            candidate.adds = self._added(candidate, accepted)
            if candidate.playing or self._may_open(candidate):
                accepted.append(candidate)
        return accepted

    def _may_open(self, new: _Candidate) -> bool:
        """Returns whether there is enough evidence for a new line, in a track that is whole."""
        return self._evidence(new)[0] >= self.rules.opens and self._is_whole(new.line.track)

    def _is_whole(self, track: int) -> bool:
        """Returns whether the fingerprints of a track are those written. Notes one that is lost."""
        is_whole = self._rows.is_whole(track)
        if not is_whole:
            self.lost.add(track)
        return is_whole

    def _added(self, candidate: _Candidate, better: list[_Candidate]) -> np.ndarray:
        """Returns the contrasts of a line that better lines do not explain, [W]."""
        explained = np.zeros(len(candidate.cosines), np.float32)
        for other in better:
            alike = self._likeness(candidate, other)
            explained = np.maximum(explained, alike * np.maximum(other.contrasts, 0))
        return candidate.contrasts - explained

    def _likeness(self, first: _Candidate, second: _Candidate) -> np.ndarray:
        apart = int(np.ceil(_APART * self._segment_s / self._hop_s))
        return diagonals.likeness(first.vectors, second.vectors, apart=apart)

    def _evidence(self, candidate: _Candidate) -> tuple[float, int, int]:
        """Returns the evidence for a new line, and the rows of the window that it starts and stops at."""
        bent = self.rules.tempo_costs * abs(candidate.line.slope / candidate.line.speed - 1)
        return _richest((candidate.adds - bent - self.rules.open_floor) * self._hop_s)

    def _margins(
        self, candidate: _Candidate, accepted: list[_Candidate], candidates: list[_Candidate]
    ) -> tuple[float, float]:
        """Returns by how much a line is above any line of another recording that is not played: cosine, contrast."""
        copies = {one.line.track for one in candidates if self._likeness(candidate, one).mean() >= self.rules.twin}
        rivals = [
            other
            for other in candidates
            if not any(other is played for played in accepted)
            and other.line.track not in {candidate.line.track, *copies, *self.lost}
        ]
        cosine = max((float(other.cosines.mean()) for other in rivals), default=0.0)
        contrast = max((float(other.contrasts.mean()) for other in rivals), default=0.0)
        return float(candidate.cosines.mean()) - cosine, float(candidate.contrasts.mean()) - contrast

    def _extend(self, candidate: _Candidate, last: int) -> None:
        """Takes the new rows of a window, those up to `last`, into the track that is being played."""
        new = slice(self.heard - last, None)
        candidate.played.extend(
            candidate.cosines[new],
            candidate.contrasts[new],
            (candidate.adds[new] - self.rules.floor) * self._hop_s,
            times=self._seconds(self.heard, last, candidate.line.speed),
            resumes=self.rules.resumes,
        )

    def _opened(self, hearing: Hearing, new: _Candidate, live: list[_Candidate], first: int, last: int) -> Playing:
        """Begins a track: looks back for its start, and forward for its end so far."""
        _, start, stop = self._evidence(new)
        parts = [(first, new)]
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
        playing = Playing(new.line, start_s, line.at(start_s), start_s, line.at(start_s))
        times = self._seconds(oldest + begin, last, line.speed)
        playing.extend(cosines[begin:], contrasts[begin:], evidence[begin:], times=times, resumes=0.0)
        return playing

    def _before(self, hearing: Hearing, new: _Candidate, live: list[_Candidate], first: int, last: int) -> _Candidate:
        """Follows a new line back into rows first .. last. Only played lines that fit better there explain it."""
        (earlier,) = self._fit(hearing, [new.line], first, last, offsets=_SHIFTS)
        if earlier.strength < self.rules.follows:
            (earlier,) = self._fit(hearing, [new.line], first, last)
        better = []
        for other in live:
            if other.played.start_s < self._second(last, 1.0):
                (then,) = self._fit(hearing, [other.line], first, last, offsets=_SHIFTS)
                better += [then] if then.strength > earlier.strength + self.rules.bonus else []
        earlier.adds = self._added(earlier, better)
        return earlier

    def _closed(self, now_s: float) -> list[Played]:
        """Ends tracks that were lost for long or cannot come back. Returns those of them that explain something."""
        going_on, ended = [], []
        for playing in self.playing:
            lasts_s = self._track_seconds(playing.line.track)
            is_over = playing.line.at(now_s) > lasts_s if np.isfinite(now_s) else True
            if now_s - playing.end_s < self.rules.hold_s and not is_over:
                going_on.append(playing)
            else:
                ended.append(playing)
        self.playing = going_on
        reported: list[Played] = []
        while ended:  # The weakest first: of two that explain each other, the better one stays.
            weakest = min(ended, key=lambda playing: playing.score * (playing.end_s - playing.start_s))
            ended.remove(weakest)
            played = weakest.played(hop_s=self._rows.hop_s)
            long_enough = played.end_s - played.start_s >= self.rules.shortest_s
            clear = played.lead >= self.rules.leads
            if long_enough and clear and self._adds(played, ended):
                reported.append(played)
                self._ended = [*self._ended, played][-_MOST_ENDED:]
        return sorted(reported, key=lambda played: played.start_s)

    def _track_seconds(self, track: int) -> float:
        """Returns the length of a track in seconds, as far as its rows reach."""
        first, end = self._rows.borders(np.array([track]))
        return float(end[0] - first[0] - 1) * self._rows.hop_s + self._segment_s

    def _adds(self, played: Played, beside: list[Playing]) -> bool:
        """Returns whether a track explains more than the tracks that overlap it do."""
        others = [playing.played(hop_s=self._rows.hop_s) for playing in self.playing + beside]
        times = np.linspace(played.start_s, played.end_s, _SAMPLES)
        own = self._vectors(played, times)
        explained = np.zeros(_SAMPLES)
        for other in self._ended + others:
            inside = (times >= other.start_s) & (times <= other.end_s)
            if inside.any():
                alike = diagonals.likeness(own, self._vectors(other, times), apart=_SAMPLES // 4)
                alike = alike * other.contrast
                explained = np.maximum(explained, np.where(inside, alike, 0))
        return bool(played.contrast - explained.mean() >= self.rules.adds)

    def _vectors(self, played: Played, times: np.ndarray) -> np.ndarray:
        """Returns what a played track has at these seconds of the recording, [n, D]."""
        slope = (played.track_end_s - played.track_start_s) / max(played.end_s - played.start_s, 1e-6)
        refs = played.track_start_s + (times - played.start_s) * slope
        places = (refs - self._segment_s / 2) / self._rows.hop_s
        return diagonals.at(played.track, places, self._rows)


def _richest(values: np.ndarray) -> tuple[float, int, int]:
    """Returns the largest sum of consecutive values, and where they start and stop."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    lowest = np.minimum.accumulate(sums)
    stop = int(np.argmax(sums - lowest))
    start = int(np.argmin(sums[: stop + 1]))
    return float(sums[stop] - sums[start]), start, stop
