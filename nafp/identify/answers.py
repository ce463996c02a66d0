"""Answers as records, and written as text, JSON, CSV and TSV.

pfann's three files (TSV, `_detail.csv`, `.bin`) are in `nafp.identify.pfann_files`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from nafp.identify import asking
from nafp.jobs import shown

FORMATS = ("text", "json", "csv", "tsv")
COLUMNS = (
    "query",
    "seconds",
    "rank",
    "track",
    "start_s",
    "score",
    "probability",
    "margin",
    "speed",
    "error",
    "from_s",
    "to_s",
    "semitones",
)
_HEARD_SEMITONES = 0.3  # A smaller change of pitch is not told to people, nor one that the speed explains.


class Answer(NamedTuple):
    """One track that a clip may come from, as `nafp.Database.identify` returns it. All numbers are Python floats.

    track: name of the track; in a database the path that was added, in a store the name of its source. start_s: second
    of the track at which the clip begins; it may be negative, for a clip that begins before the track. score: mean
    cosine between the fingerprints of the clip and those of the track there, -1..1. probability: chance that this is
    the right track, 0..1; None for a network without a calibration. margin: score minus the best score in another
    recording than that of the first answer, -2..2. speed: tempo of the clip divided by that of the track; 1.04 for a
    clip that plays 4 % faster. It is 0.68..1.4 at the default speeds. from_s, to_s: seconds of the clip in which the
    track is heard, if it is a part of the clip; else the whole clip. semitones: pitch of the clip above that of the
    track, in all: 0.68 for a clip that a turntable plays 4 % faster, 0 for one that is 4 % faster at its pitch.
    """

    track: str
    start_s: float
    score: float
    probability: float | None
    margin: float
    speed: float = 1.0
    from_s: float = 0.0
    to_s: float | None = None
    semitones: float = 0.0

    @property
    def transposed(self) -> float:
        """Semitones that the speed alone does not explain."""
        return self.semitones - 12 * math.log2(self.speed)


class Reply(NamedTuple):
    """The reply to one clip.

    query: name of the clip. seconds: its length. answers: best first; none for a clip that is not in the collection.
    closest: the best candidate, where it was too improbable to be an answer. error: why the clip could not be asked,
    "" if it could. remark: what else a person should know of it.
    """

    query: str
    seconds: float
    answers: Sequence[Answer] = ()
    closest: Answer | None = None
    error: str = ""
    remark: str = ""


def header(format: str) -> str:
    """Returns the first line of a table, or "" for a format without one."""
    return _separated(COLUMNS, format) if format in ("csv", "tsv") else ""


def said(reply: Reply, format: str = "text") -> str:
    """Returns a reply in one of FORMATS, without a line break at its end."""
    if format == "json":
        return as_json(reply)
    if format in ("csv", "tsv"):
        return as_table(reply, format)
    return as_text(reply)


def as_json(reply: Reply) -> str:
    """Returns a reply as one JSON object on one line."""
    record = {
        "query": reply.query,
        "seconds": round(reply.seconds, 3),
        "answers": [_rounded(answer) for answer in reply.answers],
    }
    notes = {"error": reply.error, "remark": reply.remark}
    return json.dumps(record | {name: note for name, note in notes.items() if note})


def as_table(reply: Reply, format: str = "csv") -> str:
    """Returns a reply as lines of a table with COLUMNS. A clip without answers has one line, with no track in it."""
    clip = {"query": reply.query, "seconds": round(reply.seconds, 3), "error": reply.error}
    lines = [clip | {"rank": rank} | _rounded(answer) for rank, answer in enumerate(reply.answers, 1)]
    return "\n".join(_separated([line.get(name) for name in COLUMNS], format) for line in lines or [clip])


def as_text(reply: Reply) -> str:
    """Returns a reply for people to read, one line for each answer."""
    clip = f"{shown.plain(pathlib.PurePath(reply.query).name)} ({reply.seconds:.1f} s)"
    if reply.error:
        return f"{clip}  →  {shown.plain(reply.error)}"
    lines = [f"{clip}  →  {_in_words(answer)}{_part(answer, reply)}" for answer in reply.answers]
    if not lines:
        closest = f"   (closest: {_in_words(reply.closest)})" if reply.closest else ""
        lines = [f"{clip}  →  {reply.remark or 'not in the collection'}{closest}"]
    elif reply.remark:
        lines.append(f"{clip}  →  {reply.remark}")
    return "\n".join(lines)


def _in_words(answer: Answer) -> str:
    start = f"{'-' if answer.start_s < -0.05 else ''}{_clock(abs(answer.start_s))}"
    words = [f"{shown.plain(pathlib.PurePath(answer.track).stem)}   at {start}"]
    if abs(answer.speed - 1) >= 0.005:
        words.append(f"speed {100 * (answer.speed - 1):+.1f} %")
    if abs(answer.transposed) >= _HEARD_SEMITONES and abs(answer.semitones) >= _HEARD_SEMITONES:
        words.append(f"pitch {answer.semitones:+.1f} semitones")
    words.append(f"score {answer.score:.2f}   margin {answer.margin:.2f}")
    if answer.probability is not None:
        words.append(how_sure(answer.probability))
    return "   ".join(words)


def how_sure(probability: float) -> str:
    """Returns a probability for people to read, in percent. No answer is called surer than 99.9 %."""
    return f"{100 * min(probability, 0.999):.1f} % sure".replace(".0 %", " %")


def _part(answer: Answer, reply: Reply) -> str:
    """Says where in the clip a track is heard, "" if it is the whole clip."""
    heard_s = min(reply.seconds, asking.LONGEST_S)
    if answer.to_s is None or (answer.from_s <= 0 and answer.to_s >= heard_s - 1):
        return ""
    return f"   in {_clock(answer.from_s)} - {_clock(answer.to_s)} of the clip"


def _clock(seconds: float) -> str:
    minutes, tenths = divmod(round(10 * seconds), 600)
    return f"{minutes}:{tenths / 10:04.1f}"


def _rounded(answer: Answer) -> dict[str, object]:
    digits = dict(start_s=3, score=4, probability=4, margin=4, speed=3, from_s=3, to_s=3, semitones=2)
    return {
        name: value if name not in digits or value is None else round(float(value), digits[name])
        for name, value in answer._asdict().items()
    }


def _separated(values: Sequence[object], format: str) -> str:
    line = io.StringIO()
    csv.writer(line, delimiter="\t" if format == "tsv" else ",", lineterminator="").writerow(map(shown.cell, values))
    return line.getvalue()
