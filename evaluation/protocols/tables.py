"""What a protocol found as one table: a line per condition, a column per length of query."""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp.jobs import whole_files

from ..scores import metrics, results, statistics, tables
from . import protocol as protocols


class Line(NamedTuple):
    """One condition by one metric; cells: one per length, as `results.cell` gives them."""

    condition: str
    metric: str
    cells: list[Mapping[str, Any]]


class Scores(NamedTuple):
    """How a system does as a classifier of songs; averaged over the songs that were played."""

    accuracy: float
    precision: float
    recall: float
    f1: float


def write(
    folder: pathlib.Path,
    protocol: protocols.Protocol,
    asked: Sequence[Any],
    found: Sequence[Mapping[str, Any]],
) -> str:
    """Writes FOLDER/table.md and table.csv; returns the table for the terminal."""
    if protocol.kind == "recording":
        header, lines, flat = _recording(folder / "results", protocol)
    else:
        header, lines, flat = _clips(protocol, asked, found)
    notes = [tables.plain(*tables.open_set(one["open_set"])) for one in found if one["open_set"]]
    marked = [tables.markdown_table(*tables.open_set(one["open_set"])) for one in found if one["open_set"]]
    about = " ".join(protocol.about.split())
    said = _said(found)
    _save(folder / "table.csv", _as_csv(flat))
    text = "\n\n".join([about, tables.markdown_table(header, lines), *marked, said])
    _save(folder / "table.md", text + "\n")
    return "\n\n".join([f"{protocol.name}: {about}", tables.plain(header, lines), *notes, said])


def _clips(
    protocol: protocols.Protocol, asked: Sequence[Any], found: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[list[str]], list[dict]]:
    by_condition: dict[str, Mapping[str, Any]] = {}
    for one, result in zip(asked, found, strict=True):
        if one.truth:
            by_condition |= result["groups"].get("condition", {})
            if len(by_condition) > 1:
                by_condition["all"] = result["hit_rates"]
        else:
            by_condition[one.condition] = result["hit_rates"]
    lines = [
        Line(name, metric, [rates[length][metric] for length in rates])
        for metric in protocol.evaluation.metrics
        for name, rates in by_condition.items()
    ]
    lengths = protocol.evaluation.lengths_s
    header = ["%", *(f"{seconds:g} s" for seconds in lengths), "queries"]
    shown = [
        [
            f"{tables.LABELS[line.metric]}, {line.condition}",
            *map(tables.percent, line.cells),
            str(max(cell["asked"] for cell in line.cells)),
        ]
        for line in lines
        if any(cell["asked"] for cell in line.cells)
    ]
    return header, shown, [row for line in lines for row in _flat(line, lengths)]


def _flat(line: Line, lengths_s: Sequence[float]) -> list[dict]:
    named = {"condition": line.condition, "metric": line.metric}
    keys = ("hits", "asked", "rate", "low", "high")
    return [
        {**named, "seconds": seconds, **{key: cell[key] for key in keys}}
        for seconds, cell in zip(lengths_s, line.cells, strict=True)
    ]


def _recording(folder: pathlib.Path, protocol: protocols.Protocol) -> tuple[list[str], list[list[str]], list[dict]]:
    """Scores every level, length and trial; means, and deviations over the trials."""
    _, scored = results.load(folder)
    groups = scored.questions.groups
    lengths_s = protocol.recording.lengths_s
    levels = list(dict.fromkeys(groups["condition"]))
    lines, flat = [], []
    for level in levels:
        cells, others = [], {"precision": [], "recall": [], "F1": []}
        for column, seconds in enumerate(lengths_s):
            asked = (np.array(groups["condition"]) == level) & scored.asked["song"][:, column]
            asked &= np.array(groups["cut_s"]) == f"{seconds:g}"
            trials = [
                classified(scored, asked & (np.array(groups["trial"]) == trial), column)
                for trial in sorted(set(groups["trial"]))
            ]
            means = {name: statistics.spread([getattr(trial, name) for trial in trials]) for name in Scores._fields}
            cells.append(_accuracy(scored.right["song"][asked, column], len(trials), means))
            for name in others:
                others[name].append(_spread(means[name.lower()]))
            for name, spread in means.items():
                row = {"condition": level, "metric": name, "seconds": seconds}
                row |= {"asked": int(asked.sum()), "rate": spread.mean}
                flat.append(row | {"deviation": spread.deviation, "trials": spread.n})
        lines.append([f"accuracy, {level}", *cells])
        lines += [[f"{name}, {level}", *row] for name, row in others.items()]
    header = ["% (interval) ± over trials", *(f"{seconds:g} s" for seconds in lengths_s)]
    return header, lines, flat


def classified(scored: results.Scored, asked: np.ndarray, column: int) -> Scores:
    """Scores the answers at one length as a choice among songs, macro-averaged over those played.

    A song never named has precision 0, as scikit-learn has it with zero_division=0; what is named
    beyond the songs played counts against recall only.
    """
    if not asked.any():
        return Scores(*[float("nan")] * 4)
    truth = scored.questions.tracks[asked, 0]
    said = scored.answers.tracks[asked, column, 0]
    right = scored.right["song"][asked, column]
    said = np.where(right, truth, said)  # Another acceptable track of the song is the song.
    per_song = []
    for song in np.unique(truth):
        hits = int((right & (truth == song)).sum())
        named, played = int((said == song).sum()), int((truth == song).sum())
        precision, recall = hits / named if named else 0.0, hits / played
        total = precision + recall
        per_song.append((precision, recall, 2 * precision * recall / total if total else 0.0))
    return Scores(float(right.mean()), *np.mean(per_song, axis=0).tolist())


def _accuracy(right: np.ndarray, trials: int, means: Mapping[str, statistics.Spread]) -> str:
    """Writes accuracy, its interval, and its deviation over trials.

    Trials hear the same songs again: the interval is that of the queries of one.
    """
    if not len(right):
        return "-"
    n = max(1, round(len(right) / trials))
    low, high = metrics.wilson(metrics.Hits(round(float(right.mean()) * n), n))
    deviation = means["accuracy"].deviation
    spread = "" if np.isnan(deviation) else f" ± {100 * deviation:.1f}"
    return f"{100 * right.mean():.1f} ({100 * low:.1f}-{100 * high:.1f}){spread}"


def _spread(spread: statistics.Spread) -> str:
    if np.isnan(spread.mean):
        return "-"
    deviation = "" if np.isnan(spread.deviation) else f" ± {100 * spread.deviation:.1f}"
    return f"{100 * spread.mean:.1f}{deviation}"


def _said(found: Sequence[Mapping[str, Any]]) -> str:
    first = found[0]
    asked = sum(one["questions"]["known"] for one in found)
    models = {str(one["model"]) for one in first["stores"]["query"]}
    return (
        f"Wilson 95 % intervals; {asked} queries of {first['questions']['songs']} recordings among"
        f" {first['index']['rows']:,} fingerprints, index {first['index']['factory']}\n"
        f"network: {'; '.join(sorted(models))}"
    )


def _as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _save(path: pathlib.Path, text: str) -> None:
    with whole_files.opened(path, encoding="utf-8") as file:
        file.write(text)
