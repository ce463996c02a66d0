"""RESULTS: what an evaluation found, in a form that can be read, compared and repeated.

results.json   rates, timings, settings, stores, versions
answers.npz    what was answered to each question, for paired tests
table.md .csv  the table
"""

import dataclasses
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nafp import __version__, errors
from nafp.jobs import threads
from nafp.search import collection, confidence, index, index_files

from . import metrics, statistics, stores, tables
from .questions import Questions

FORMAT = 1
MOST_GROUPS = 12  # A numeric column with more values than this is cut into ranges.


class Scored(NamedTuple):
    """Answers held against the truth: bool [Q, M] per metric, and whether it was asked."""

    questions: Questions
    answers: metrics.Answers
    right: dict[str, np.ndarray]
    asked: dict[str, np.ndarray]
    lengths: tuple[int, ...]


def score(
    questions: Questions,
    answers: metrics.Answers,
    lengths: Sequence[int],
    *,
    by_row: bool,
    has_tracks: bool,
) -> Scored:
    """Holds answers against the truth. Unknown recordings are asked by no metric of hits."""
    right = metrics.right(answers, questions.tracks, questions.starts, by_row=by_row)
    known = answers.asked & questions.is_known[:, None]
    placed = known & np.isfinite(questions.starts).any(axis=1)[:, None]
    asked = dict.fromkeys(metrics.METRICS, placed) | {"song": known & has_tracks}
    return Scored(questions, answers, right, asked, tuple(lengths))


def hit_rates(scored: Scored, keep: np.ndarray | None = None) -> dict[str, dict[str, Any]]:
    """Gives hit_rates[length][metric] with Wilson intervals, for all questions or some [Q]."""
    if keep is None:
        keep = np.ones(len(scored.questions), bool)
    counts = metrics.count(scored.right, {name: asked & keep[:, None] for name, asked in scored.asked.items()})
    return {
        str(length): {name: cell(counts[name][column]) for name in metrics.METRICS}
        for column, length in enumerate(scored.lengths)
    }


def cell(hits: metrics.Hits) -> dict[str, Any]:
    """Gives one rate as the JSON has it; null where nothing was asked."""
    low, high = metrics.wilson(hits)
    rate = {"rate": hits.rate, "low": low, "high": high}
    return {"hits": hits.right, "asked": hits.asked} | {
        name: value if hits.asked else None for name, value in rate.items()
    }


def clustered(scored: Scored, *, seed: int) -> dict[str, dict[str, list[float]]]:
    """Gives bootstrap intervals [length][metric] with whole songs drawn."""
    right = np.concatenate([scored.right[name] for name in metrics.METRICS], axis=1)
    asked = np.concatenate([scored.asked[name] for name in metrics.METRICS], axis=1)
    ends = statistics.bootstrap(right, asked, scored.questions.songs, seed=seed)
    ends = ends.reshape(len(metrics.METRICS), len(scored.lengths), 2)
    return {
        str(length): {
            name: ends[row, column].tolist()
            for row, name in enumerate(metrics.METRICS)
            if np.isfinite(ends[row, column]).all()
        }
        for column, length in enumerate(scored.lengths)
    }


