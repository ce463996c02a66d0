"""Sets runs side by side and says which differences are larger than chance.

A system is one run, or several (seeds) whose rates are averaged. Two systems that answered the
same questions are compared question by question (McNemar; p-values of one table corrected for
their number by Holm), others by their rates alone. Queries cut from one recording rise and fall
together, which McNemar does not know: a difference is called larger than chance only if the
bootstrap over whole recordings agrees.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nafp import errors

from . import metrics, results, statistics, tables

CHANCE = 0.05


class System(NamedTuple):
    """A name and its runs: what results.json says, and the scored answers."""

    name: str
    found: list[dict[str, Any]]
    runs: list[results.Scored]


def read(arguments: Sequence[str]) -> list[System]:
    """Reads systems given as RESULTS, or NAME=RESULTS[,RESULTS...] for one name and its seeds."""
    systems = []
    for argument in arguments:
        name, _, paths = argument.rpartition("=")
        loaded = [results.load(path) for path in paths.split(",")]
        systems.append(System(name or _short(paths), [one for one, _ in loaded], [run for _, run in loaded]))
    if len(systems) < 2:
        raise errors.Invalid("give at least two results: nafp compare A/results.json B/results.json")
    names = [system.name for system in systems]
    if len(set(names)) < len(names):
        raise errors.Invalid(f"two systems have one name: {', '.join(names)}; name them: NAME=RESULTS")
    return systems


def _short(path: str) -> str:
    where = Path(path)
    return where.parent.name if where.name == "results.json" else where.name


def compare(systems: Sequence[System], *, names: Sequence[str] = ("exact", "near", "song")) -> dict[str, Any]:
    """Compares every system with the first, at every length they share, by each metric.

    Returns {"rates": {metric: {system: {length: cell}}}, "differences": {metric: {system:
    {length: cell}}}, "notes": [...]}.
    """
    lengths = [
        n for n in systems[0].runs[0].lengths if all(n in run.lengths for system in systems for run in system.runs)
    ]
    if not lengths:
        raise errors.Invalid("the results have no length in common")
    notes = []
    first, differences = systems[0], {name: {} for name in names}
    for system in systems[1:]:
        pairs = _paired(first, system)
        if pairs is None:
            notes.append(f"{system.name} answered other questions than {first.name}: not paired")
        elif len(pairs[0][0]) < len(first.runs[0].questions):
            notes.append(f"{system.name}: {len(pairs[0][0])} questions in common with {first.name}")
        for name in names:
            found = {str(n): _difference(first, system, name, n, pairs) for n in lengths}
            differences[name][system.name] = found
    for name in names:
        _correct([cell for found in differences[name].values() for cell in found.values()])
    return {
        "rates": {name: {s.name: {str(n): _rate(s, name, n) for n in lengths} for s in systems} for name in names},
        "differences": differences,
        "notes": notes,
        "audio": first.found[0]["audio"],
        "systems": {s.name: [one["run"]["command"] for one in s.found] for s in systems},
    }


def _paired(one: System, other: System) -> list[list[np.ndarray]] | None:
    """Gives, per system and run, the places of the questions all have; None when there are none.

    Questions are the same when name and number are: the truth is then the same file's.
    """
    runs = [*one.runs, *other.runs]
    keys = [[*zip(run.questions.names, run.questions.songs)] for run in runs]
    shared = set(keys[0]).intersection(*keys[1:])
    if not shared:
        return None
    order = [key for key in keys[0] if key in shared]
    places = [dict(zip(each, range(len(each)))) for each in keys]
    found = [np.array([where[key] for key in order]) for where in places]
    return [found[: len(one.runs)], found[len(one.runs) :]]


def _column(run: results.Scored, name: str, length: int) -> tuple[np.ndarray, np.ndarray]:
    column = run.lengths.index(length)
    return run.right[name][:, column], run.asked[name][:, column]


def _rate(system: System, name: str, length: int) -> dict[str, Any]:
    """Gives the rate of a system: with Wilson's interval, or with the spread of its seeds."""
    hits = []
    for run in system.runs:
        right, asked = _column(run, name, length)
        hits.append(metrics.Hits(int((right & asked).sum()), int(asked.sum())))
    whole = results.cell(metrics.Hits(*map(sum, zip(*hits))))
    if len(hits) > 1 and whole["asked"]:
        spread = statistics.spread([each.rate for each in hits])
        whole |= {"rate": spread.mean, "deviation": spread.deviation, "runs": spread.n}
    return whole


