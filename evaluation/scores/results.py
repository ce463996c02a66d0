"""The RESULTS folder of an evaluation, from which it can be read, compared and repeated.

results.json        rates, timings, settings, stores, versions
answers.npz         the answers to each question, for paired tests
table.md table.csv  the tables
confidence.json     the fitted calibration, if there were unknown queries
raw_score.npy       what the original writes, with --compat; test_ids.npy likewise
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
from nafp.jobs import outputs, threads, whole_files
from nafp.search import collection, confidence, index, index_files

from . import metrics, statistics, stores, tables
from .questions import Questions

FORMAT = 1
WHOLE = 0  # The length of a question that is asked with the whole clip.
MOST_GROUPS = 12  # A numeric column with more values is cut into ranges.


class Scored(NamedTuple):
    """Answers compared with the truth. right, asked: bool [Q, M] for each metric, of Q questions at M lengths."""

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
    """Compares answers with the truth. Questions about unknown recordings count in no metric.

    by_row: as in `metrics.right`. has_tracks: whether the database knows its tracks, which `song` needs.
    """
    right = metrics.right(answers, questions.tracks, questions.starts, by_row=by_row)
    known = answers.asked & questions.is_known[:, None]
    placed = known & np.isfinite(questions.starts).any(axis=1)[:, None]
    asked = dict.fromkeys(metrics.METRICS, placed) | {"song": known & has_tracks}
    return Scored(questions, answers, right, asked, tuple(lengths))


def hit_rates(scored: Scored, keep: np.ndarray | None = None) -> dict[str, dict[str, Any]]:
    """Returns hit_rates[length][metric] with Wilson intervals. keep: bool [Q], which questions count. None for all."""
    if keep is None:
        keep = np.ones(len(scored.questions), bool)
    counts = metrics.count(scored.right, {name: asked & keep[:, None] for name, asked in scored.asked.items()})
    return {
        str(length): {name: cell(counts[name][column]) for name in metrics.METRICS}
        for column, length in enumerate(scored.lengths)
    }


def cell(hits: metrics.Hits) -> dict[str, Any]:
    """Returns one rate as results.json has it, with None for the numbers if nothing was asked."""
    low, high = metrics.wilson(hits)
    rate = {"rate": hits.rate, "low": low, "high": high}
    return {"hits": hits.right, "asked": hits.asked} | {
        name: value if hits.asked else None for name, value in rate.items()
    }


def clustered(scored: Scored, *, seed: int) -> dict[str, dict[str, list[float]]]:
    """Returns intervals [length][metric] of a bootstrap that draws whole songs."""
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
    """Returns hit rates [column][value] for the named columns of the truth file."""
    groups = scored.questions.groups
    for name in columns:
        if name not in groups:
            raise errors.Invalid(f"--group={name}: the truth file has {', '.join(groups) or 'no column to group by'}")
    rates = {}
    for name in columns:
        labels = np.array(ranged(groups[name]))
        known = scored.questions.is_known
        rates[name] = {label: hit_rates(scored, labels == label) for label in ordered(labels[known])}
    return rates


def ranged(values: Sequence[str]) -> list[str]:
    """Returns labels of the values. Many different numbers become ranges of a whole width, such as "-6..-4"."""
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
    """Returns the distinct labels: first numbers and ranges by size, then words in the order of their first place."""
    distinct = [str(label) for label in dict.fromkeys(labels)]
    numbers = [label for label in distinct if is_number(label)]
    words = [label for label in distinct if not is_number(label)]
    return sorted(numbers, key=lambda label: float(label.split("..")[0])) + words


def is_number(label: str) -> bool:
    """Returns whether a label is a number, or a range of numbers as `ranged` writes it."""
    try:
        float(label.split("..")[0])
    except ValueError:
        return False
    return True


def described(rows: collection.Collection) -> list[dict[str, Any]]:
    """Returns what identifies each store of a collection."""
    return [
        {
            "folder": str(store.folder),
            "name": store.name,
            "rows": len(store),
            "dim": store.dim,
            "tracks": len(store.tracks),
            "digest": index_files.digest(store),
            "model": store.meta.get("model"),
        }
        for store in rows.sources
    ]


def sides(given: stores.Inputs) -> dict[str, Any]:
    """Returns what identifies the stores of an evaluation, by side."""
    unknown = described(given.unknown) if given.unknown is not None else []
    return {
        "query": described(given.query),
        "database": described(given.database),
        "unknown": unknown,
        "dummy_rows": given.n_dummy,
    }


def repeatable(request: Any) -> dict[str, Any]:
    """Returns command, settings, versions and machine. request: the dataclass with the settings."""
    return {"command": command(), "settings": dataclasses.asdict(request), **machine()}


def machine() -> dict[str, Any]:
    """Returns date, versions and hardware of this run."""
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
    """Returns the command line as it was typed, so that it can be repeated."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    return shlex.join([*name.split(), *sys.argv[1:]])  # A launcher sets the name, such as "nafp evaluate".


