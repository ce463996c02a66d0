"""Answers questions: one search for the rows of all questions and lengths, then one matching pass."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.jobs import memory, progress, threads
from nafp.search import collection, index, match, speeds, votes

from .metrics import Answers
from .questions import Questions

MATCHERS = ("diagonal", "vote", "window")
_CLIPS = 16  # Questions that one thread takes at a time.


class Matcher(NamedTuple):
    """How neighbours become a ranking. See `match.rank` and `votes`."""

    name: str = "diagonal"
    shifts: int = 1
    sharpness: float = 0.0
    twin_cosine: float = match.TWIN_COSINE
    as_original: bool = False
    between: bool = False


class Timings(NamedTuple):
    """Seconds of wall clock and of CPU for searching and matching, and how many rows and questions were asked."""

    search_s: float
    search_cpu_s: float
    match_s: float
    match_cpu_s: float
    n_rows: int
    n_questions: int


class Neighbours(NamedTuple):
    """The neighbours of the distinct query rows of all questions.

    numbers: int64 [U], the query rows, ascending. neighbours: int64 [U, K], rows of the database. cosines:
    float32 [U, K]. runs: int64 [Q], rows searched for each question.
    """

    numbers: np.ndarray
    neighbours: np.ndarray
    cosines: np.ndarray
    runs: np.ndarray


def answer(
    questions: Questions,
    query: collection.Collection,
    database: collection.Collection,
    searched: index.Index,
    *,
    lengths: Sequence[int],
    matcher: Matcher = Matcher(),  # noqa: B008 (immutable)
    show: bool = False,
) -> tuple[Answers, Timings, Neighbours]:
    """Answers all questions at all lengths, in segments.

    Every distinct query row is searched once, whatever number of questions and lengths it serves.
    """
    began = now()
    found = search(questions, query, searched, n_rows=rows_needed(max(lengths), matcher.shifts), show=show)
    middle = now()
    answers = match_all(questions, query, database, found, lengths=lengths, matcher=matcher, show=show)
    ended = now()
    timings = timed(began, middle, ended)._replace(n_rows=len(found.numbers), n_questions=len(questions))
    return answers, timings, found


def timed(began: tuple[float, float], middle: tuple[float, float], ended: tuple[float, float]) -> Timings:
    """Returns the timings of a search that lasted from `began` to `middle`, and of a match up to `ended`."""
    search_s, search_cpu_s = (after - before for before, after in zip(began, middle))
    match_s, match_cpu_s = (after - before for before, after in zip(middle, ended))
    return Timings(search_s, search_cpu_s, match_s, match_cpu_s, n_rows=0, n_questions=0)


def added(first: Timings, second: Timings) -> Timings:
    """Returns the sums of two timings."""
    return Timings(
        first.search_s + second.search_s,
        first.search_cpu_s + second.search_cpu_s,
        first.match_s + second.match_s,
        first.match_cpu_s + second.match_cpu_s,
        first.n_rows + second.n_rows,
        first.n_questions + second.n_questions,
    )


def now() -> tuple[float, float]:
    """Returns the seconds of wall clock and of CPU."""
    return time.perf_counter(), time.process_time()


def rows_needed(length: int, shifts: int) -> int:
    """Returns the number of query rows in a length of L segments. The last segment adds one row, not `shifts`."""
    return (length - 1) * shifts + 1


def search(
    questions: Questions,
    query: collection.Collection,
    searched: index.Index,
    *,
    n_rows: int,
    show: bool = False,
) -> Neighbours:
    """Searches the first n_rows rows of every question, each distinct row once."""
    runs = np.minimum(questions.n_rows, n_rows)
    is_needed = np.zeros(len(query) + 1, np.int32)
    np.add.at(is_needed, questions.first, 1)
    np.add.at(is_needed, questions.first + runs, -1)
    numbers = np.flatnonzero(np.cumsum(is_needed[:-1]))
    shape = (len(numbers), min(searched.plan.k, len(searched)))
    neighbours, cosines = np.empty(shape, np.int64), np.empty(shape, np.float32)
    with progress.Progress(len(numbers), "rows", label="search", show=show) as bar:
        for start in range(0, len(numbers), searched.batch_rows):
            block = slice(start, start + searched.batch_rows)
            cosines[block], neighbours[block] = searched.search(query.take(numbers[block]))
            bar.add(len(neighbours[block]))
    memory.give_back()  # The search needed it; matching begins.
    return Neighbours(numbers, neighbours, cosines, runs)


def match_all(
    questions: Questions,
    query: collection.Collection,
    database: collection.Collection,
    neighbours: Neighbours,
    *,
    lengths: Sequence[int],
    matcher: Matcher,
    without: np.ndarray | None = None,
    show: bool = False,
) -> Answers:
    """Ranks every question in the pool of threads.

    without: int64 [Q, A], tracks of each question that are treated as not in the database.
    """
    numbers, near_all, cosines, runs = neighbours
    places = np.searchsorted(numbers, questions.first)
    answers = empty(len(questions), lengths)
    rank = _ranker(matcher, database, lengths)

    def match_some(clips: range) -> int:
        for clip in clips:
            rows = slice(places[clip], places[clip] + runs[clip])
            near = near_all[rows]
            if without is not None:
                near = np.where(np.isin(database.track_of(near), without[clip]), -1, near)
            vectors = query.read(questions.first[clip], questions.first[clip] + runs[clip])
            fill(answers, clip, rank(vectors, near, cosines[rows]))
        return len(clips)

    for column, length in enumerate(lengths):
        enough = rows_needed(length, matcher.shifts)
        answers.asked[:, column] = (runs >= enough) | (matcher.as_original & (runs > 0))
    with (
        threads.threads() as lend,
        progress.Progress(len(questions), "queries", label="match", show=show) as bar,
    ):
        batches = [range(start, min(len(questions), start + _CLIPS)) for start in range(0, len(questions), _CLIPS)]
        for start in range(0, len(batches), 64):
            bar.add(sum(lend(match_some, batches[start : start + 64])))
    return answers


def _ranker(
    matcher: Matcher, database: collection.Collection, lengths: Sequence[int]
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], list[match.Ranking]]:
    """Returns the function (query, neighbours, cosines) -> one ranking for each length."""
    if matcher.name == "diagonal":
        return lambda query, near, _: match.rank(
            query,
            near,
            database,
            lengths=lengths,
            shifts=matcher.shifts,
            sharpness=matcher.sharpness,
            as_original=matcher.as_original,
            twin_cosine=matcher.twin_cosine,
            between=matcher.between,
        )
    if matcher.name not in MATCHERS:
        raise errors.Invalid(f"--matcher={matcher.name}: allowed are {', '.join(MATCHERS)}")
    if matcher.shifts > 1:
        raise errors.Invalid(f"--matcher={matcher.name} knows no --shifts; use --matcher=diagonal")
    count = {"vote": votes.majority, "window": votes.window}[matcher.name]
    return lambda _, near, cosines: count(near, cosines, database, lengths=lengths)


def empty(n_questions: int, lengths: Sequence[int]) -> Answers:
    """Returns the answers to questions that were not asked yet."""
    shape = (n_questions, len(lengths))
    return Answers(
        np.full((*shape, match.TOP), -1, np.int64),
        np.full((*shape, match.TOP), np.nan),
        np.full((*shape, match.TOP), -np.inf, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, bool),
    )


def fill(
    answers: Answers,
    clip: int,
    rankings: Sequence[match.Ranking | speeds.ClipRanking],
    columns: Sequence[int] | None = None,
) -> None:
    """Writes the rankings of one clip over its answers. columns: positions of their lengths, None for all."""
    for column, ranking in zip(range(len(rankings)) if columns is None else columns, rankings):
        n = min(match.TOP, len(ranking.starts))
        for values, nothing, best in (
            (answers.tracks, -1, ranking.tracks),
            (answers.starts, np.nan, ranking.starts),
            (answers.scores, -np.inf, ranking.scores),
        ):
            values[clip, column] = nothing
            values[clip, column, :n] = best[:n]
        answers.elsewhere[clip, column] = ranking.elsewhere
