"""A picture as data: axes, and what is drawn between them. `svg` and `images` draw it."""

from collections.abc import Sequence
from typing import NamedTuple

Point = tuple[float, float]


class Axis(NamedTuple):
    """An axis from `low` to `high`.

    ticks: places, and what is written there. has_grid: whether a line crosses the panel at each.
    """

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    has_grid: bool = True


class Line(NamedTuple):
    """A line through points."""

    points: Sequence[Point]
    tone: str
    is_dashed: bool = False


class Area(NamedTuple):
    """A filled outline."""

    points: Sequence[Point]
    tone: str


class Mark(NamedTuple):
    """A dot that can be pointed at. text: its numbers, in words. whisker: the ends of its interval."""

    x: float
    y: float
    tone: str
    text: str
    whisker: tuple[Point, Point] | None = None
    is_small: bool = False


class Bar(NamedTuple):
    """A bar of a histogram between `low` and `high`, that can be pointed at. text: its numbers, in words."""

    low: float
    high: float
    bottom: float
    top: float
    tone: str
    text: str


class Key(NamedTuple):
    """A line of the legend."""

    label: str
    tone: str


class Panel(NamedTuple):
    """One picture.

    name: of its file. title: its heading. about: a sentence on what it shows. keys_title: what the keys are of.
    height: in units of which the width has `svg.WIDTH`.
    """

    name: str
    title: str
    about: str
    x: Axis
    y: Axis
    keys: Sequence[Key] = ()
    keys_title: str = ""
    areas: Sequence[Area] = ()
    lines: Sequence[Line] = ()
    bars: Sequence[Bar] = ()
    marks: Sequence[Mark] = ()
    height: float = 300.0
