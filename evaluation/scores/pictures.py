"""Turns an evaluation into the pictures of its report, as data. `evaluation.pages` draws them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from ..pages import panels, tones
from . import metrics, results, tables

LABELS = tables.LABELS | {"song": "right track"}
OTHER_LOSSES = ("reverb", "speech", "music", "microphone", "codec")  # Columns of a truth file, besides snr.
COLUMNS = {"snr": "noise"}  # What people call a column, if not by its name.
_SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
_HIGH_SHARES = (0.6, 0.8, 0.9, 0.95, 0.99, 0.999)  # Of misses, where there are so many.
_ASIDE = 0.13  # Between two lengths of one row, in rows.
_LENGTH_HEIGHT, _LEAST_HEIGHT = 8.0, 28.0  # Of a length in a row, and of a row.


def columns(record: Mapping[str, Any], scored: results.Scored) -> list[str]:
    """Returns the columns of the truth file that a report tells apart: those asked for, and those that differ."""
    return list(dict.fromkeys([*(c for c in ("condition", "snr") if _differs(scored, c)), *record["groups"]]))


def _differs(scored: results.Scored, column: str) -> bool:
    return len(set(scored.questions.groups.get(column, ()))) > 1


def rates(record: Mapping[str, Any], scored: results.Scored) -> dict[str, panels.Panel]:
    """Returns the pictures of hit rates by column: of those columns whose values differ."""
    name = metric(scored)
    return {
        column: _by_column(record, groups_of(record, scored, column), column, name)
        for column in columns(record, scored)
        if _differs(scored, column)
    }


def metric(scored: results.Scored) -> str:
    """Returns the metric that pictures by column show: the right track, or the right place where tracks are unknown."""
    return "song" if scored.asked["song"].any() else "exact"


def by_length(record: Mapping[str, Any]) -> panels.Panel:
    """Draws hit rate against query length, with bands of 95 %."""
    found = record["hit_rates"]
    audio_s = [_seconds(n, record) for n in found]
    lines, areas, marks, keys = [], [], [], []
    for number, name in enumerate(reversed(metrics.METRICS)):
        cells = [found[n][name] for n in found]
        if not all(cell["asked"] for cell in cells):
            continue
        tone = f"series-{number}"
        low, middle, high = ([(s, 100 * c[end]) for s, c in zip(audio_s, cells)] for end in ("low", "rate", "high"))
        keys.append(panels.Key(LABELS[name], tone))
        areas.append(panels.Area([*low, *reversed(high)], tone))
        lines.append(panels.Line(middle, tone))
        marks += [panels.Mark(*p, tone, f"{LABELS[name]}, {p[0]:g} s: {said(c)}") for p, c in zip(middle, cells)]
    ends = [100 * cell["low"] for cells in found.values() for cell in cells.values() if cell["asked"]]
    return panels.Panel(
        name="hit_rate_by_length",
        title="Hit rate against query length",
        about="Bands are 95 % intervals.",
        x=panels.Axis("query, seconds", *_widened(audio_s), [(s, f"{s:g}") for s in audio_s]),
        y=percents("hit rate, %", ends),
        keys=keys,
        areas=areas,
        lines=lines,
        marks=marks,
    )


def _by_column(
    record: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]], column: str, name: str
) -> panels.Panel:
    """Draws hit rates by a column: numbers along the x axis and joined, names in rows below each other."""
    labels, lengths = list(groups), at_most_six([int(n) for n in next(iter(groups.values()))])
    is_number = results.is_number(labels[0])
    said_of = [
        f"{shown(label)} dB" if column == "snr" and results.is_number(label) else shown(label) for label in labels
    ]
    lines, marks, keys = [], [], []
    for number, (length, tone) in enumerate(zip(lengths, tones.steps(len(lengths)))):
        query = f"{_seconds(length, record):g} s"
        keys.append(panels.Key(query, tone))
        joined: list[panels.Point] = []
        for i, label in enumerate(labels):
            cell = groups[label][str(length)][name]
            if not cell["asked"]:
                continue
            place = i + (number - (len(lengths) - 1) / 2) * (0.04 if is_number else _ASIDE)
            low, middle, high = (_turned(place, 100 * cell[end], is_number) for end in ("low", "rate", "high"))
            marks.append(panels.Mark(*middle, tone, f"{said_of[i]}, query of {query}: {said(cell)}", (low, high)))
            joined += [middle] if results.is_number(label) else []
        lines += [panels.Line(joined, tone)] if is_number and len(joined) > 1 else []
    ends = [
        100 * groups[label][str(n)][name]["low"]
        for label in labels
        for n in lengths
        if groups[label][str(n)][name]["asked"]
    ]
    rate_axis = percents(f"{LABELS[name] if name != 'song' else 'right track first'}, %", ends)
    names = [(float(i), shown(label)) for i, label in enumerate(labels)]
    place_axis = panels.Axis(
        "signal-to-noise ratio, dB" if column == "snr" else column,
        *((-0.5, len(labels) - 0.5) if is_number else (len(labels) - 0.5, -0.5)),
        names,
        has_grid=is_number,
    )
    row = max(_LEAST_HEIGHT, _LENGTH_HEIGHT * len(lengths))
    return panels.Panel(
        name=f"hit_rate_by_{file_name(column)}",
        title=f"Hit rate by {COLUMNS.get(column, column)}",
        about="Whiskers are 95 % intervals.",
        x=place_axis if is_number else rate_axis,
        y=rate_axis if is_number else place_axis,
        keys=keys,
        keys_title="query of",
        lines=lines,
        marks=marks,
        height=300.0 if is_number else 80.0 + row * len(labels),
    )


def file_name(column: str) -> str:
    """Returns the name of a column as it may stand in the name of a file."""
    return re.sub(r"\W", "_", column)


def _turned(place: float, rate: float, is_upright: bool) -> panels.Point:
    return (place, rate) if is_upright else (rate, place)


def groups_of(record: Mapping[str, Any], scored: results.Scored, column: str) -> dict[str, dict[str, Any]]:
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


def trade_off(record: Mapping[str, Any]) -> panels.Panel:
    """Draws DET curves on normal-deviate axes: false accepts against misses."""
    judged = record["open_set"]
    lengths = at_most_six([int(n) for n in judged])
    lines, marks, keys, missed = [], [], [], [_SHARES[-2], _SHARES[-1]]
    for length, tone in zip(lengths, tones.steps(len(lengths))):
        curve = np.array(judged[str(length)]["curve"])
        curve = curve[(curve > 0).all(axis=1) & (curve < 1).all(axis=1)]
        curve = curve[(curve[:, 0] >= _SHARES[0]) & (curve[:, 0] <= _SHARES[-1])]
        query = f"{_seconds(length, record):g} s"
        keys.append(panels.Key(query, tone))
        if len(curve):
            missed += curve[:, 1].tolist()
            lines.append(panels.Line(_deviates(curve), tone))
            marks += _marks_of(curve[_places(curve[:, 0])], tone, query)
    bottom, top = max(_SHARES[0], 0.8 * min(missed)), min(0.999, 1.02 * max(missed))
    nominal = _deviate(next(iter(judged.values()))["nominal_false_accepts"])
    return panels.Panel(
        name="accept_or_reject",
        title="Accept or reject",
        about="Lower and further left is better. The dashed line is the share of false accepts that was asked for.",
        x=_shares("false accepts, %", _SHARES[0], _SHARES[-1]),
        y=_shares("missed or wrong, %", bottom, top),
        keys=keys,
        keys_title="query of",
        lines=[panels.Line([(nominal, _deviate(bottom)), (nominal, _deviate(top))], "unknown", is_dashed=True), *lines],
        marks=marks,
        height=380.0,
    )


def _shares(label: str, low: float, high: float) -> panels.Axis:
    """Returns an axis of shares, in percent, on which normal deviates are evenly spaced."""
    ticks = [(_deviate(share), f"{100 * share:g}") for share in (*_SHARES, *_HIGH_SHARES) if low <= share <= high]
    return panels.Axis(label, _deviate(low), _deviate(high), ticks)


def _marks_of(curve: np.ndarray, tone: str, query: str) -> list[panels.Mark]:
    """Returns marks at points of a curve [P, 2]."""
    words = "query of {}: {:.1f} % of unknown clips accepted, {:.1f} % of known ones missed or wrong"
    texts = [words.format(query, 100 * false, 100 * missed) for false, missed in curve]
    return [panels.Mark(x, y, tone, text, is_small=True) for (x, y), text in zip(_deviates(curve), texts)]


def _places(false: np.ndarray) -> list[int]:
    """Returns where a curve has marks: at the point nearest to each share of the axis."""
    return sorted({int(np.abs(special.ndtri(false) - _deviate(share)).argmin()) for share in _SHARES})


def _deviates(curve: np.ndarray) -> list[panels.Point]:
    return [(_deviate(x), _deviate(y)) for x, y in curve]


def _deviate(share: float) -> float:
    """Returns the normal deviate of a share: the inverse of the normal distribution."""
    return float(special.ndtri(min(max(share, 1e-6), 1 - 1e-6)))


def percents(label: str, values: Sequence[float]) -> panels.Axis:
    """Returns an axis of percent up to 100 that holds all values."""
    low = 10.0 * np.floor(min([90.0, *values]) / 10)
    step = next(step for step in (2, 5, 10, 20, 25) if (100 - low) / step <= 6)
    ticks = [(float(tick), f"{tick:g}") for tick in np.arange(100, low - 1e-9, -step)[::-1]]
    return panels.Axis(label, float(low), 101.0, ticks)


def said(cell: Mapping[str, Any]) -> str:
    """Returns a rate in words, such as "87.5 % (85.1 to 89.7), 350 of 400"."""
    low, high = (100 * cell[end] for end in ("low", "high"))
    return f"{100 * cell['rate']:.1f} % ({low:.1f} to {high:.1f}), {cell['hits']} of {cell['asked']}"


def shown(label: str) -> str:
    """Returns a value of a column as people read it."""
    return label.replace("..", " to ").replace("(none)", "no noise")


def at_most_six(lengths: Sequence[int]) -> list[int]:
    """Returns at most six lengths, the first and the last among them."""
    places = np.unique(np.linspace(0, len(lengths) - 1, min(6, len(lengths))).round().astype(int))
    return [lengths[place] for place in places]


def _seconds(length: str | int, record: Mapping[str, Any]) -> float:
    return tables.seconds(int(length), **record["audio"])


def _widened(values: Sequence[float]) -> tuple[float, float]:
    """Returns the ends of an axis that leaves some room beside the values."""
    low, high = min(values), max(values)
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room
