"""A track while it is being played: its line, its start, its end so far, and what it scores."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

_PLACES = 8  # Last ones that say how fast the track passes: half a minute.
_LOST_S = 2.0  # So long without evidence, and a little of it is not enough to go on.
_LEAST_RISING = -0.5  # Talk of any length costs a track no more than this to come back.


class Line(NamedTuple):
    """Second ref_s of a track is heard at second t; slope: seconds of it that pass in one.

    speed: at which the query rows that follow it are heard.
    """

    track: int
    speed: float
    t: float
    ref_s: float
    slope: float

    def at(self, t: float) -> float:
        return self.ref_s + self.slope * (t - self.t)


class Played(NamedTuple):
    """A track that was played. score: mean cosine; margin: score less the best of another recording;
    contrast: mean of how far the cosines were on the way from those off the line to 1; lead: contrast
    less the best of another recording.

    speed: seconds of the track that pass in one of the recording. n_rows: rows of the track.
    """

    track: int
    start_s: float
    end_s: float
    track_start_s: float
    track_end_s: float
    score: float
    margin: float
    contrast: float
    lead: float
    speed: float
    n_rows: int


@dataclasses.dataclass
class Playing:
    """A line that is followed. Nothing in it grows with what is played.

    rising: evidence since the end, in seconds of contrast. heard, at_end: sums of cosines, contrasts and
    rows, until now and until the end. margins: sums over windows, of cosines, contrasts and 1. places:
    [t, ref_s] of the last windows. sums: of 1, t, r, tt, tr over all of them, from start_s and
    track_start_s on.
    """

    line: Line
    start_s: float
    track_start_s: float
    end_s: float
    track_end_s: float
    rising: float = 0.0
    heard: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0, 0.0])
    at_end: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0, 0.0])
    margins: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0, 0.0])
    places: list[list[float]] = dataclasses.field(default_factory=list)
    sums: list[float] = dataclasses.field(default_factory=lambda: [0.0] * 5)
    told: bool = False  # Whether somebody was told that it is on.

    @property
    def score(self) -> float:
        return self.at_end[0] / max(1.0, self.at_end[2])

    @property
    def contrast(self) -> float:
        return self.at_end[1] / max(1.0, self.at_end[2])

    @property
    def margin(self) -> float:
        return self.margins[0] / max(1.0, self.margins[2])

    @property
    def lead(self) -> float:
        return self.margins[1] / max(1.0, self.margins[2])

    @property
    def speed(self) -> float:
        """The slope over everything that was heard."""
        n, t, r, tt, tr = self.sums
        spread = n * tt - t * t
        return (n * tr - t * r) / spread if n >= 3 and spread > 0 else self.line.slope

    def compare(self, margin: float, lead: float) -> None:
        """Notes how far it was above the best of another recording, in one window."""
        self.margins = [a + b for a, b in zip(self.margins, (margin, lead, 1))]

    def follow(self, line: Line) -> None:
        """Goes on along a line that was fitted anew; its slope comes from the last half minute."""
        self.places = [*self.places, [line.t, line.ref_s]][-_PLACES:]
        t, r = line.t - self.start_s, line.ref_s - self.track_start_s
        self.sums = [a + b for a, b in zip(self.sums, (1, t, r, t * t, t * r))]
        if len(self.places) >= 3:
            times, refs = np.array(self.places).T
            slope = float(np.polyfit(times - line.t, refs - line.ref_s, 1)[0])
            line = line._replace(slope=slope)
        self.line = line

    def jump(self, line: Line) -> None:
        """Goes on along a line that is not quite where it was expected."""
        self.places, self.line = [], line

    def extend(
        self,
        cosines: np.ndarray,
        contrasts: np.ndarray,
        evidence: np.ndarray,
        *,
        times: np.ndarray,
        resumes: float,
    ) -> None:
        """Takes in rows; moves the end to the last one up to which evidence still adds up.

        evidence: of each row, in seconds of contrast; times: the second each row stands for.
        """
        rows = zip(*(each.tolist() for each in (cosines, contrasts, evidence, times)))
        for cosine, contrast, more, t in rows:
            self.heard = [a + b for a, b in zip(self.heard, (cosine, contrast, 1))]
            self.rising = max(self.rising + more, _LEAST_RISING)
            if self.rising > (resumes if t - self.end_s > _LOST_S else 0.0):
                self.at_end, self.rising = self.heard, 0.0
                self.end_s, self.track_end_s = t, self.line.at(t)

    def played(self, *, hop_s: float) -> Played:
        """Says what there is to say at the end. hop_s: of the track's rows."""
        n_rows = max(1, round((self.track_end_s - self.track_start_s) / hop_s))
        return Played(
            self.line.track,
            self.start_s,
            self.end_s,
            self.track_start_s,
            self.track_end_s,
            self.score,
            self.margin,
            self.contrast,
            self.lead,
            self.speed,
            n_rows,
        )

    def state(self) -> dict[str, Any]:
        """Gives everything as what JSON knows."""
        return dataclasses.asdict(self) | {"line": list(self.line)}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "Playing":
        """Makes it again from its state."""
        return cls(**(state | {"line": Line(*state["line"])}))
