"""Tells the speed, the pitch and the place of an answer more exactly than they had to be known to find it."""

from __future__ import annotations

import math

import numpy as np

from nafp.identify import asking, pitched
from nafp.identify.answers import Answer
from nafp.identify.ranked import RankedClip
from nafp.search import collection, match, slopes, speeds

_TOLD = 3  # Answers that are told exactly.
# Of 33 recordings, clips of 5 s that began 2 s before a track's begin were misplaced in 16, those that ended 2 s after
# its end in 28. By this mean gain 14 and 25 of them are put right; none of 99 clips inside a track is moved.
_CLEARLY = 0.05
_TRIED = 16  # Places beyond an end that are looked at.


def semitones(pitch: float) -> float:
    """Converts a ratio of frequencies to semitones."""
    return 12 * math.log2(pitch)


def exactly(ranking: RankedClip, rows: collection.Collection, ears: pitched.Ears | None = None) -> RankedClip:
    """Returns a ranking whose best answers have their exact tempo, pitch and start. Their scores stay.

    ears: what heard the clip; None if only its fingerprints are known, and its pitch is known no better than before.
    Answers for parts of a clip stay as they are.
    """
    if ranking.n_parts or not ranking.heard:
        return ranking
    places = match.best_of_each_track(ranking.ranking.tracks)[:_TOLD].tolist()
    answers = list(ranking.answers)
    for number, place in enumerate(places[: len(answers)]):
        is_told = number == 0 and asking.is_probable(answers[0].probability)
        meant = _beyond_an_end(ranking, place, rows)
        answers[number] = _exact(answers[number], ranking, meant, rows, ears if is_told else None)
    return ranking._replace(answers=answers)


def _beyond_an_end(ranking: RankedClip, place: int, rows: collection.Collection) -> int:
    """Returns the place of a ranking that a place stands for: itself, or one where the clip reaches beyond its track.

    Music that repeats itself has a place inside, too, which scores more because every row of the clip has a row there.
    Those rows that have one at both places tell which of them it is.
    """
    found, version = ranking.ranking, ranking.heard[ranking.ranking.heard]
    own = np.flatnonzero(found.tracks == found.tracks[place])
    low, high = (edge[0] for edge in rows.borders(found.tracks[own[:1]]))
    is_beyond = (found.starts < low) | (found.starts + len(version.vectors[:: ranking.shifts]) > high)
    if is_beyond[place]:
        return place
    here = speeds.part_scores(version, found, place, rows, shifts=ranking.shifts)
    best, most = place, _CLEARLY
    for other in own[is_beyond[own]][:_TRIED].tolist():
        there = speeds.part_scores(version, found, other, rows, shifts=ranking.shifts)
        gains = [after - before for after, before in zip(there, here) if after and before]
        if len(gains) > 1 and np.mean(gains) > most:
            best, most = other, float(np.mean(gains))
    return best


def _exact(
    answer: Answer, ranking: RankedClip, place: int, rows: collection.Collection, ears: pitched.Ears | None
) -> Answer:
    found, version = ranking.ranking, ranking.heard[ranking.ranking.heard]
    track = int(found.tracks[place])
    line = slopes.fitted(
        version.vectors,
        rows,
        track=track,
        start=float(found.starts[place]),
        slope=float(found.slopes[place]),
        shifts=ranking.shifts,
        tempo=version.speed,
        likely=[version.pitch, 1.0],
    )
    pitch, speed = _exact_pitch(version, track, line, ranking.shifts, ears), version.speed * line.slope
    is_short = len(version.vectors) == 1 and version.speed == 1 and version.pitch < 1
    if is_short or abs(speed / version.pitch - 1) < 1e-9:
        speed = pitch  # A turntable's. One row has no tempo; it counts as a turntable's, too.
    start_s = (line.start - float(rows.borders(found.tracks[place : place + 1])[0][0])) * rows.hop_s
    return answer._replace(start_s=start_s, speed=speed, semitones=semitones(pitch))


def _exact_pitch(
    version: speeds.ClipAtSpeed, track: int, line: slopes.Line, shifts: int, ears: pitched.Ears | None
) -> float:
    if ears is None or version.pitch == 1:
        return version.pitch
    every = version._replace(vectors=version.vectors[::shifts])
    return pitched.exact_pitch(ears, every, track, line)