def _difference(
    first: System,
    other: System,
    name: str,
    length: int,
    pairs: list[list[np.ndarray]] | None,
) -> dict[str, Any]:
    """Compares two systems in one cell; difference = other - first, in rate."""
    rates = [_rate(system, name, length) for system in (first, other)]
    if not all(rate["asked"] for rate in rates):
        return {"difference": None, "p": 1.0, "test": "nothing asked"}
    if pairs is None:
        p = statistics.two_proportions(*((rate["hits"], rate["asked"]) for rate in rates))
        gap = rates[1]["rate"] - rates[0]["rate"]
        return {"difference": gap, "p": p, "test": "two proportions"}
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
    found = {"difference": float(gap[both].mean()), "low": float(low), "high": float(high)}
    if len(right[0]) == len(right[1]) == 1:
        tested = statistics.mcnemar(right[0][0][both], right[1][0][both])
        return found | tested._asdict() | {"test": "McNemar"}
    p = statistics.from_interval(found["difference"], found["low"], found["high"])
    return found | {"p": p, "test": "bootstrap over songs"}


def _correct(cells: list[dict[str, Any]]) -> None:
    """Adds Holm's correction for all comparisons of one metric, and the verdict."""
    for cell, p in zip(cells, statistics.holm([cell["p"] for cell in cells])):
        is_either_way = "low" in cell and cell["low"] <= 0 <= cell["high"]
        cell |= {"corrected_p": p, "beyond_chance": p < CHANCE and not is_either_way}


def report(found: dict[str, Any], *, markdown: bool = False) -> str:
    """Writes the tables: rates per system, and below them the differences to the first."""
    shape = tables.markdown_table if markdown else tables.plain
    parts = []
    for name, systems in found["rates"].items():
        lengths = list(next(iter(systems.values())))
        audio_s = [tables.seconds(int(n), **found["audio"]) for n in lengths]
        header = [
            f"{tables.LABELS[name]}, %",
            *(f"{n} ({s:g} s)" for n, s in zip(lengths, audio_s)),
        ]
        lines = [[who, *(_said(cells[n]) for n in lengths)] for who, cells in systems.items()]
        for who, cells in found["differences"][name].items():
            lines.append([f"{who}, difference", *(_gap(cells[n]) for n in lengths)])
        parts.append(shape(header, lines))
    parts.append(
        "* larger than chance: p < 0.05 after correction for all comparisons of its table, and "
        "the 95 % interval with whole recordings drawn leaves out 0"
    )
    return "\n\n".join([*parts, *found["notes"]])


def _said(cell: dict[str, Any]) -> str:
    if "deviation" in cell:
        return f"{100 * cell['rate']:.1f} ± {100 * cell['deviation']:.1f} (n={cell['runs']})"
    return tables.percent(cell)


def _gap(cell: dict[str, Any]) -> str:
    if cell["difference"] is None:
        return "-"
    star = " *" if cell["beyond_chance"] else ""
    return f"{100 * cell['difference']:+.1f} p={cell['corrected_p']:.2g}{star}"


def run(arguments: Sequence[str], *, out: str | os.PathLike | None = None) -> dict[str, Any]:
    """Compares, prints, and writes compare.json and compare.md into `out` when it is given."""
    found = compare(read(arguments))
    print(report(found))
    if out:
        Path(out).mkdir(parents=True, exist_ok=True)
        (Path(out) / "compare.md").write_text(report(found, markdown=True) + "\n")
        text = json.dumps(found, indent=1, allow_nan=False)
        (Path(out) / "compare.json").write_text(text + "\n")
    return found
