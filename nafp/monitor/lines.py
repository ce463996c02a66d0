"""What is said of a long recording: stretches of tracks and of the unknown, as text, JSON or CSV lines."""

from __future__ import annotations

import csv
import io
import json
import pathlib
from typing import Any

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
_DIGITS = {"score": 4, "probability": 4, "margin": 4, "speed": 4}  # Seconds have two.


def header(format: str) -> str:
    """Returns the first line of a table, "" for formats without one."""
    return _separated(COLUMNS) if format == "csv" else ""


def said(stretch: Stretch, recording: str, format: str = "text", *, heard_at: str = "") -> str:
    """Writes a stretch in one of FORMATS, on one line without its end.

    heard_at: date and time of day of its start, for what is heard live.
    """
    if format == "text":
        return as_text(stretch, heard_at=heard_at)
    record = as_record(stretch, recording, heard_at=heard_at)
    if format == "json":
        return json.dumps({key: value for key, value in record.items() if key != "heard_at" or value})
    return _separated([record[name] for name in COLUMNS])


def as_record(stretch: Stretch, recording: str, *, heard_at: str = "") -> dict[str, Any]:
    """Gives COLUMNS by name; None for all there is to say of a track where it is unknown."""
    values = {name: getattr(stretch, name, None) for name in COLUMNS}
    if not stretch.track:
        kept = ("start_s", "end_s")
        values = {name: values[name] if name in kept else None for name in COLUMNS}
    rounded = {
        name: round(value, _DIGITS.get(name, 2)) + 0.0 if isinstance(value, float) else value
        for name, value in values.items()
    }
    return rounded | {"recording": recording, "heard_at": heard_at or None}


def as_text(stretch: Stretch, *, heard_at: str = "") -> str:
    """Writes a stretch for people: when, what, where in it, how fast, how sure."""
    when = f"{clock(stretch.start_s)} - {clock(stretch.end_s)}"
    when = f"{heard_at}  {when}" if heard_at else when
    if not stretch.track:
        return f"{when}   (unknown)"
    change = 100 * (stretch.speed - 1)
    parts = [
        f"{when}   {pathlib.PurePath(stretch.track).stem}",
        f"from {clock(stretch.track_start_s)}",
        *([f"speed {change:+.1f} %"] if abs(change) >= 0.25 else []),
        f"score {stretch.score:.2f}",
        *([f"{100 * stretch.probability:.0f} % sure"] if stretch.probability is not None else []),
    ]
    return "   ".join(parts)


def clock(seconds: float) -> str:
    """Writes a time within a recording: 0:07.2, 12:03.0, 1:02:03.5."""
    tenths = round(10 * max(0.0, seconds))
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{tenths // 10:02d}.{tenths % 10}"


def _separated(values: Any) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["" if v is None else v for v in values])
    return line.getvalue()