def grouped(scored: Scored, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Gives hit rates per value of each column of the truth file."""
    groups = scored.questions.groups
    for name in columns:
        if name not in groups:
            raise errors.Invalid(f"--group={name}: the truth file has {', '.join(groups) or 'no such'}")
    found = {}
    for name in columns:
        labels = np.array(ranged(groups[name]))
        known = scored.questions.is_known
        found[name] = {label: hit_rates(scored, labels == label) for label in ordered(labels[known])}
    return found


def ranged(values: Sequence[str]) -> list[str]:
    """Cuts a column of many different numbers into ranges of a whole width: "-6..-4"."""
    if len(set(values)) <= MOST_GROUPS:
        return [value or "(none)" for value in values]
    try:
        numbers = np.array([float(value) if value else np.nan for value in values])
    except ValueError:
        return [value or "(none)" for value in values]
    finite = numbers[np.isfinite(numbers)]
    width = max(1, int(np.ceil((finite.max() - finite.min()) / MOST_GROUPS)))
    low = np.floor(numbers / width) * width
    return [f"{a:g}..{a + width:g}" if np.isfinite(a) else "(none)" for a in low]


def ordered(labels: Sequence[str]) -> list[str]:
    """Gives the distinct labels: numbers and ranges by size, then words as they first come."""
    distinct = [str(label) for label in dict.fromkeys(labels)]
    numbers = [label for label in distinct if is_number(label)]
    words = [label for label in distinct if not is_number(label)]
    return sorted(numbers, key=lambda label: float(label.split("..")[0])) + words


def is_number(label: str) -> bool:
    """Whether a label is a number, or a range of numbers as `ranged` writes it."""
    try:
        float(label.split("..")[0])
    except ValueError:
        return False
    return True


def described(rows: collection.Collection) -> list[dict[str, Any]]:
    """Identifies the stores behind a collection."""
    return [
        {
            "folder": str(one.folder),
            "name": one.name,
            "rows": len(one),
            "dim": one.dim,
            "tracks": len(one.tracks),
            "digest": index_files.digest(one),
            "model": one.meta.get("model"),
        }
        for one in rows.sources
    ]


def sides(given: stores.Inputs) -> dict[str, Any]:
    """Identifies all stores of an evaluation."""
    unknown = described(given.unknown) if given.unknown is not None else []
    return {
        "query": described(given.query),
        "database": described(given.database),
        "unknown": unknown,
        "dummy_rows": given.n_dummy,
    }


def repeatable(request: Any) -> dict[str, Any]:
    """Gives command, settings, versions and machine: what it takes to do it again."""
    return {"command": command(), "settings": dataclasses.asdict(request), **machine()}


def machine() -> dict[str, Any]:
    """Says where and with which versions this runs."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "python": platform.python_version(),
        "nafp": __version__,
        "numpy": np.__version__,
        "faiss": index.VERSION,
        "system": platform.platform(),
        "processor": _processor(),
        "threads": threads.n_threads(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


def command() -> str:
    """Gives the command line as it was typed, for repeating it."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    name = "nafp evaluate" if name == "evaluate.py" else name  # The verb runs as a file.
    return shlex.join([*name.split(), *sys.argv[1:]])


def save(folder: str | os.PathLike, found: Mapping[str, Any], scored: Scored, table: str) -> None:
    """Writes the files; results.json last, so that it means the others are there."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _save_answers(folder / "answers.npz", scored)
    groups = {"all": found["hit_rates"]} | {
        f"{column}={value}": rates for column, values in found["groups"].items() for value, rates in values.items()
    }
    (folder / "table.csv").write_text(tables.as_csv(groups), encoding="utf-8")
    (folder / "table.md").write_text(table + "\n", encoding="utf-8")
    if found["open_set"]:
        lengths = [int(length) for length in found["open_set"]]
        weights = np.array([each["weights"] for each in found["open_set"].values()])
        order = np.argsort(lengths)
        fitted = confidence.Confidence([lengths[i] for i in order], weights[order])
        fitted.save(folder / "confidence.json")
    partial = folder / "results.json.tmp"
    partial.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, folder / "results.json")


def _save_answers(path: Path, scored: Scored) -> None:
    questions, answers = scored.questions, scored.answers
    text = {"names": questions.names, "songs": questions.songs, "groups": questions.groups}
    np.savez_compressed(
        path,
        text=np.array(json.dumps(text)),
        lengths=np.array(scored.lengths),
        first=questions.first,
        truth_tracks=questions.tracks,
        truth_starts=questions.starts,
        **{f"answer_{name}": value for name, value in answers._asdict().items()},
        **{f"right_{name}": value for name, value in scored.right.items()},
        **{f"asked_{name}": value for name, value in scored.asked.items()},
    )


def load(path: str | os.PathLike) -> tuple[dict[str, Any], Scored]:
    """Reads RESULTS or RESULTS/results.json, and the answers beside it."""
    path = Path(path)
    path = path / "results.json" if path.is_dir() else path
    if not path.is_file():
        raise errors.NotFound(f"{path}: no results here; nafp evaluate --out={path.parent} makes them")
    found = json.loads(path.read_text(encoding="utf-8"))
    if "hit_rates" not in found:
        raise errors.Invalid(f"{path} has no hit_rates; give the results.json of nafp evaluate")
    with np.load(path.with_name("answers.npz"), allow_pickle=False) as saved:
        text = json.loads(str(saved["text"]))
        questions = Questions(
            text["names"],
            saved["first"],
            np.zeros(len(saved["first"]), np.int64),
            saved["truth_tracks"],
            saved["truth_starts"],
            text["groups"],
            text["songs"],
        )
        answers = metrics.Answers(*(saved[f"answer_{n}"] for n in metrics.Answers._fields))
        right, asked = ({name: saved[f"{what}_{name}"] for name in metrics.METRICS} for what in ("right", "asked"))
        return found, Scored(questions, answers, right, asked, tuple(saved["lengths"].tolist()))
