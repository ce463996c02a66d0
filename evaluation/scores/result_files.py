"""Scores a file of answers, of any system, against a truth file: `nafp evaluate --answers`.

The counts are those of pfann's tools/accuracy.py. A file of answers is one of

    query,answer,score,time,...       pfann's RESULT_detail.csv; score and time may be missing
    query,...,track,start_s,...       `nafp identify --format=csv` or tsv, of which the first rank counts
    QUERY, tab, ANSWER                pfann's RESULT.tsv, without a header and without times

A clip is one question at one length, `results.WHOLE`.
"""

import csv
import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.jobs import choices

from . import metrics, questions, results, tables

EXACT_S, NEAR_S = 0.25, 0.5  # As in pfann's tools/accuracy.py, whatever the hop.
_NAMES = {"answer": ("answer", "track"), "time": ("time", "start_s"), "score": ("score",)}


class FileAnswer(NamedTuple):
    """The answer to one clip. answer: "" or "error" for none. time_s: where in it, nan if the file does not say."""

    query: str
    answer: str
    time_s: float
    score: float


def run(
    path: str,
    *,
    truth: str | None,
    out: str,
    group: Sequence[str] | None = None,
    seed: int = 0,
    show: bool = True,
) -> dict[str, Any]:
    """Scores a file of answers, prints the table, writes RESULTS, and returns what results.json holds.

    truth: CSV file query,answer,time[,...]. out: RESULTS. group: columns of the truth file to tabulate by, None for
    `condition` if there is one. seed: of the bootstrap. Raises nafp.errors.Invalid or NotFound for files that do not
    belong together.
    """
    if not truth:
        raise errors.Invalid("--answers needs --truth=expected.csv, which says what is right")
    results.require_out(out)
    scored = score(read(path), questions.read_truth(truth), where=f"{path} and {truth}")
    n, known = len(scored.questions), int(scored.questions.is_known.sum())
    columns = [name for name in ("condition",) if name in scored.questions.groups] if group is None else list(group)
    record = {
        "format": results.FORMAT,
        "hit_rates": results.hit_rates(scored),
        "clustered": results.clustered(scored, seed=seed),
        "groups": results.grouped(scored, columns),
        "open_set": {},
        "audio": {"hop_s": 0.0, "segment_s": 0.0},
        "questions": {"all": n, "known": known, "unknown": n - known, "songs": len(set(scored.questions.songs))},
        "answers": {"file": os.path.abspath(path), "truth": os.path.abspath(truth)},
        "run": {"command": results.command(), "settings": {}, **results.machine()},
        "notes": [],
    }
    results.save(out, record, scored, tables.report(record, markdown=True))
    if show:
        print(tables.report(record), *counts(scored), f"written: {out}/results.json, table.md, table.csv", sep="\n")
    return record


def counts(scored: results.Scored) -> list[str]:
    """Returns the lines that pfann's tools/accuracy.py prints."""
    names = {"exact": "exact match", "near": "near match", "song": "song"}
    lines = []
    for name, label in names.items():
        hits, asked = int((scored.right[name] & scored.asked[name]).sum()), int(scored.asked[name].sum())
        if asked:
            lines.append(f"{label} correct {hits} acc {100 * hits / asked:.2f}")
    return lines


def read(path: str | os.PathLike) -> list[FileAnswer]:
    """Reads a file of answers. Raises nafp.errors.Invalid if it is none."""
    if not Path(path).is_file():
        raise errors.NotFound(f"--answers={path}: no such file")
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as text:
        first = text.readline().rstrip("\r\n")
        delimiter = "\t" if "\t" in first else ","
        header = next(csv.reader([first], delimiter=delimiter), [])
        if "query" not in header:
            return _bare(path, [first, *text])
        lines = list(csv.DictReader(text, header, delimiter=delimiter))
    columns = {name: next((n for n in names if n in header), "") for name, names in _NAMES.items()}
    if not columns["answer"]:
        raise errors.Invalid(f"{path} has no column answer or track; its columns are {', '.join(header)}")
    return [
        FileAnswer(
            line["query"],
            line[columns["answer"]] or "",
            _number(line.get(columns["time"]), path, line["query"]),
            _number(line.get(columns["score"]), path, line["query"]),
        )
        for line in lines
        if (line.get("rank") or "1") == "1"
    ]


