"""Sets evaluations side by side and tests which differences are larger than chance.

A system is one run, or several runs (seeds) whose rates are averaged. Two systems that answered the same questions are
compared question by question by McNemar's test; Holm's method corrects the p-values of a table for their number. Other
systems are compared by their rates alone. Queries that are cut from one recording rise and fall together, which
McNemar's test does not know. So a difference counts as larger than chance only if the bootstrap over whole recordings
agrees.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.jobs import outputs, whole_files

from . import metrics, results, statistics, tables

CHANCE = 0.05  # Largest p-value of a difference that is larger than chance.


class ComparedSystem(NamedTuple):
    """A name and its runs. records: what their results.json hold. runs: their scored answers."""

    name: str
    records: list[dict[str, Any]]
    runs: list[results.Scored]


def read(arguments: Sequence[str]) -> list[ComparedSystem]:
    """Reads systems. Each argument is RESULTS, or NAME=RESULTS[,RESULTS...] for several seeds of one system."""
    systems = []
    for argument in arguments:
        name, _, paths = argument.rpartition("=")
        loaded = [results.load(path) for path in paths.split(",")]
        records, runs = [record for record, _ in loaded], [run for _, run in loaded]
        systems.append(ComparedSystem(name or _short(paths), records, runs))
    if len(systems) < 2:
        raise errors.Invalid("give at least two results: nafp compare A/results.json B/results.json")
    names = [system.name for system in systems]
    if len(set(names)) < len(names):
        raise errors.Invalid(f"two systems have one name: {', '.join(names)}; give them names: NAME=RESULTS")
    return systems


def _short(path: str) -> str:
    where = Path(path)
    return where.parent.name if where.name == "results.json" else where.name


def compare(systems: Sequence[ComparedSystem], *, names: Sequence[str] = ("exact", "near", "song")) -> dict[str, Any]:
    """Compares every system with the first by each metric, at every length that all of them have.

    Returns {"rates": {metric: {system: {length: cell}}}, "differences": {metric: {system: {length: cell}}}, "notes":
    [...]} and more about the systems.
    """
    lengths = [
        n for n in systems[0].runs[0].lengths if all(n in run.lengths for system in systems for run in system.runs)
    ]
    if not lengths:
        raise errors.Invalid("the results have no length in common")
    notes = []
    first = systems[0]
    differences: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names}
    for system in systems[1:]:
        pairs = _paired(first, system)
        if pairs is None:
            notes.append(f"{system.name} answered other questions than {first.name}: not paired")
        elif len(pairs[0][0]) < len(first.runs[0].questions):
            notes.append(f"{system.name}: {len(pairs[0][0])} questions in common with {first.name}")
        for name in names:
            differences[name][system.name] = {str(n): _difference(first, system, name, n, pairs) for n in lengths}
    for name in names:
        _correct([cell for cells in differences[name].values() for cell in cells.values()])
    return {
        "rates": {name: {s.name: {str(n): _rate(s, name, n) for n in lengths} for s in systems} for name in names},
        "differences": differences,
        "notes": notes,
        "audio": first.records[0]["audio"],
        "systems": {s.name: [record["run"]["command"] for record in s.records] for s in systems},
    }


def _paired(first: ComparedSystem, other: ComparedSystem) -> list[list[np.ndarray]] | None:
    """Returns for each system and run the places of the questions that all runs have, or None if there are none.

    Two questions are the same if their names and songs are: they then come from the same truth file.
    """
    runs = [*first.runs, *other.runs]
    keys = [[*zip(run.questions.names, run.questions.songs)] for run in runs]
    shared = set(keys[0]).intersection(*keys[1:])
    if not shared:
        return None
    order = [key for key in keys[0] if key in shared]
    numbers = [dict(zip(questions, range(len(questions)))) for questions in keys]
    places = [np.array([number_of[key] for key in order]) for number_of in numbers]
    return [places[: len(first.runs)], places[len(first.runs) :]]


def _column(run: results.Scored, name: str, length: int) -> tuple[np.ndarray, np.ndarray]:
    column = run.lengths.index(length)
    return run.right[name][:, column], run.asked[name][:, column]


def _rate(system: ComparedSystem, name: str, length: int) -> dict[str, Any]:
    """Returns the rate of a system, with Wilson's interval and, for several seeds, their spread."""
    hits = []
    for run in system.runs:
        right, asked = _column(run, name, length)
        hits.append(metrics.Hits(int((right & asked).sum()), int(asked.sum())))
    cell = results.cell(metrics.Hits(sum(run.right for run in hits), sum(run.asked for run in hits)))
    if len(hits) > 1 and cell["asked"]:
        spread = statistics.spread([run.rate for run in hits])
        cell |= {"rate": spread.mean, "deviation": spread.deviation, "runs": spread.n}
    return cell


