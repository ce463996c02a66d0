"""Stretches of a long recording, known and unknown, as lines of text, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import pathlib
import re
from collections.abc import Iterable
from typing import Any

from nafp.identify import answers
from nafp.jobs import shown
from nafp.monitor.stretches import Stretch

FORMATS = ("text", "json", "csv")
COLUMNS = (
    "recording",
    "track",
    "start_s",
    "end_s",
    "track_start_s",
    "track_end_s",
    "score",
    "probability",
    "margin",
    "speed",
    "heard_at",
)
# How a text begins: the name of an input, or a time, which in live audio follows the date.
_TEXT = re.compile(r"== .|(\d{4}-\d\d-\d\d [\d:+-]+  )?(\d+:)?\d+:\d\d\.\d - ")
_DIGITS = {"score": 4, "probability": 4, "margin": 4, "speed": 4}  # Seconds have two.


def is_former(head: bytes) -> bool:
    """Returns whether the first bytes of a file are those of lines written here, in any of FORMATS."""
    text = head.decode("utf-8", errors="replace")
    return text.startswith((_separated(COLUMNS), '{"recording": ')) or bool(_TEXT.match(text))


def header(format: str) -> str:
    """Returns the first line of a table, or "" for a format without one."""
    return _separated(COLUMNS) if format == "csv" else ""


def said(stretch: Stretch, recording: str, format: str = "text", *, heard_at: str = "") -> str:
    """Returns a stretch in one of FORMATS: one line, without a line break at its end.

    recording: name of the recording. heard_at: date and time of day at which the stretch began, for live audio.
    """
    if format == "text":
        return as_text(stretch, heard_at=heard_at)
    record = as_record(stretch, recording, heard_at=heard_at)
    if format == "json":
        return json.dumps({key: value for key, value in record.items() if key != "heard_at" or value})
    return _separated([record[name] for name in COLUMNS])


def as_record(stretch: Stretch, recording: str, *, heard_at: str = "") -> dict[str, Any]:
    """Returns the values of COLUMNS by name. An unknown stretch has None for everything about a track."""
    values = {name: getattr(stretch, name, None) for name in COLUMNS}
    if not stretch.track:
        values = {name: value if name in ("start_s", "end_s") else None for name, value in values.items()}
    rounded = {
        name: round(value, _DIGITS.get(name, 2)) + 0.0 if isinstance(value, float) else value
        for name, value in values.items()
    }
    return rounded | {"recording": recording, "heard_at": heard_at or None}


def as_text(stretch: Stretch, *, heard_at: str = "") -> str:
    """Returns a stretch for people to read: when, which track, from where in it, how fast, how sure."""
    when = f"{clock(stretch.start_s)} - {clock(stretch.end_s)}"
    when = f"{heard_at}  {when}" if heard_at else when
    if not stretch.track:
        return f"{when}   (unknown)"
    change = 100 * (stretch.speed - 1)
    parts = [
        f"{when}   {shown.plain(pathlib.PurePath(stretch.track).stem)}",
        f"from {clock(stretch.track_start_s)}",
        *([f"speed {change:+.1f} %"] if abs(change) >= 0.25 else []),
        f"score {stretch.score:.2f}",
        *([answers.how_sure(stretch.probability)] if stretch.probability is not None else []),
    ]
    return "   ".join(parts)


def clock(seconds: float) -> str:
    """Returns a time within a recording in words: 0:07.2, 12:03.0, 1:02:03.5."""
    tenths = round(10 * max(0.0, seconds))
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{tenths // 10:02d}.{tenths % 10}"


def _separated(values: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["" if value is None else shown.cell(value) for value in values])
    return line.getvalue()