def _bare(path: str | os.PathLike, lines: Sequence[str]) -> list[FileAnswer]:
    """Reads lines of QUERY, tab, ANSWER."""
    pairs = [line.rstrip("\r\n").split("\t") for line in lines if line.strip()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise errors.Invalid(
            f"{path}: no file of answers: a header with query and answer is needed, or lines of QUERY, tab, ANSWER"
        )
    return [FileAnswer(query, answer, math.nan, math.nan) for query, answer in pairs]


def _number(text: str | None, path: str | os.PathLike, query: str) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise errors.Invalid(f"{path}: query {query}: {text!r} is no number") from None


def score(
    answers: Sequence[FileAnswer], truth: Sequence[Mapping[str, str]], *, where: str = "the files"
) -> results.Scored:
    """Compares answers with the lines of a truth file. Several lines of one query are several right answers.

    Queries and answers are compared by file name. Queries without an answer in the file do not count, and neither do
    those whose right answer is empty, because their recording is unknown. where: names the files in errors. Raises
    nafp.errors.Invalid for an answer to a query that the truth file does not have.
    """
    asked: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for line in truth:
        asked[base_name(line["query"])].append(line)
    lost = [answer.query for answer in answers if base_name(answer.query) not in asked]
    if lost or not answers:
        closest = choices.closest(base_name(lost[0]), asked) if lost else ""
        what = f"{len(lost)} queries, such as {lost[0]}, have no truth." if lost else "there are no answers."
        raise errors.Invalid(f"{where}: {what}{closest}")
    lines = [asked[base_name(answer.query)] for answer in answers]
    right = {name: np.zeros((len(answers), 1), bool) for name in metrics.METRICS}
    for number, (answer, own) in enumerate(zip(answers, lines)):
        for line in own:
            if is_same(answer.answer, line["answer"] or ""):
                away_s = abs(_number(line.get("time"), where, answer.query) - answer.time_s)
                right["song"][number] = True
                right["exact"][number] |= away_s <= EXACT_S
                right["near"][number] |= away_s <= NEAR_S
    return results.Scored(
        _questions(answers, lines), _answers(answers), right, _counted(answers, lines), (results.WHOLE,)
    )


def _counted(answers: Sequence[FileAnswer], lines: Sequence[Sequence[Mapping[str, str]]]) -> dict[str, np.ndarray]:
    """Returns for each metric which answers count, bool [Q, 1]: places only if the file of answers has times."""
    known = np.array([[any(line["answer"] for line in own)] for own in lines])
    placed = known & np.array([[any(line.get("time") for line in own)] for own in lines])
    placed &= not all(math.isnan(answer.time_s) for answer in answers)
    nothing = np.zeros_like(known)
    return {"exact": placed, "near": placed, "top3": nothing, "top10": nothing, "song": known}


def base_name(path: str) -> str:
    """Returns the file name of a path, with its extension."""
    return re.split(r"[/\\]", path)[-1]


def is_same(answer: str, right: str) -> bool:
    """Returns whether two paths name one file, in whatever folder. A name without an extension fits any extension."""
    ours, theirs = base_name(answer), base_name(right)
    if ours == theirs:
        return bool(ours)
    (stem, extension), (other_stem, other_extension) = (os.path.splitext(name) for name in (ours, theirs))
    return stem == other_stem != "" and not (extension and other_extension)


def _questions(answers: Sequence[FileAnswer], lines: Sequence[Sequence[Mapping[str, str]]]) -> questions.Questions:
    n = len(answers)
    groups = [name for name in lines[0][0] if name and name not in (*questions.REQUIRED, "time")]
    return questions.Questions(
        [base_name(answer.query) for answer in answers],
        np.arange(n),
        np.ones(n, np.int64),
        np.array([[0 if any(line["answer"] for line in own) else -1] for own in lines]),
        np.full((n, 1), np.nan),
        {name: [own[0][name] or "" for own in lines] for name in groups},
        [base_name(own[0]["answer"] or "") or answer.query for answer, own in zip(answers, lines)],
    )


def _answers(answers: Sequence[FileAnswer]) -> metrics.Answers:
    """Returns the scores of the answers. Tracks and starts are unknown, because a file has no table of tracks."""
    shape = (len(answers), 1, 1)
    scores = np.array([answer.score for answer in answers], np.float32).reshape(shape)
    starts = np.array([answer.time_s for answer in answers]).reshape(shape)
    return metrics.Answers(np.full(shape, -1, np.int64), starts, scores, np.zeros(shape[:2]), np.ones(shape[:2], bool))
