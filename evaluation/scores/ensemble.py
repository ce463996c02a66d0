"""Lets a support vector machine choose between the answers of two systems: pfann's ensemble of network and landmarks.

The machine sees two numbers of a query, the scores that the two systems give their own answers, unscaled. It is trained
on the queries that exactly one of them answers right, and says whether to take the first one's answer. Linear machines
have C = 1e-2 .. 1e10, those with radial functions each of these and gamma = 1e-9 .. 1e3, as pfann's svmtrain has.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn import svm

from nafp import errors
from nafp.jobs import outputs, plain_files, progress, whole_files

from . import questions, result_files, tables

COSTS = tuple(10.0**n for n in range(-2, 11))
GAMMAS = tuple(10.0**n for n in range(-9, 4))
# What the .bin beside a RESULT.tsv holds for each query and song: its type, and which of the two numbers is the score.
KINDS = {"network": (np.float32, 0), "landmark": (np.int32, 1)}


class Pair(NamedTuple):
    """What two systems answered to the same queries.

    first, second: float32 [Q, 2], the score that each gives its own answer, and whether that is right, 1 or 0.
    """

    name: str
    first: np.ndarray
    second: np.ndarray

    @property
    def is_split(self) -> np.ndarray:
        """Whether exactly one of the systems is right, bool [Q]."""
        return self.first[:, 1] + self.second[:, 1] == 1

    @property
    def scores(self) -> np.ndarray:
        """What a machine sees, float32 [Q, 2]."""
        return np.stack([self.first[:, 0], self.second[:, 0]], axis=1)


class Chosen(NamedTuple):
    """How often the chosen answers of one machine are right: where exactly one system is, and over all queries."""

    split: float
    all: float


def run(
    train: str, pairs: Sequence[str], *, out: str, songs: str | None = None, second: str = "landmark", show: bool = True
) -> dict[str, list[Chosen]]:
    """Trains all machines on one query set, scores them on others, and writes OUT/linear.csv, rbf.csv and *_all.csv.

    train, pairs: query sets as NAME=FIRST,SECOND,TRUTH; the name may be missing. FIRST and SECOND are RESULT.tsv with
    RESULT.tsv.bin beside it, RESULT_detail.csv, or rows (score, right) in a .npy file, which need no truth. songs: the
    songs of each .bin, in order. second: one of KINDS. Returns for each machine its scores on each set of `pairs`.
    Raises nafp.errors.Invalid or NotFound for files that do not belong together.
    """
    _require_out(Path(out))
    named = _song_names(songs) if songs else {}
    learned = read(train, named, second=second)
    asked = [read(pair, named, second=second) for pair in pairs]
    wins = learned.first[learned.is_split, 1]
    if not 0 < wins.sum() < len(wins):
        raise errors.Invalid(f"{train}: each system must be right alone in some queries; {_wins(learned)}")
    scored = {}
    with progress.Progress(len(COSTS) * (1 + len(GAMMAS)), "machines", show=show) as bar:
        for name, machine in machines():
            machine.fit(learned.scores[learned.is_split], wins)
            scored[name] = [chosen(machine, pair) for pair in asked]
            bar.add(1)
    _write(Path(out), scored, [pair.name for pair in asked])
    if show:
        print(f"{_wins(learned)} of the training set\n")
        print(tables.plain(*table(asked, scored)), f"\nwritten: {out}/linear.csv, rbf.csv, linear_all.csv, rbf_all.csv")
    return scored


def machines() -> Iterator[tuple[str, svm.SVC]]:
    """Yields every machine, not trained yet, with its name: "C" or "C gamma"."""
    for cost in COSTS:
        yield f"{cost:g}", svm.SVC(C=cost, kernel="linear")
    for cost in COSTS:
        for gamma in GAMMAS:
            yield f"{cost:g} {gamma:g}", svm.SVC(C=cost, kernel="rbf", gamma=gamma)


def chosen(machine: svm.SVC, pair: Pair) -> Chosen:
    """Scores the answers that a trained machine takes. The first number is nan if no query is split."""
    takes_first = machine.predict(pair.scores) == 1
    right = np.where(takes_first, pair.first[:, 1], pair.second[:, 1])
    return Chosen(float(right[pair.is_split].mean()) if pair.is_split.any() else np.nan, float(right.mean()))


def read(text: str, songs: dict[str, int], *, second: str = "landmark") -> Pair:
    """Reads a query set, NAME=FIRST,SECOND,TRUTH. songs: number of each song by its stem. second: one of KINDS."""
    name, _, files = text.rpartition("=")
    paths = files.split(",")
    if len(paths) not in (2, 3):
        raise errors.Invalid(f"{text}: a query set is NAME=FIRST,SECOND,TRUTH; TRUTH may be missing with .npy files")
    right = _right_answers(paths[2]) if len(paths) == 3 else None
    first, other = (_rows(path, right, songs, kind) for path, kind in zip(paths, ("network", second)))
    if len(first) != len(other):
        raise errors.Invalid(f"{text}: {len(first)} answers of one system and {len(other)} of the other")
    return Pair(name or Path(paths[0]).stem, first, other)


def _rows(path: str, right: dict[str, str] | None, songs: dict[str, int], kind: str) -> np.ndarray:
    """Returns (score, right) of each answer of one system, float32 [Q, 2]."""
    if path.endswith(".npy"):
        return _from_array(path)
    answers = result_files.read(path)
    if right is None:
        raise errors.Invalid(f"{path}: without a truth file nobody knows what is right: FIRST,SECOND,TRUTH")
    if lost := [answer.query for answer in answers if _stem(answer.query) not in right]:
        raise errors.Invalid(f"{path}: {len(lost)} queries, such as {lost[0]}, have no truth")
    beside = Path(f"{path}.bin")
    scores = [answer.score for answer in answers]
    if beside.exists():
        scores = _from_board(beside, [_stem(answer.answer) for answer in answers], songs, kind)
    elif not np.isfinite(scores).any():
        raise errors.NotFound(f"{beside}: no such file, and {path} has no scores")
    is_right = [_stem(answer.answer) == right[_stem(answer.query)] for answer in answers]
    return np.stack([np.nan_to_num(scores, nan=0, neginf=0), is_right], axis=1).astype(np.float32)


def _from_array(path: str) -> np.ndarray:
    if not os.path.exists(path):
        raise errors.NotFound(f"{path}: no such file")
    rows = plain_files.array(path)
    if rows.ndim != 2 or rows.shape[1] != 2:
        raise errors.Invalid(f"{path}: holds {list(rows.shape)}; rows of score and right, [Q, 2], are needed")
    return rows.astype(np.float32)


def _from_board(path: Path, answers: Sequence[str], songs: dict[str, int], kind: str) -> list[float]:
    """Returns the score of each answer in a .bin [Q, songs, 2]. A clip that failed has none: 0."""
    dtype, element = KINDS[kind]
    board = np.fromfile(path, dtype)
    n_songs = max(songs.values(), default=-1) + 1
    if not songs or board.size != 2 * n_songs * len(answers):
        raise errors.Invalid(
            f"{path}: has {board.size} numbers; {len(answers)} answers and {n_songs} songs need "
            f"{2 * n_songs * len(answers)}: --songs names the songs of the collection, in order"
        )
    board = board.reshape(len(answers), n_songs, 2)
    places = [(number, songs[answer]) if answer in songs else None for number, answer in enumerate(answers)]
    return [float(board[*place, element]) if place else 0.0 for place in places]


def _right_answers(path: str) -> dict[str, str]:
    return {_stem(line["query"]): _stem(line["answer"] or "") for line in questions.read_truth(path)}


def _song_names(path: str) -> dict[str, int]:
    """Returns the number of each song, by its name without folder and suffix."""
    if not Path(path).is_file():
        raise errors.NotFound(f"--songs={path}: no such file")
    lines = Path(path).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return {_stem(line): number for number, line in enumerate(lines)}


def _stem(path: str) -> str:
    return os.path.splitext(result_files.base_name(path))[0]


def _wins(pair: Pair) -> str:
    wins = int(pair.first[pair.is_split, 1].sum())
    return f"the first alone is right in {wins} queries, the second alone in {int(pair.is_split.sum()) - wins}"


def table(pairs: Sequence[Pair], scored: dict[str, list[Chosen]]) -> tables.Table:
    """Returns the share of right answers, in %: of each system, of both together, and of the best machines."""
    rates = {
        "first": [pair.first[:, 1].mean() for pair in pairs],
        "second": [pair.second[:, 1].mean() for pair in pairs],
        "either": [np.maximum(pair.first[:, 1], pair.second[:, 1]).mean() for pair in pairs],
    }
    for label, is_linear in (("best linear", True), ("best radial", False)):
        some = [scores for name, scores in scored.items() if (" " not in name) == is_linear]
        rates[label] = [max(scores[column].all for scores in some) for column in range(len(pairs))]
    lines = [[label, *(f"{100 * rate:.1f}" for rate in columns)] for label, columns in rates.items()]
    return ["% right", *(pair.name for pair in pairs)], lines


def _require_out(folder: Path) -> None:
    """Raises nafp.errors.Invalid if a table would replace a file that is no former one."""
    formers = {"linear": outputs.begins_with(b"C,"), "rbf": outputs.begins_with(b"C,gamma,")}
    files = {str(folder / f"{kind}{suffix}.csv"): formers[kind] for kind in formers for suffix in ("", "_all")}
    outputs.require_set(files, verb="nafp compare --train")


def _write(folder: Path, scored: dict[str, list[Chosen]], names: Sequence[str]) -> None:
    """Writes a table for each kind of machine and way of counting: a line for each machine, a column for each set."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, header in (("linear", ["C"]), ("rbf", ["C", "gamma"])):
        own = {name: scores for name, scores in scored.items() if len(name.split()) == len(header)}
        for suffix, field in (("", "split"), ("_all", "all")):
            with whole_files.opened(folder / f"{kind}{suffix}.csv", newline="", encoding="utf-8") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow([*header, *names])
                rows.writerows(
                    [*name.split(), *(f"{getattr(cell, field):.6f}" for cell in scores)] for name, scores in own.items()
                )
