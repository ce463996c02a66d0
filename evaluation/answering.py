"""Questions become answers: one search for all rows and lengths, then one matching pass."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from nafp.audio import progress
from nafp.search import collection, index, match, pool, votes

from .metrics import Answers
from .protocol import Questions

MATCHERS = ("diagonal", "vote", "window")
_QUERY_ROWS = 262_144  # Rows searched at once: 128 MiB at 128 dimensions.
_CLIPS = 16  # Questions that one thread takes at a time.


class Matcher(NamedTuple):
    """How neighbours become a ranking; see `match.rank` and `votes`."""

    name: str = "diagonal"
    shifts: int = 1
    sharpness: float = 0.0
    twin_cosine: float = match.TWIN_COSINE
    as_original: bool = False


class Timings(NamedTuple):
    """Seconds of wall clock and of CPU for searching and matching, and how much was asked."""

    search_s: float
    search_cpu_s: float
    match_s: float
    match_cpu_s: float
    n_rows: int
    n_questions: int


def answer(
    questions: Questions,
    query: collection.Collection,
    database: collection.Collection,
    searched: index.Index,
    *,
    lengths: Sequence[int],
    matcher: Matcher = Matcher(),  # noqa: B008 (immutable)
    k: int = 0,
    without: np.ndarray | None = None,
    show: bool = False,
) -> tuple[Answers, Timings]:
    """Answers all questions at all lengths.

    Every distinct query row is searched once, whatever number of questions and lengths it serves.
    without: int64 [Q], a track per question that is to be treated as not in the database.
    """
    reach = rows_needed(max(lengths), matcher.shifts)
    runs = np.minimum(questions.n_rows, reach)
    began = _now()
    numbers, neighbours, cosines = _searched(questions.first, runs, query, searched, k, show=show)
    middle = _now()
    answers = _matched(
        questions, runs, query, database, matcher, lengths, (numbers, neighbours, cosines), without,
        show=show,
    )  # fmt: skip
    ended = _now()
    spent = [after - before for before, after in zip((*began, *middle), (*middle, *ended))]
    return answers, Timings(*spent, n_rows=len(numbers), n_questions=len(questions))


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def rows_needed(length: int, shifts: int) -> int:
    """Counts the query rows that a length of L segments covers: its last segment adds no phase."""
    return (length - 1) * shifts + 1


def _searched(
    first: np.ndarray,
    runs: np.ndarray,
    query: collection.Collection,
    searched: index.Index,
    k: int,
    *,
    show: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Searches the distinct rows of all runs: row numbers [U], neighbours [U, K], cosines [U, K]."""
    is_needed = np.zeros(len(query) + 1, np.int32)
    np.add.at(is_needed, first, 1)
    np.add.at(is_needed, first + runs, -1)
    numbers = np.flatnonzero(np.cumsum(is_needed[:-1]))
    found = []
    with progress.Progress(len(numbers), "rows", label="search", show=show) as bar:
        for start in range(0, len(numbers), _QUERY_ROWS):
            some = numbers[start : start + _QUERY_ROWS]
            found.append(searched.search(query.take(some), k))
            bar.add(len(some))
    cosines, neighbours = (np.concatenate(column) for column in zip(*found))
    return numbers, neighbours, cosines


def _matched(
    questions: Questions,
    runs: np.ndarray,
    query: collection.Collection,
    database: collection.Collection,
    matcher: Matcher,
    lengths: Sequence[int],
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
    without: np.ndarray | None,
    *,
    show: bool,
) -> Answers:
    """Ranks every question in the pool of threads."""
    numbers, neighbours, cosines = found
    places = np.searchsorted(numbers, questions.first)
    answers = _empty(len(questions), lengths)
    rank = _ranker(matcher, database, lengths)

    def some(clips: range) -> int:
        for clip in clips:
            rows = slice(places[clip], places[clip] + runs[clip])
            near = neighbours[rows]
            if without is not None:
                near = np.where(database.track_of(near) == without[clip], -1, near)
            vectors = query.read(questions.first[clip], questions.first[clip] + runs[clip])
            _fill(answers, clip, rank(vectors, near, cosines[rows]))
        return len(clips)

    for column, length in enumerate(lengths):
        enough = rows_needed(length, matcher.shifts)
        answers.asked[:, column] = (runs >= enough) | (matcher.as_original & (runs > 0))
    with (
        pool.threads() as lend,
        progress.Progress(len(questions), "queries", label="match", show=show) as bar,
    ):
        batches = [
            range(start, min(len(questions), start + _CLIPS))
            for start in range(0, len(questions), _CLIPS)
        ]
        for start in range(0, len(batches), 64):
            bar.add(sum(lend(some, batches[start : start + 64])))
    return answers


def _ranker(
    matcher: Matcher, database: collection.Collection, lengths: Sequence[int]
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], list[match.Ranking]]:
    """Gives the function (query, neighbours, cosines) -> one Ranking per length."""
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
        )
    if matcher.name not in MATCHERS:
        raise ValueError(f"--matcher={matcher.name}: allowed are {', '.join(MATCHERS)}")
    if matcher.shifts > 1:
        raise ValueError(f"--matcher={matcher.name} knows no --shifts; use --matcher=diagonal")
    count = {"vote": votes.majority, "window": votes.window}[matcher.name]
    return lambda _, near, cosines: count(near, cosines, database, lengths=lengths)


def _empty(n_questions: int, lengths: Sequence[int]) -> Answers:
    shape = (n_questions, len(lengths))
    return Answers(
        np.full((*shape, match.TOP), -1, np.int64),
        np.full((*shape, match.TOP), np.nan),
        np.full((*shape, match.TOP), -np.inf, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, bool),
    )


def _fill(answers: Answers, clip: int, rankings: list[match.Ranking]) -> None:
    for column, ranking in enumerate(rankings):
        n = len(ranking.starts)
        answers.tracks[clip, column, :n] = ranking.tracks
        answers.starts[clip, column, :n] = ranking.starts
        answers.scores[clip, column, :n] = ranking.scores
        answers.elsewhere[clip, column] = ranking.elsewhere
