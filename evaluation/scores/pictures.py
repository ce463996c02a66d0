"""Draws the pictures of a report. No other file of this room imports matplotlib and Pillow."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scipy import special

from . import metrics, open_set, results, tables

# The colours of Okabe and Ito, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
RIGHT, WRONG, UNKNOWN = "#0072B2", "#D55E00", "#555555"
LABELS = tables.LABELS | {"song": "right track"}
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
_SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
_PALETTE = 192  # Colours of a PNG file.
_FEWEST = 5  # Answers that a histogram needs.
_LEAST_SHOWN = 0.3  # Percent. The axis need not reach bins with less.
OTHER_LOSSES = ("reverb", "speech", "music", "microphone", "codec")  # Columns of a truth file, besides snr.


def all_of(record: dict[str, Any], scored: results.Scored) -> dict[str, Figure]:
    """Returns name -> figure for everything that the results have, the overview first."""
    with matplotlib.rc_context(STYLE):
        drawn = {
            "overview": overview(record, scored),
            "hit_rate_by_length": _alone(by_length, record),
        }
        for column in ("snr", "condition"):
            if len(set(scored.questions.groups.get(column, ()))) > 1:
                name = f"hit_rate_by_{column}"
                drawn[name] = _alone(by_group, record, scored, column)
        if record["open_set"]:
            drawn["accept_or_reject"] = _alone(trade_off, record, size=(6, 4.8))
        drawn["similarity"] = similarity(record, scored)
    return drawn


def overview(record: dict[str, Any], scored: results.Scored) -> Figure:
    """Draws the four pictures that say most as one figure, for the top of a page."""
    figure = Figure(figsize=(11, 7.6))
    (first, second), (third, fourth) = figure.subplots(2, 2)
    by_length(first, record, legend="lower right")
    columns = [c for c in ("condition", "snr") if len(set(scored.questions.groups.get(c, ()))) > 1]
    length = _middle(scored.lengths)
    if columns:
        by_group(second, record, scored, columns[0], legend="lower left")
    else:
        histograms(second, record, scored, length, "score", legend="upper left")
    histograms(third, record, scored, length, "margin", legend="upper right")
    if record["open_set"]:
        trade_off(fourth, record, legend="lower left")
    else:
        histograms(fourth, record, scored, length, "score", legend="upper left")
    return figure


def _alone(draw: Callable[..., None], *arguments: Any, size: tuple[float, float] = (7, 4)) -> Figure:
    """Returns a figure of its own with one picture."""
    figure = Figure(figsize=size)
    draw(figure.subplots(), *arguments)
    return figure


def by_length(axes: Axes, record: dict[str, Any], *, legend: str = "") -> None:
    """Draws hit rate against query length, with bands of 95 %."""
    rates = record["hit_rates"]
    audio_s = [tables.seconds(int(n), **record["audio"]) for n in rates]
    for name, colour in zip(reversed(metrics.METRICS), COLOURS):
        cells = [rates[n][name] for n in rates]
        if not all(cell["asked"] for cell in cells):
            continue
        low, middle, high = ([100 * cell[key] for cell in cells] for key in ("low", "rate", "high"))
        axes.plot(audio_s, middle, "o-", color=colour, label=LABELS[name], ms=4, lw=1.6)
        axes.fill_between(audio_s, low, high, color=colour, alpha=0.13, lw=0)
    _percent(axes, "hit rate")
    axes.set_xticks(*_apart(audio_s))
    axes.set_xlabel("query, seconds")
    axes.set_title("Hit rate against query length, with 95 % intervals")
    _legend(axes, legend)


def by_group(axes: Axes, record: dict[str, Any], scored: results.Scored, column: str, *, legend: str = "") -> None:
    """Draws hit rate against a column of the truth file, as a line or a row of points for each length."""
    name = "song" if scored.asked["song"].any() else "exact"
    groups = _groups(record, scored, column)
    labels, is_number = list(groups), results.is_number(next(iter(groups)))
    lengths = _at_most_six(scored.lengths)
    for number, (length, colour) in enumerate(zip(lengths, _shades(len(lengths)))):
        cells = [groups[label][str(length)][name] for label in labels]
        places = np.array([i for i, cell in enumerate(cells) if cell["asked"]])
        middle = np.array([100 * cells[i]["rate"] for i in places])
        low, high = (np.array([100 * cells[i][end] for i in places]) for end in ("low", "high"))
        ends = np.maximum(0, [middle - low, high - middle])
        aside = places + (0 if is_number else 0.11 * (number - (len(lengths) - 1) / 2))
        seconds = tables.seconds(length, **record["audio"])
        axes.errorbar(aside, middle, ends, fmt="o", color=colour, ms=4, elinewidth=1, label=f"{seconds:g} s")
        joined = [i for i, place in enumerate(places) if results.is_number(labels[place])]
        axes.plot(aside[joined], middle[joined], color=colour, lw=1.4)
    shown = [label.replace("..", " to ").replace("(none)", "no noise") for label in labels]
    is_long = len("".join(shown)) > 40
    turn: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
    axes.set_xticks(range(len(labels)), shown, **turn)
    axes.grid(is_number, axis="x")
    _percent(axes, "right track first" if name == "song" else "right place first")
    axes.set_xlabel("signal-to-noise ratio, dB" if column == "snr" else column)
    axes.set_title(f"Hit rate by {'noise' if column == 'snr' else column}, with 95 % intervals")
    _legend(axes, legend, "query")


def _groups(record: dict[str, Any], scored: results.Scored, column: str) -> dict[str, dict[str, Any]]:
    """Returns hit rates for each value of a column.

    Of the SNR they count, if possible, only queries to which nothing but noise was added.
    """
    if column != "snr":
        return record["groups"].get(column) or results.grouped(scored, [column])[column]
    others = [scored.questions.groups[c] for c in OTHER_LOSSES if c in scored.questions.groups]
    alone = np.array([not any(values) for values in zip(*others)], bool)
    labels = np.array(results.ranged(scored.questions.groups[column]))
    known = scored.questions.is_known
    if not others or len(set(labels[alone & known])) < 2:
        alone = np.ones(len(labels), bool)
    return {
        label: results.hit_rates(scored, (labels == label) & alone) for label in results.ordered(labels[alone & known])
    }


def trade_off(axes: Axes, record: dict[str, Any], *, legend: str = "") -> None:
    """Draws DET curves on normal-deviate axes: false accepts against misses."""
    judged = record["open_set"]
    lengths, lowest = _at_most_six([int(n) for n in judged]), _SHARES[-2]
    ticks = _deviate(np.array(_SHARES))
    for length, colour in zip(lengths, _shades(len(lengths))):
        curve = np.array(judged[str(length)]["curve"])
        inside = (curve > 0).all(axis=1) & (curve < 1).all(axis=1)
        lowest = min([lowest, *curve[inside & (curve[:, 0] < _SHARES[-1]), 1]])
        seconds = tables.seconds(length, **record["audio"])
        axes.plot(*_deviate(curve[inside]).T, color=colour, lw=1.6, label=f"{seconds:g} s")
    nominal = next(iter(judged.values()))["nominal_false_accepts"]
    axes.axvline(float(_deviate(np.array(nominal))), color="#888888", lw=1, ls="--")
    for axis, label in ((axes.xaxis, "false accepts"), (axes.yaxis, "missed or wrong")):
        axis.set_ticks(ticks, [f"{100 * share:g}" for share in _SHARES])
        axis.set_label_text(f"{label}, %")
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_ylim(max(ticks[0], _deviate(np.array(0.8 * lowest))), ticks[-1])
    axes.set_title("Is it in the collection at all?")
    _legend(axes, legend, "query", columns=3 if legend else 1)


def similarity(record: dict[str, Any], scored: results.Scored) -> Figure:
    """Draws scores and margins of right, wrong and unknown answers, with a row for each length."""
    lengths = _at_most_six(scored.lengths)[:4]
    figure = Figure(figsize=(11, 1.7 * len(lengths) + 0.8))
    panels = figure.subplots(len(lengths), 2, sharex="col", squeeze=False)
    for row, length in zip(panels, lengths):
        histograms(row[0], record, scored, length, "score", legend="none")
        histograms(row[1], record, scored, length, "margin")
        for axes in row:
            axes.set_xlabel(axes.get_xlabel() if length == lengths[-1] else "")
            axes.set_title("")
    panels[0, 0].set_title("Similarity of right and wrong matches")
    panels[0, 1].set_title("How far the best is above the best elsewhere")
    return figure


def histograms(
    axes: Axes,
    record: dict[str, Any],
    scored: results.Scored,
    length: int,
    what: str,
    *,
    legend: str = "",
) -> None:
    """Draws the distributions of the score or the margin among right, wrong and unknown answers."""
    shown = np.zeros(len(open_set.EDGES) - 1, bool)
    for label, colour, counts in _counted(record, scored, length, what):
        shares = 100 * counts / max(1, counts.sum())
        shown |= shares >= _LEAST_SHOWN
        shares = np.where(shares > 0, shares, np.nan)
        axes.stairs(shares, open_set.EDGES, fill=True, color=colour, alpha=0.3, label=label)
        axes.stairs(shares, open_set.EDGES, color=colour, lw=1.2)
    if shown.any():
        places = open_set.EDGES[:-1][shown]
        axes.set_xlim(places[0] - 0.02, places[-1] + 0.04)
    axes.set_ylim(bottom=0)
    seconds = tables.seconds(length, **record["audio"])
    axes.set_ylabel("% of each")
    axes.set_xlabel("mean cosine of the best match" if what == "score" else "margin to the best match elsewhere")
    axes.set_title(f"{what.capitalize()} of right and wrong matches, query of {seconds:g} s")
    if legend != "none":
        _legend(axes, legend, f"query of {seconds:g} s" if not legend else "")


def _counted(
    record: dict[str, Any], scored: results.Scored, length: int, what: str
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yields label, colour and counts in each bin for the right, the wrong and the unknown answers."""
    name = "song" if scored.asked["song"].any() else "near"
    column, known = scored.lengths.index(length), scored.questions.is_known
    values = open_set.margins(scored.answers)[what == "margin"][:, column]
    asked = scored.answers.asked[:, column] & known
    right = scored.right[name][:, column]
    for keep, colour, label in ((asked & right, RIGHT, "right"), (asked & ~right, WRONG, "wrong")):
        if keep.sum() >= _FEWEST:
            yield f"{label}, {keep.sum()}", colour, open_set.binned(values[keep])
    judged = (record["open_set"] or {}).get(str(length), {})
    if "unknown" in judged:
        counts = np.array(judged["unknown"][what])
        yield f"not in the collection, {counts.sum()}", UNKNOWN, counts


