"""Tells the speed, the pitch and the place of an answer more exactly than they had to be known to find it."""

from __future__ import annotations

import math

from nafp.identify import asking, pitched
from nafp.identify.answers import Answer
from nafp.identify.ranked import RankedClip
from nafp.search import collection, match, slopes, speeds

_TOLD = 3  # Answers that are told exactly.


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
        answers[number] = _exact(answers[number], ranking, place, rows, ears if is_told else None)
    return ranking._replace(answers=answers)


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
