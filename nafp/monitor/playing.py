"""A track while it is being played: its line, its start, its end so far, and its scores."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

_PLACES = 8  # Windows that the slope is fitted to: half a minute.
_LOST_S = 2.0  # After this long without evidence a track needs more than a little of it to go on.
_LEAST_RISING = -0.5  # Evidence never falls below this, so that a track can come back after talk of any length.


class Line(NamedTuple):
    """Which second of a track is heard at which second of the recording.

    track: by position. speed: the one undone in the query rows that the line was fitted to. t: second of the recording
    at which second ref_s of the track is heard. slope: seconds of the track that pass in one second of the recording.
    """

    track: int
    speed: float
    t: float
    ref_s: float
    slope: float

    def at(self, t: float) -> float:
        """Returns the second of the track that is heard at second t of the recording."""
        return self.ref_s + self.slope * (t - self.t)


class Played(NamedTuple):
    """A track that was played.

    track: by position. start_s, end_s: seconds of the recording. track_start_s, track_end_s: seconds of the track.
    score: mean cosine. margin: score minus the best score of another recording. contrast: mean of the cosines, scaled
    so that 0 is the mean cosine off the line and 1 is equality. lead: contrast minus the best contrast of another
    recording. speed: seconds of the track that pass in one second of the recording. n_rows: rows of the track.
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
    """A line that is followed. Its size does not grow with the time that the track is played.

    end_s, track_end_s: the end so far. rising: evidence since then, in seconds of contrast. heard, at_end: sums of
    cosines, contrasts and rows, until now and until the end. margins: sums over windows of margins, leads and 1.
    places: [t, ref_s] of the last windows. sums: of 1, t, r, tt, tr over all windows, where t and r are counted from
    start_s and track_start_s.
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
    told: bool = False  # Unused. A state of an earlier version has it.

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
        """The slope fitted to all windows."""
        n, t, r, tt, tr = self.sums
        spread = n * tt - t * t
        return (n * tr - t * r) / spread if n >= 3 and spread > 0 else self.line.slope

    def compare(self, margin: float, lead: float) -> None:
        """Takes in how far the track was above any other recording in one window."""
        self.margins = [total + more for total, more in zip(self.margins, (margin, lead, 1))]

    def follow(self, line: Line) -> None:
        """Goes on along a line that was fitted anew. Its slope is fitted to the last half minute."""
        self.places = [*self.places, [line.t, line.ref_s]][-_PLACES:]
        t, r = line.t - self.start_s, line.ref_s - self.track_start_s
        self.sums = [total + more for total, more in zip(self.sums, (1, t, r, t * t, t * r))]
        if len(self.places) >= 3:
            times, refs = np.array(self.places).T
            slope = float(np.polyfit(times - line.t, refs - line.ref_s, 1)[0])
            line = line._replace(slope=slope)
        self.line = line

    def jump(self, line: Line) -> None:
        """Goes on along another line of the same track. The slope is fitted from there on."""
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
        """Takes in n rows, and moves the end to the last one up to which the evidence adds up.

        cosines, contrasts: [n]. evidence: [n], in seconds of contrast. times: [n], the second at the centre of each
        row. resumes: evidence that a lost track needs to go on.
        """
        rows = zip(*(values.tolist() for values in (cosines, contrasts, evidence, times)))
        for cosine, contrast, more, t in rows:
            self.heard = [total + new for total, new in zip(self.heard, (cosine, contrast, 1))]
            self.rising = max(self.rising + more, _LEAST_RISING)
            if self.rising > (resumes if t - self.end_s > _LOST_S else 0.0):
                self.at_end, self.rising = self.heard, 0.0
                self.end_s, self.track_end_s = t, self.line.at(t)

    def played(self, *, hop_s: float) -> Played:
        """Returns the track as played up to its end so far. hop_s: seconds between rows of the track."""
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
        """Returns the state, fit for JSON."""
        return dataclasses.asdict(self) | {"line": list(self.line)}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "Playing":
        """Returns the track of a state."""
        return cls(**(state | {"line": Line(*state["line"])}))
