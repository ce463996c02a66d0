"""Pictures of scores and margins, with a lane for right, for wrong and for unknown answers.

Up to MOST_POINTS clips are drawn one by one, each with its numbers. More are drawn as a histogram.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..pages import panels
from . import open_set, results, tables
from .pictures import at_most_six

KINDS = ("score", "margin")
_LABELS = {"score": "mean cosine of the best match", "margin": "margin to the best match elsewhere"}
_TITLES = {"score": "Similarity of the best match", "margin": "How far the best is above the best elsewhere"}
_LANE = 62.0  # Height of a lane, in units of a panel.
_DOT = (0.022, 0.13)  # Distance of two dots side by side, as a share of the axis and of the lane.
_MOST_LENGTHS = 4
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)


class Lane(NamedTuple):
    """Answers of one kind. values: float64 [N] one by one, or None. counts: int [50] in the bins of open_set.EDGES."""

    name: str
    values: np.ndarray | None
    counts: np.ndarray
    quantiles: Sequence[float]
    clips: Sequence[str] = ()


def lengths_of(scored: results.Scored) -> list[int]:
    """Returns the lengths that have pictures, at most four."""
    return at_most_six(scored.lengths)[:_MOST_LENGTHS]


def middle(scored: results.Scored) -> int:
    """Returns the length that is shown first: neither the easiest nor the hardest."""
    shown = sorted(lengths_of(scored))
    return shown[(len(shown) - 1) // 2]


def both(record: Mapping[str, Any], scored: results.Scored, length: int) -> list[panels.Panel]:
    """Returns the pictures of scores and of margins at one length."""
    return [_panel(lanes(record, scored, length, kind), kind, length, record) for kind in KINDS]


def lanes(record: Mapping[str, Any], scored: results.Scored, length: int, kind: str) -> list[Lane]:
    """Returns the right, the wrong and the unknown answers at one length. What there is none of is left out."""
    name = "song" if scored.asked["song"].any() else "near"
    column, known = scored.lengths.index(length), scored.questions.is_known
    values = open_set.margins(scored.answers)[KINDS.index(kind)][:, column]
    asked = scored.answers.asked[:, column] & known
    right = scored.right[name][:, column]
    found = []
    for keep, label in ((asked & right, "right"), (asked & ~right, "wrong")):
        if keep.any():
            clips = [os.path.basename(scored.questions.names[i]) for i in np.flatnonzero(keep)]
            found.append(_lane(label, values[keep], clips))
    judged = (record["open_set"] or {}).get(str(length), {})
    if "unknown" in judged:
        each = judged["unknown_values"]
        counts, quantiles = np.array(judged["unknown"][kind]), judged["unknown_quantiles"][kind]
        found.append(Lane("unknown", np.array(each[kind]) if each else None, counts, quantiles))
    return found


def _lane(name: str, values: np.ndarray, clips: Sequence[str]) -> Lane:
    few = len(values) <= open_set.MOST_POINTS
    return Lane(
        name, values if few else None, open_set.binned(values), open_set.quantiles(values), clips if few else ()
    )


def _panel(found: Sequence[Lane], kind: str, length: int, record: Mapping[str, Any]) -> panels.Panel:
    query = f"query of {tables.seconds(length, **record['audio']):g} s"
    low, high = _ends(found)
    marks, bars = [], []
    for number, lane in enumerate(reversed(found)):
        if lane.values is not None:
            marks += list(_dots(lane, number, kind, high - low))
        else:
            bars += list(_bars(lane, number, kind))
    names = [(n + 0.5, f"{lane.name}, {lane.counts.sum():,}") for n, lane in enumerate(reversed(found))]
    return panels.Panel(
        name=f"{kind}_{length}",
        title=f"{_TITLES[kind]}, {query}",
        about=_about(found),
        x=panels.Axis(_LABELS[kind], low, high, _ticks(low, high)),
        y=panels.Axis("answers", 0.0, float(max(1, len(found))), names, has_grid=False),
        marks=marks,
        bars=bars,
        height=80.0 + _LANE * max(1, len(found)),
    )


def _about(found: Sequence[Lane]) -> str:
    """Returns a sentence on what the lanes are made of."""
    dots, columns = (", ".join(l.name for l in found if (l.values is None) == is_many) for is_many in (False, True))
    parts = [
        f"A dot is a clip ({dots})." if dots else "",
        f"A bar is a share of the clips ({columns})." if columns else "",
    ]
    return " ".join(part for part in parts if part)


def _dots(lane: Lane, number: int, kind: str, span: float) -> Iterator[panels.Mark]:
    assert lane.values is not None
    clips = lane.clips or ["clip that is not in the collection"] * len(lane.values)
    order = np.argsort(lane.values, kind="stable")
    sides = _aside(lane.values[order] / span)
    for i, side in zip(order.tolist(), sides):
        text = f"{lane.name}, {clips[i]}: {kind} {lane.values[i]:.3f}"
        yield panels.Mark(float(lane.values[i]), number + 0.5 + side, lane.name, text)


def _aside(places: np.ndarray) -> list[float]:
    """Returns how far beside the middle of its lane each dot lies, so that none covers another. places: sorted."""
    width, step = _DOT
    offsets = sorted((k * step for k in range(-3, 4)), key=lambda offset: (abs(offset), offset))
    ends = dict.fromkeys(offsets, -np.inf)
    sides = []
    for place in places:
        free = [offset for offset in offsets if place >= ends[offset] + width]
        side = free[0] if free else min(offsets, key=lambda offset: ends[offset])
        ends[side] = place
        sides.append(side)
    return sides


def _bars(lane: Lane, number: int, kind: str) -> Iterator[panels.Bar]:
    total, most = lane.counts.sum(), lane.counts.max()
    for low, high, count in zip(open_set.EDGES[:-1], open_set.EDGES[1:], lane.counts):
        if count:
            share = f"{100 * count / total:.1f} % ({count:,} of {total:,})"
            text = f"{lane.name}: {share} with a {kind} of {low:.2f} to {high:.2f}"
            yield panels.Bar(
                float(low), float(high), number + 0.06, number + 0.06 + 0.84 * count / most, lane.name, text
            )


def _ends(found: Sequence[Lane]) -> tuple[float, float]:
    """Returns the ends of the axis, at bins, around all that is drawn."""
    counts = sum((lane.counts for lane in found), np.zeros(len(open_set.EDGES) - 1, int))
    bins = np.flatnonzero(counts) if counts.any() else np.array([0, len(counts) - 1])
    values = [lane.values for lane in found if lane.values is not None]
    drawn = np.concatenate([*values, open_set.EDGES[[bins[0], bins[-1] + 1]]])
    return float(drawn.min()) - 0.01, float(drawn.max()) + 0.01


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    step = next((step for step in _STEPS if (high - low) / step <= 8), _STEPS[-1])
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [(n * step, f"{n * step:.2g}") for n in range(first, last + 1)]


def table(record: Mapping[str, Any], scored: results.Scored) -> tables.Table:
    """Returns a line for each length and kind of answer: how many, and the middle and outer values."""
    lines = []
    for length in lengths_of(scored):
        query = f"{tables.seconds(length, **record['audio']):g} s"
        for score, margin in zip(*(lanes(record, scored, length, kind) for kind in KINDS)):
            cells = [
                f"{middle:.2f} ({low:.2f}-{high:.2f})" for low, middle, high in (score.quantiles, margin.quantiles)
            ]
            lines.append([f"{query}, {score.name}", f"{score.counts.sum():,}", *cells])
    return ["query", "clips", "score", "margin"], lines
