"""The table of a protocol: a line for each condition, and a column for each length of a query."""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp.jobs import whole_files

from ..scores import metrics, results, statistics, tables
from .protocol import Protocol


class ConditionLine(NamedTuple):
    """The rates of one condition by one metric. cells: one for each length, as `results.cell` returns them."""

    condition: str
    metric: str
    cells: list[Mapping[str, Any]]


class QuerySet(NamedTuple):
    """Queries that are evaluated together: the name of their store, their list of files, and their truth file.

    truth: empty if row i answers row i. condition: of all queries, if there is no truth file.
    """

    name: str
    source: str
    truth: str
    condition: str = ""


class Scores(NamedTuple):
    """Scores of a classifier of songs. Precision, recall and F1 are means over the songs that were played."""

    accuracy: float
    precision: float
    recall: float
    f1: float


def write(
    folder: pathlib.Path,
    protocol: Protocol,
    query_sets: Sequence[QuerySet],
    records: Sequence[Mapping[str, Any]],
) -> str:
    """Writes FOLDER/table.md and table.csv, and returns the table for the terminal.

    records: for each set of queries, what its results.json holds.
    """
    if protocol.kind == "recording":
        header, lines, flat = _recording(folder / "results", protocol)
    else:
        header, lines, flat = _clips(protocol, query_sets, records)
    open_sets = [tables.open_set(record["open_set"]) for record in records if record["open_set"]]
    about = " ".join(protocol.about.split())
    summary = _summary(records)
    _save(folder / "table.csv", _as_csv(flat))
    marked = [tables.markdown_table(*table) for table in ((header, lines), *open_sets)]
    _save(folder / "table.md", "\n\n".join([about, *marked, summary]) + "\n")
    plain = [tables.plain(*table) for table in ((header, lines), *open_sets)]
    return "\n\n".join([f"{protocol.name}: {about}", *plain, summary])


def _clips(
    protocol: Protocol, query_sets: Sequence[QuerySet], records: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[list[str]], list[dict]]:
    """Returns header and lines of the table, and the lines of its CSV file."""
    by_condition: dict[str, Mapping[str, Any]] = {}
    for query_set, record in zip(query_sets, records, strict=True):
        if query_set.truth:
            by_condition |= record["groups"].get("condition", {})
            if len(by_condition) > 1:
                by_condition["all"] = record["hit_rates"]
        else:
            by_condition[query_set.condition] = record["hit_rates"]
    lines = [
        ConditionLine(name, metric, [rates[length][metric] for length in rates])
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


def _flat(line: ConditionLine, lengths_s: Sequence[float]) -> list[dict]:
    """Returns the lines of the CSV file, one for each length."""
    named = {"condition": line.condition, "metric": line.metric}
    keys = ("hits", "asked", "rate", "low", "high")
    return [
        {**named, "seconds": seconds, **{key: cell[key] for key in keys}}
        for seconds, cell in zip(lengths_s, line.cells, strict=True)
    ]


def _recording(folder: pathlib.Path, protocol: Protocol) -> tuple[list[str], list[list[str]], list[dict]]:
    """Returns the table of means and deviations over the trials, and the lines of its CSV file."""
    _, scored = results.load(folder)
    groups = scored.questions.groups
    lengths_s = protocol.recording.lengths_s
    levels = list(dict.fromkeys(groups["condition"]))
    lines: list[list[str]] = []
    flat: list[dict] = []
    for level in levels:
        cells: list[str] = []
        others: dict[str, list[str]] = {"precision": [], "recall": [], "F1": []}
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
    """Scores the first answers at one length as a choice among songs. asked: bool [Q], the queries to count.

    A song that is never named has precision 0, as in scikit-learn with zero_division=0. Naming a song that was not
    played counts against recall only.
    """
    if not asked.any():
        return Scores(*[float("nan")] * 4)
    truth = scored.questions.tracks[asked, 0]
    answers = scored.answers.tracks[asked, column, 0]
    right = scored.right["song"][asked, column]
    answers = np.where(right, truth, answers)  # Another acceptable track of the song counts as the song.
    per_song = []
    for song in np.unique(truth):
        hits = int((right & (truth == song)).sum())
        named, played = int((answers == song).sum()), int((truth == song).sum())
        precision, recall = hits / named if named else 0.0, hits / played
        total = precision + recall
        per_song.append((precision, recall, 2 * precision * recall / total if total else 0.0))
    return Scores(float(right.mean()), *np.mean(per_song, axis=0).tolist())


def _accuracy(right: np.ndarray, trials: int, means: Mapping[str, statistics.Spread]) -> str:
    """Returns the accuracy with its interval and its deviation over trials.

    The trials hear the same songs. So the interval is that of the queries of one trial.
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


def _summary(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns lines about the number of queries, the database, the index and the network."""
    first = records[0]
    n_queries = sum(record["questions"]["known"] for record in records)
    models = {str(store["model"]) for store in first["stores"]["query"]}
    return (
        f"Wilson 95 % intervals; {n_queries} queries of {first['questions']['songs']} recordings among"
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