def _difference(
    first: ComparedSystem,
    other: ComparedSystem,
    name: str,
    length: int,
    pairs: list[list[np.ndarray]] | None,
) -> dict[str, Any]:
    """Compares two systems in one cell. The difference is the rate of `other` less that of `first`.

    pairs: as `_paired` returns them.
    """
    before, after = _rate(first, name, length), _rate(other, name, length)
    if not (before["asked"] and after["asked"]):
        return {"difference": None, "p": 1.0, "test": "nothing asked"}
    if pairs is None:
        p = statistics.two_proportions((before["hits"], before["asked"]), (after["hits"], after["asked"]))
        return {"difference": after["rate"] - before["rate"], "p": p, "test": "two proportions"}
    right, asked = [], []
    for system, places in zip((first, other), pairs):
        columns = [_column(run, name, length) for run in system.runs]
        right.append(np.stack([r[p] for (r, _), p in zip(columns, places)]))
        asked.append(np.stack([a[p] for (_, a), p in zip(columns, places)]).all(axis=0))
    both = asked[0] & asked[1]
    if not both.any():
        return {"difference": None, "p": 1.0, "test": "nothing asked"}
    gap = right[1].mean(axis=0) - right[0].mean(axis=0)
    songs = np.array(first.runs[0].questions.songs)[pairs[0][0]]
    low, high = statistics.bootstrap(gap[both, None], np.ones((both.sum(), 1)), songs[both])[0]
    cell = {"difference": float(gap[both].mean()), "low": float(low), "high": float(high)}
    if len(right[0]) == len(right[1]) == 1:
        tested = statistics.mcnemar(right[0][0][both], right[1][0][both])
        return cell | tested._asdict() | {"test": "McNemar"}
    p = statistics.from_interval(cell["difference"], cell["low"], cell["high"])
    return cell | {"p": p, "test": "bootstrap over songs"}


def _correct(cells: list[dict[str, Any]]) -> None:
    """Adds to all comparisons of one metric the p-value corrected by Holm's method, and the verdict, in place."""
    for cell, p in zip(cells, statistics.holm([cell["p"] for cell in cells])):
        holds_zero = "low" in cell and cell["low"] <= 0 <= cell["high"]
        cell |= {"corrected_p": p, "beyond_chance": p < CHANCE and not holds_zero}


def report(comparison: dict[str, Any], *, markdown: bool = False) -> str:
    """Returns the tables of `compare`: the rates of each system, and below them the differences from the first."""
    shape = tables.markdown_table if markdown else tables.plain
    parts = []
    for name, systems in comparison["rates"].items():
        lengths = list(next(iter(systems.values())))
        header = [f"{tables.LABELS[name]}, %", *tables.named(lengths, **comparison["audio"])]
        lines = [[system, *(_rate_text(cells[n]) for n in lengths)] for system, cells in systems.items()]
        for system, cells in comparison["differences"][name].items():
            lines.append([f"{system}, difference", *(_difference_text(cells[n]) for n in lengths)])
        parts.append(shape(header, lines))
    parts.append(
        "* larger than chance: p < 0.05 after correction for all comparisons of its table, and "
        "the 95 % interval with whole recordings drawn leaves out 0"
    )
    return "\n\n".join([*parts, *comparison["notes"]])


def _rate_text(cell: dict[str, Any]) -> str:
    if "deviation" in cell:
        return f"{100 * cell['rate']:.1f} ± {100 * cell['deviation']:.1f} (n={cell['runs']})"
    return tables.percent(cell)


def _difference_text(cell: dict[str, Any]) -> str:
    if cell["difference"] is None:
        return "-"
    star = " *" if cell["beyond_chance"] else ""
    return f"{100 * cell['difference']:+.1f} p={cell['corrected_p']:.2g}{star}"


def run(arguments: Sequence[str], *, out: str | os.PathLike | None = None) -> dict[str, Any]:
    """Compares and prints. If `out` is given, writes compare.json and compare.md into this folder."""
    if out:
        formers = {"compare.json": outputs.json_of("rates"), "compare.md": outputs.never}
        outputs.require_set({str(Path(out) / name): formers[name] for name in formers}, verb="nafp compare")
    comparison = compare(read(arguments))
    print(report(comparison))
    if out:
        Path(out).mkdir(parents=True, exist_ok=True)
        _write(Path(out) / "compare.json", json.dumps(comparison, indent=1, allow_nan=False))
        _write(Path(out) / "compare.md", report(comparison, markdown=True))
    return comparison


def _write(path: Path, text: str) -> None:
    with whole_files.opened(path, encoding="utf-8") as file:
        file.write(text + "\n")
