"""Draws panels as PNG files. No other file of the evaluation imports matplotlib and Pillow."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from . import panels, svg, tones

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
_PALETTE = 192  # Colours of a PNG file.
_INCHES = 6.0 / svg.WIDTH  # Of a unit of a panel.
_KEYS_INCHES = 1.6  # Room for the legend, which stands beside the panel and covers nothing.


def png(drawn: Sequence[panels.Panel], *, columns: int = 1) -> bytes:
    """Draws panels in rows of `columns`, and returns the bytes of a PNG file."""
    n_rows = -(-len(drawn) // columns)
    size = (columns * (svg.WIDTH * _INCHES + _KEYS_INCHES), n_rows * max(panel.height for panel in drawn) * _INCHES)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size)
        places = figure.subplots(n_rows, columns, squeeze=False).ravel()
        for axes, panel in zip(places, drawn):
            _draw(axes, panel)
        for axes in places[len(drawn) :]:
            axes.set_axis_off()
        return _compressed(figure)


def _compressed(figure: Figure) -> bytes:
    """Returns a figure as a PNG file. Its palette takes a third of the bytes of full colour."""
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=110)
    image = Image.open(full).convert("RGB")
    image.quantize(_PALETTE, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()


def _draw(axes: Axes, panel: panels.Panel) -> None:
    axes.set_title(panel.title)
    for axis, about, limits in ((axes.xaxis, panel.x, axes.set_xlim), (axes.yaxis, panel.y, axes.set_ylim)):
        limits(about.low, about.high)
        axis.set_ticks([place for place, _ in about.ticks], [text for _, text in about.ticks])
        axis.set_label_text(about.label)
        axis.grid(about.has_grid)
    for area in panel.areas:
        axes.fill(*zip(*area.points), color=_colour(area.tone), alpha=0.1, lw=0)
    for line in panel.lines:
        axes.plot(*zip(*line.points), color=_colour(line.tone), lw=1.6, ls="--" if line.is_dashed else "-")
    for bar in panel.bars:
        colour = _colour(bar.tone)
        axes.bar(
            bar.low,
            bar.top - bar.bottom,
            width=bar.high - bar.low,
            bottom=bar.bottom,
            align="edge",
            color=(colour, 0.35),
            edgecolor=colour,
            lw=0.8,
        )
    for tone in dict.fromkeys(mark.tone for mark in panel.marks):
        _draw_marks(axes, [mark for mark in panel.marks if mark.tone == tone], _colour(tone))
    if panel.keys:
        drawn = [axes.plot([], [], "o-", ms=4, color=_colour(key.tone))[0] for key in panel.keys]
        words = [key.label for key in panel.keys]
        axes.legend(
            drawn, words, title=panel.keys_title or None, fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5)
        )


def _draw_marks(axes: Axes, marks: Sequence[panels.Mark], colour: str) -> None:
    whiskers = [mark.whisker for mark in marks if mark.whisker]
    axes.add_collection(LineCollection(whiskers, colors=colour, linewidths=1), autolim=False)
    sizes = [9 if mark.is_small else 18 for mark in marks]
    axes.scatter([mark.x for mark in marks], [mark.y for mark in marks], sizes, color=colour, clip_on=False, zorder=3)


def _colour(tone: str) -> str:
    return tones.TONES[tone].light