def require_out(folder: str | os.PathLike, *, as_original: bool = False) -> None:
    """Raises nafp.errors.Invalid if `save` would replace files of a folder that are no former RESULTS."""
    others = ("table.csv", "table.md", "confidence.json", *(("raw_score.npy", "test_ids.npy") if as_original else ()))
    formers = {
        "answers.npz": lambda head: head.startswith(b"PK") and b"text.npy" in head,
        "results.json": outputs.json_of("format", "hit_rates"),
        **dict.fromkeys(others, outputs.never),
    }
    outputs.require_set({str(Path(folder) / name): former for name, former in formers.items()}, verb="nafp evaluate")


def save(
    folder: str | os.PathLike, record: Mapping[str, Any], scored: Scored, table: str, *, as_original: bool = False
) -> None:
    """Writes the RESULTS folder. results.json comes last: if it is there, so are the others.

    record: what results.json is to hold. table: what table.md is to hold. as_original: whether to write the files of
    the original, too.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    _save_answers(place / "answers.npz", scored)
    groups = {"all": record["hit_rates"]} | {
        f"{column}={value}": rates for column, values in record["groups"].items() for value, rates in values.items()
    }
    (place / "table.csv").write_text(tables.as_csv(groups), encoding="utf-8")
    (place / "table.md").write_text(table + "\n", encoding="utf-8")
    if record["open_set"]:
        _fitted(record["open_set"]).save(place / "confidence.json")
    if as_original:
        _save_as_original(place, scored)
    with whole_files.opened(place / "results.json", encoding="utf-8") as file:
        file.write(json.dumps(record, indent=1, allow_nan=False) + "\n")


def _save_as_original(place: Path, scored: Scored) -> None:
    """Writes raw_score.npy and test_ids.npy, as the original's eval_faiss.py does.

    raw_score: int64 [Q, 4 M], whether a question at each of M lengths was answered right: exact at all lengths, then
    near, then among the first 3, then among the first 10. test_ids: int64 [Q]. scored: of questions by test id.
    """
    columns = [scored.right[name] for name in ("exact", "near", "top3", "top10")]
    np.save(place / "raw_score.npy", np.concatenate(columns, axis=1).astype(np.int64))
    np.save(place / "test_ids.npy", np.array([int(name) for name in scored.questions.names], np.int64))


def _fitted(judged: Mapping[str, Any]) -> confidence.Confidence:
    """Returns the calibration that was fitted at each length."""
    lengths = sorted(int(length) for length in judged)
    return confidence.Confidence(lengths, np.array([judged[str(length)]["weights"] for length in lengths]))


def _save_answers(path: Path, scored: Scored) -> None:
    questions, answers = scored.questions, scored.answers
    text = {"names": questions.names, "songs": questions.songs, "groups": questions.groups}
    arrays: dict[str, Any] = {
        "text": np.array(json.dumps(text)),
        "lengths": np.array(scored.lengths),
        "first": questions.first,
        "truth_tracks": questions.tracks,
        "truth_starts": questions.starts,
        **{f"answer_{name}": value for name, value in answers._asdict().items()},
        **{f"right_{name}": value for name, value in scored.right.items()},
        **{f"asked_{name}": value for name, value in scored.asked.items()},
    }
    np.savez_compressed(path, **arrays)


def load(path: str | os.PathLike) -> tuple[dict[str, Any], Scored]:
    """Reads RESULTS or RESULTS/results.json, and the answers beside it. RESULTS may be those of a protocol."""
    place = outputs.results_file(path)
    record = json.loads(place.read_text(encoding="utf-8"))
    if "hit_rates" not in record:
        raise errors.Invalid(f"{place} has no hit_rates; give the results.json of nafp evaluate")
    with np.load(place.with_name("answers.npz"), allow_pickle=False) as saved:
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
        return record, Scored(questions, answers, right, asked, tuple(saved["lengths"].tolist()))