def as_png(figure: Figure) -> bytes:
    """Returns a figure as the bytes of a PNG file. Its palette takes a third of the bytes of full colour."""
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=110)
    image = Image.open(full).convert("RGB")
    image.quantize(_PALETTE, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()


def _percent(axes: Axes, label: str) -> None:
    axes.set_ylim(top=101)
    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.set_ylabel(f"{label}, %")


def _legend(axes: Axes, where: str = "", title: str = "", *, columns: int = 1) -> None:
    """Draws the legend in a corner, or by default beside the axes, where it covers nothing."""
    place = {"loc": where} if where else {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    axes.legend(title=title or None, fontsize=9, ncols=columns, **place)


def _shades(n: int) -> np.ndarray:
    """Returns n colours of one scale from dark to light, for things in an order, such as lengths."""
    return matplotlib.colormaps["viridis"](np.linspace(0, 0.85, n))


def _apart(seconds: Sequence[float]) -> tuple[list[float], list[str]]:
    """Returns ticks and labels of lengths. A tick that is too near the last label has an empty one."""
    shown, last = [], -np.inf
    for value in seconds:
        is_far = value - last > 0.05 * (max(seconds) - min(seconds))
        shown.append(f"{value:g}" if is_far else "")
        last = value if is_far else last
    return list(seconds), shown


def _middle(lengths: Sequence[int]) -> int:
    """Returns the length for a single histogram: neither the easiest nor the hardest."""
    return sorted(lengths)[(len(lengths) - 1) // 2]


def _at_most_six(lengths: Sequence[int]) -> list[int]:
    """Returns at most six lengths, the first and the last among them."""
    places = np.unique(np.linspace(0, len(lengths) - 1, min(6, len(lengths))).round().astype(int))
    return [lengths[place] for place in places]


def _deviate(shares: np.ndarray) -> np.ndarray:
    """Returns the normal deviate of each share: the inverse of the normal distribution."""
    return special.ndtri(shares)
