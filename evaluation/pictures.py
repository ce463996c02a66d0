"""The pictures of a report. The only file of this room that imports matplotlib."""

from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from . import metrics, open_set, results, tables

# Okabe and Ito's colours, which colour-blind readers tell apart, darkest first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
RIGHT, WRONG = "#0072B2", "#D55E00"
STYLE = {
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
    "savefig.dpi": 130,
}
_SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
_FEWEST = 5  # Answers that make a histogram.
_HISTOGRAM = np.linspace(0, 1, 51)


def all_of(found: dict[str, Any], scored: results.Scored) -> dict[str, Figure]:
    """Draws what the results have: name -> figure. Close them after use."""
    with plt.rc_context(STYLE):
        drawn = {"hit_rate_by_length": by_length(found), "similarity": similarity(found, scored)}
        columns = [
            c for c in ("snr", "condition") if len(set(scored.questions.groups.get(c, ()))) > 1
        ]
        for column in columns:
            drawn[f"hit_rate_by_{column}"] = by_group(found, scored, column)
        if found["open_set"]:
            drawn["accept_or_reject"] = trade_off(found)
    return drawn


def by_length(found: dict[str, Any]) -> Figure:
    """Draws hit rate against query length, with 95 % bands."""
    figure, axes = plt.subplots(figsize=(7, 4))
    rates = found["hit_rates"]
    audio_s = [tables.seconds(int(n), **found["audio"]) for n in rates]
    for name, colour in zip(metrics.METRICS, COLOURS):
        cells = [rates[n][name] for n in rates]
        if not all(cell["asked"] for cell in cells):
            continue
        low, middle, high = ([100 * cell[key] for cell in cells] for key in ("low", "rate", "high"))
        axes.plot(audio_s, middle, "o-", color=colour, label=tables.LABELS[name], ms=4, lw=1.6)
        axes.fill_between(audio_s, low, high, color=colour, alpha=0.13, lw=0)
    _percent(axes, "hit rate")
    axes.set_xlabel("query, seconds")
    axes.set_title("Hit rate against query length, with 95 % intervals")
    _legend(axes)
    return figure


def by_group(found: dict[str, Any], scored: results.Scored, column: str) -> Figure:
    """Draws hit rate against a column of the truth file, a line or row of points per length."""
    name = "song" if scored.asked["song"].any() else "exact"
    groups = found["groups"].get(column) or results.grouped(scored, [column])[column]
    labels = list(groups)
    figure, axes = plt.subplots(figsize=(7, 4))
    is_number = results.is_number(labels[0])
    for number, (length, colour) in enumerate(zip(_some(scored.lengths), COLOURS)):
        cells = [groups[label][str(length)][name] for label in labels]
        places = [i for i, cell in enumerate(cells) if cell["asked"]]
        middle = [100 * cells[i]["rate"] for i in places]
        ends = [
            [max(0, m - 100 * cells[i]["low"]) for i, m in zip(places, middle)],
            [max(0, 100 * cells[i]["high"] - m) for i, m in zip(places, middle)],
        ]
        seconds = tables.seconds(length, **found["audio"])
        aside = np.array(places) + (0 if is_number else 0.11 * (number - 2.5))
        axes.errorbar(
            aside, middle, ends, fmt="o-" if is_number else "o", color=colour,
            ms=4, lw=1.4, elinewidth=1, label=f"{seconds:g} s",
        )  # fmt: skip
    shown = [label.replace("..", " to ") for label in labels]
    is_long = len("".join(shown)) > 40
    axes.set_xticks(
        range(len(labels)),
        shown,
        rotation=30 if is_long else 0,
        ha="right" if is_long else "center",
    )
    axes.grid(is_number, axis="x")
    _percent(axes, f"{tables.LABELS[name]} hit rate")
    axes.set_xlabel("SNR, dB" if column == "snr" else column)
    axes.set_title(f"Hit rate by {'SNR' if column == 'snr' else column}, with 95 % intervals")
    _legend(axes, "query")
    return figure


def trade_off(found: dict[str, Any]) -> Figure:
    """Draws DET curves on normal-deviate axes: false accepts against misses."""
    figure, axes = plt.subplots(figsize=(6, 4.8))
    judged = found["open_set"]
    for length, colour in zip(_some([int(n) for n in judged]), COLOURS):
        curve = np.array(judged[str(length)]["curve"])
        inside = (curve > 0).all(axis=1) & (curve < 1).all(axis=1)
        seconds = tables.seconds(length, **found["audio"])
        axes.plot(*_deviate(curve[inside]).T, color=colour, lw=1.6, label=f"{seconds:g} s")
    ticks = _deviate(np.array(_SHARES))
    for axis, label in ((axes.xaxis, "false accepts"), (axes.yaxis, "missed or wrong")):
        axis.set_ticks(ticks, [f"{100 * share:g}" for share in _SHARES])
        axis.set_label_text(f"{label}, %")
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_ylim(ticks[0], ticks[-1])
    axes.set_title("Is it in the collection at all?")
    _legend(axes, "query")
    return figure


def similarity(found: dict[str, Any], scored: results.Scored) -> Figure:
    """Draws the best scores of right and of wrong answers, a panel per length."""
    lengths = _some(scored.lengths)[:4]
    figure, panels = plt.subplots(
        len(lengths), 1, figsize=(7.4, 1.5 * len(lengths) + 1), sharex=True, squeeze=False
    )
    name = "song" if scored.asked["song"].any() else "near"
    scores, _ = open_set.margins(scored.answers)
    known = scored.questions.is_known
    for axes, length in zip(panels[:, 0], lengths):
        column = scored.lengths.index(length)
        asked = scored.answers.asked[:, column]
        right = scored.right[name][:, column] & known
        for keep, colour, label in (
            (asked & right, RIGHT, "right"),
            (asked & ~right & known, WRONG, "wrong"),
            (asked & ~known, "#777777", "not in the collection"),
        ):
            if keep.sum() >= _FEWEST:
                axes.hist(
                    scores[keep, column], _HISTOGRAM, color=colour, alpha=0.6,
                    label=f"{label}, {keep.sum()}", weights=np.full(keep.sum(), 100 / keep.sum()),
                )  # fmt: skip
        axes.set_ylabel("%")
        seconds = tables.seconds(length, **found["audio"])
        _legend(axes, f"query of {seconds:g} s")
    panels[-1, 0].set_xlabel("mean cosine of the best match")
    panels[0, 0].set_title("Similarity of right and wrong matches")
    return figure


def close(figures: dict[str, Figure]) -> None:
    """Frees the figures."""
    for figure in figures.values():
        plt.close(figure)


def _percent(axes: plt.Axes, label: str) -> None:
    axes.set_ylim(top=101)
    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.set_ylabel(f"{label}, %")


def _legend(axes: plt.Axes, title: str = "") -> None:
    """Puts the legend beside the axes, where it covers nothing."""
    axes.legend(title=title or None, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9)


def _some(lengths: Sequence[int]) -> list[int]:
    """Picks at most six lengths, the first and last among them."""
    places = np.unique(np.linspace(0, len(lengths) - 1, min(6, len(lengths))).round().astype(int))
    return [lengths[place] for place in places]


def _deviate(shares: np.ndarray) -> np.ndarray:
    """Gives the normal deviate of each share (inverse of the normal distribution)."""
    from scipy.special import ndtri

    return ndtri(shares)
