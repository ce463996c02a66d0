"""Draws the README's picture: right track against query length, ours and the peers, from `benchmarks/results`.

python -m benchmarks.picture --out=docs/images/accuracy.svg

Every point is read from a JSON file there; nothing is measured here. All systems answer the same clips. Needs
matplotlib: pip install 'nafp[plots]'.
"""

import io
import json
import pathlib
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from absl import flags

from benchmarks import _ends

_OUT = flags.DEFINE_string("out", None, "SVG file to write.", required=True)

RESULTS = pathlib.Path(__file__).parent / "results"
PANELS = {"n0": "noise at 0 dB", "room": "room", "phone": "phone", "speed+4": "played 4 % faster"}
# Light colour -> the one that stands in for it where the reader's screen is dark.
INK, PAPER, GRID = "#1f2329", "#ffffff", "#dfe2e6"
DARK = {INK: "#e6e9ed", PAPER: "#15181c", GRID: "#3a4048"}
STYLE: dict[Any, Any] = {  # Settings of matplotlib.
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "legend.frameon": False,
    "svg.hashsalt": "nafp",  # The same numbers give the same bytes.
}


class Curve(NamedTuple):
    """One curve in every panel of the picture. rates: condition -> seconds -> a cell with rate, low and high."""

    label: str
    colour: str  # Told apart by the colour-blind, on white and on black.
    marker: str
    rates: dict[str, dict[float, dict[str, float]]]


def main() -> None:
    pathlib.Path(_OUT.value).write_text(drawn(systems()))


def systems() -> list[Curve]:
    """Reads the results of each system."""
    return [
        Curve("nafp, the network that ships", "#2b8fd6", "o", ours("robustness_small")),
        Curve(
            "the original's recipe (1/27 of the training, own speed only)",
            "#e07b1f",
            "s",
            ours("robustness_original_own_speed"),
        ),
        Curve("Chromaprint 1.5.1", "#1ba784", "^", chromaprint()),
    ]


def ours(name: str) -> dict[str, dict[float, dict[str, float]]]:
    """Reads a `results.json` of `nafp evaluate`: the right track, by condition and seconds."""
    record = json.loads((RESULTS / f"{name}.json").read_text())
    segment_s, hop_s = record["audio"]["segment_s"], record["audio"]["hop_s"]
    return {
        condition: {segment_s + hop_s * (int(n) - 1): cell["song"] for n, cell in cells.items()}
        for condition, cells in record["groups"]["condition"].items()
    }


def chromaprint() -> dict[str, dict[float, dict[str, float]]]:
    """Reads `benchmarks.classical`: only the lengths at which Chromaprint has a fingerprint."""
    record = json.loads((RESULTS / "classical_cpu2.json").read_text())["chromaprint"]
    return {
        condition: {float(s): cell for s, cell in cells.items() if cell["answered"]}
        for condition, cells in record["conditions"].items()
    }


def drawn(lines: list[Curve]) -> str:
    """Draws one panel for each condition and returns the SVG."""
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, len(PANELS), figsize=(11.5, 3.6), sharey=True)
        for axes, (condition, title) in zip(panels, PANELS.items()):
            panel(axes, condition, lines)
            axes.set_title(title, fontsize=12)
        panels[0].set_ylabel("right track, %")
        figure.supxlabel("query length, seconds", fontsize=11, y=0.01)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper center", ncol=len(lines), columnspacing=1.6)
        figure.subplots_adjust(left=0.055, right=0.99, top=0.8, bottom=0.17, wspace=0.09)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    # matplotlib leaves blanks at the ends of lines.
    lines_of_text = (line.rstrip() for line in text.getvalue().splitlines())
    return with_dark("\n".join(lines_of_text) + "\n")


def panel(axes: plt.Axes, condition: str, lines: list[Curve]) -> None:
    """Draws the systems under one condition, each with its 95 % Wilson interval as a band."""
    for line in lines:
        cells = line.rates[condition]
        seconds = sorted(cells)
        percent = {key: [100 * cells[s][key] for s in seconds] for key in ("low", "rate", "high")}
        low, high = percent["low"], percent["high"]
        axes.fill_between(seconds, low, high, color=line.colour, alpha=0.2, lw=0)
        style: dict[str, Any] = dict(color=line.colour, marker=line.marker, ms=5, label=line.label)
        axes.plot(seconds, percent["rate"], **style)
    axes.set_xticks([1, 2, 3, 5, 10])
    axes.set_ylim(0, 103)
    axes.set_yticks(range(0, 101, 20))


def with_dark(svg: str) -> str:
    """Adds the colours of a dark screen. The paper is part of the picture, so it is readable on any page."""
    rules = "".join(
        f'[style*="{part}: {light}"]{{{part}:{dark}!important}}'
        for light, dark in DARK.items()
        for part in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>\n"
    return svg.replace(" <defs>", f" {style} <defs>", 1)


if __name__ == "__main__":
    _ends.run(main)
