"""Draws panels as SVG that stands inside a page. The same panel gives the same text, on any machine."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from . import panels

WIDTH = 480.0  # Of a picture, in its own units: small, so that its letters can be read on a phone.
_LETTER = 8.2  # Width of a letter of 13 units on a desktop, and of 15 on a phone, at most, in common fonts.
_TOP, _BOTTOM, _RIGHT, _EDGE = 26.0, 44.0, 14.0, 12.0
_LONGEST = 26  # Letters of a label beside an axis.
_RADIUS = {False: 4.0, True: 3.0}  # Of a mark, and of a small one.


class _Frame:
    """The rectangle between the axes, and where a number lies in it."""

    def __init__(self, panel: panels.Panel):
        longest = max((len(_short(text)) for _, text in panel.y.ticks), default=0)
        self.left = _EDGE + 6 + _LETTER * longest
        self.right, self.top, self.bottom = WIDTH - _RIGHT, _TOP, panel.height - _BOTTOM
        self._x, self._y = panel.x, panel.y

    def x(self, value: float) -> float:
        return round(self.left + _share(value, self._x) * (self.right - self.left), 1)

    def y(self, value: float) -> float:
        return round(self.bottom - _share(value, self._y) * (self.bottom - self.top), 1)

    def path(self, points: Iterable[panels.Point]) -> str:
        """Returns the data of an SVG path through points."""
        return "M" + "L".join(f"{self.x(x):g} {self.y(y):g}" for x, y in points)


def shapes(panel: panels.Panel) -> dict[str, Any]:
    """Returns what the template picture.svg draws of a panel, all places in units of the picture."""
    frame = _Frame(panel)
    return {
        "width": f"{WIDTH:g}",
        "height": f"{panel.height:g}",
        "frame": {name: f"{getattr(frame, name):g}" for name in ("left", "right", "top", "bottom")},
        "x_ticks": _spaced([(frame.x(place), text) for place, text in panel.x.ticks]),
        "y_ticks": [(frame.y(place), _short(text), text) for place, text in panel.y.ticks],
        "areas": [(area.tone, frame.path(area.points)) for area in panel.areas],
        "lines": [(line.tone, frame.path(line.points), line.is_dashed) for line in panel.lines],
        "bars": [_bar(bar, frame) for bar in panel.bars],
        "marks": [_mark(mark, frame) for mark in panel.marks],
    }


def _mark(mark: panels.Mark, frame: _Frame) -> dict[str, Any]:
    return {
        "tone": mark.tone,
        "text": mark.text,
        "x": f"{frame.x(mark.x):g}",
        "y": f"{frame.y(mark.y):g}",
        "radius": _RADIUS[mark.is_small],
        "whisker": frame.path(mark.whisker) if mark.whisker else "",
    }


def _bar(bar: panels.Bar, frame: _Frame) -> dict[str, Any]:
    left, right, top, bottom = frame.x(bar.low), frame.x(bar.high), frame.y(bar.top), frame.y(bar.bottom)
    return {
        "tone": bar.tone,
        "text": bar.text,
        "x": f"{left:g}",
        "y": f"{top:g}",
        "width": f"{right - left:.1f}",
        "height": f"{bottom - top:.1f}",
        "middle": f"{(left + right) / 2:g}",
    }


def _share(value: float, axis: panels.Axis) -> float:
    """Returns how far along an axis a value lies, 0 to 1. What lies outside is drawn at the end."""
    if not math.isfinite(value):
        raise ValueError(f"{value} has no place on the axis {axis.label!r}")
    span = axis.high - axis.low
    return min(1.0, max(0.0, (value - axis.low) / span)) if span else 0.5


def _spaced(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Returns ticks, of which those keep their text whose letters have room beside the last text."""
    shown, end = [], -math.inf
    for place, text in ticks:
        half = _LETTER * len(text) / 2
        has_room = place - half > end + _LETTER
        shown.append((place, text if has_room else ""))
        end = place + half if has_room else end
    return shown


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
