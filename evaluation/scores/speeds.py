"""How good is a search over several speeds? Queries fingerprinted at each, the best place of any counts.

python -m evaluation.speeds --store=STORE --query=query,query@0.94,query@0.97,query@1.03,query@1.06 \\
    --truth=QUERIES/expected.csv --out=RESULTS

The stores come from `nafp extract --name=query --speeds=auto`; the first is the clips as they are. RESULTS is what
`nafp evaluate` writes, and `nafp compare` sets the two side by side. With --confidence (the confidence.json of an
evaluation) a clip found for sure at its own speed is not looked for at others, as `nafp identify` does it.
"""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.jobs import progress, threads
from nafp.search import collection, confidence, index, match, speeds, store

from . import answers as answering
from . import evaluate, left_out, metrics, open_set, repeats, results, stores, tables
from . import questions as protocol

SURE = 0.9  # As in nafp.identify.identifier.
USUALLY = 0.25  # Share of the queries whose best other place scores less than is called usual.
_CLIPS = 16  # Questions that one thread takes at a time.


class Version(NamedTuple):
    """The clips at one speed: rows of a collection, and which of them belong to each question.

    first, n_rows: int64 [Q], 0 rows where this speed lacks the clip; near: int64 [N, K], neighbours of their rows.
    brief: int64 [Q], the row that a clip of one segment gives (see `nafp.fingerprints.extract`), -1 for none.
    """

    speed: float
    rows: collection.Collection
    first: np.ndarray
    n_rows: np.ndarray
    near: np.ndarray
    brief: np.ndarray


class Way(NamedTuple):
    """How a clip is answered. sure: by what clips are spared a search of other speeds, None for none."""

    lengths: tuple[int, ...]
    shifts: int = 1
    twin_cosine: float = match.TWIN_COSINE
    between: bool = True
    sure: confidence.Confidence | None = None


def run(request: evaluate.Request, *, queries: Sequence[str]) -> dict[str, Any]:
    """Evaluates, prints the table, writes RESULTS, and returns what results.json holds.

    request: with a truth file; queries: stores of the same clips, their own speed first. Unknown queries are left-out
    ones or none.
    """
    if not request.truth or request.unknown not in (None, open_set.LEFT_OUT):
        raise errors.Invalid("speeds are evaluated with --truth=expected.csv and --unknown=left-out or none")
    request = dataclasses.replace(request, query=queries[0])
    given = stores.read(request.store, query=queries[0], db=request.db, shifts=request.shifts)
    questions, missing = protocol.truth_file(request.truth, given.query, given.database)
    sound = repeats.opened(request.repeats, questions.songs)
    built, about = evaluate.index_of(request, given)
    sure = confidence.Confidence.load(request.confidence) if request.confidence else None
    lengths = tuple(map(int, request.lengths))
    way = Way(lengths, request.shifts, request.twin_cosine, request.between, sure)
    began = _now()
    versions = [version(request.store, name, questions, built, way) for name in queries]
    searched = _now()
    answers, told = answer(questions, versions, given.database, way, show=request.show)
    spent = [after - before for before, after in zip((*began, *searched), (*searched, *_now()))]
    timings = answering.Timings(
        *spent, n_rows=sum(int(one.n_rows.sum()) for one in versions), n_questions=len(questions)
    )
    without = None
    if request.unknown:
        without = _left_out(questions, versions, given.database, answers, way, show=request.show)
    scored = results.score(questions, answers, way.lengths, by_row=False, has_tracks=True)
    scored, heard = evaluate.listened(request, scored, given.database, sound)
    columns = evaluate.columns_of(request, questions)
    found = {
        "format": results.FORMAT,
        "hit_rates": results.hit_rates(scored),
        "clustered": results.clustered(scored, seed=request.seed),
        "groups": results.grouped(scored, columns),
        "open_set": open_set.judged(scored, without, false_accepts=request.false_accepts),
        "index": about,
        "repeats": heard,
        "recall": None,
        "timings": evaluate.timed(timings, about),
        "cost": evaluate.cost_of(timings, built, given.database),
        "questions": evaluate.counted(questions),
        "audio": {"hop_s": given.database.hop_s, "segment_s": evaluate.segment_s(given.database)},
        "stores": results.sides(given),
        "run": results.repeatable(request),
        "speeds": {"queries": list(queries), "told": _told(scored, told)},
        "notes": [f"{len(missing)} queries of the truth file have no rows"] if missing else [],
    }
    results.save(request.out, found, scored, tables.report(found, markdown=True))
    _limit_margins(request.out, scored)
    if request.show:
        print(tables.report(found), f"written: {request.out}", sep="\n", flush=True)
    return found


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def version(folders: Sequence[str], name: str, questions: protocol.Questions, built: index.Index, way: Way) -> Version:
    """Opens the query store of one speed, finds the questions' clips in it by name, and searches their rows."""
    opened = [store.Store.open(folder, name) for folder in folders if stores.has(folder, name)] or [
        store.Store.open(folders[0], name)
    ]
    rows = collection.Collection.of(opened)
    place = {track: number for number, track in enumerate(rows.tracks)}
    own = np.array([place.get(clip, -1) for clip in questions.names])
    first, end = rows.borders(np.maximum(own, 0))
    own_rows = [np.arange(a, b) for a, b, there in zip(first, end, own) if there >= 0]
    numbers = np.concatenate([np.zeros(0, np.int64), *own_rows])
    near = np.full((len(rows), built.plan.k), -1, np.int64)
    for start in range(0, len(numbers), built.batch_rows):
        some = numbers[start : start + built.batch_rows]
        near[some] = built.search(rows.take(some))[1]
    speed, skipped = opened[0].meta.get("speed", 1.0), protocol.before(rows)
    n_rows = np.where(own < 0, 0, np.maximum(end - first - skipped, 0))
    brief = np.where((own < 0) | (skipped == 0), -1, first)
    return Version(float(speed), rows, first + skipped, n_rows, near, brief)


def answer(
    questions: protocol.Questions,
    versions: Sequence[Version],
    database: collection.Collection,
    way: Way,
    *,
    without: np.ndarray | None = None,
    show: bool = False,
) -> tuple[metrics.Answers, np.ndarray]:
    """Answers all questions at all lengths; also gives the speed of each best answer, float64 [Q, M].

    without: int64 [Q, A], tracks per question that are to be treated as not in the database.
    """
    answers = answering.empty(len(questions), way.lengths)
    told = np.full((len(questions), len(way.lengths)), np.nan)
    for column, length in enumerate(way.lengths):
        answers.asked[:, column] = versions[0].n_rows >= answering.rows_needed(length, way.shifts)

    def some(clips: range) -> int:
        for clip in clips:
            out = None if without is None else without[clip]
            rankings = _ranked(clip, versions, database, way, out)
            answering.fill(answers, clip, rankings)
            for column, ranking in enumerate(rankings):
                told[clip, column] = ranking.speeds[0] if len(ranking.speeds) else np.nan
        return len(clips)

    n = len(questions)
    batches = [range(start, min(n, start + _CLIPS)) for start in range(0, n, _CLIPS)]
    with threads.threads() as lend, progress.Progress(n, "queries", label="match", show=show) as bar:
        for start in range(0, len(batches), 16):
            bar.add(sum(lend(some, batches[start : start + 16])))
    return answers, told


def _ranked(
    clip: int, versions: Sequence[Version], database: collection.Collection, way: Way, without: np.ndarray | None
) -> list[speeds.ClipRanking]:
    """Ranks one clip at all lengths; what is sure at its own speed stays as it is."""
    settings = dict(shifts=way.shifts, twin_cosine=way.twin_cosine, between=way.between)
    heard = [each for one in versions for each in _heard(clip, one, database, way, without)]
    if way.sure is None or len(heard) < 2:
        return speeds.rank(heard, database, **settings)
    plain = speeds.rank(heard[:1], database, **settings)
    chances = [
        way.sure.probability(length, each.scores[0], each.scores[0] - each.elsewhere) if len(each.scores) else 0.0
        for length, each in zip(way.lengths, plain)
    ]
    if min(chances) >= SURE:
        return plain
    every = speeds.rank(heard, database, **settings)
    return [one if sure >= SURE else more for one, more, sure in zip(plain, every, chances)]


def _heard(
    clip: int, one: Version, database: collection.Collection, way: Way, without: np.ndarray | None
) -> list[speeds.ClipAtSpeed]:
    """Gives the rows of one version; and its brief one, for a length of one segment that is too short otherwise."""
    segment_rows = _segment_rows(one.rows, way.shifts)
    lengths = [speeds.rows_heard(n, one.speed, segment_rows=segment_rows) for n in way.lengths]
    n_rows = min(int(one.n_rows[clip]), answering.rows_needed(max(*lengths, 1), way.shifts))
    found = []
    if n_rows:
        found.append(_rows(one, int(one.first[clip]), n_rows, lengths, database, without))
    if one.brief[clip] >= 0:
        brief = [int(length == 1 and not n) for length, n in zip(way.lengths, lengths)]
        found.append(_rows(one, int(one.brief[clip]), 1, brief, database, without))
    return found


def _rows(
    one: Version,
    first: int,
    n_rows: int,
    lengths: Sequence[int],
    database: collection.Collection,
    without: np.ndarray | None,
) -> speeds.ClipAtSpeed:
    near = one.near[first : first + n_rows]
    if without is not None:
        near = np.where(np.isin(database.track_of(near), without), -1, near)
    return speeds.ClipAtSpeed(one.speed, one.rows.read(first, first + n_rows), near, lengths)


def _segment_rows(rows: collection.Collection, shifts: int) -> float:
    """Gives the length of a segment in rows of the database."""
    return rows.sources[0].meta["segment_s"] / (rows.hop_s * shifts)


def _left_out(
    questions: protocol.Questions,
    versions: Sequence[Version],
    database: collection.Collection,
    answers: metrics.Answers,
    way: Way,
    *,
    show: bool,
) -> metrics.Answers:
    """Answers every question as if its recording were not in the database; see `evaluation.scores.left_out`."""
    out = left_out.with_twins(questions, database, answers, way.lengths, likeness=way.twin_cosine)
    given, _ = answer(questions, versions, database, way, without=out, show=show)
    own = versions[0]
    for clip in range(len(questions)):
        rows = slice(int(own.first[clip]), int(own.first[clip] + own.n_rows[clip]))
        is_left = ~np.isin(database.track_of(own.near[rows]), out[clip])
        for column, length in enumerate(way.lengths):
            share = is_left[: answering.rows_needed(length, way.shifts)].mean()
            given.asked[clip, column] &= share >= left_out.LEAST_LEFT
    return given


def _limit_margins(folder: str, scored: results.Scored) -> None:
    """Adds to the calibration what is usual elsewhere, so that it holds in small collections, too."""
    path = pathlib.Path(folder) / "confidence.json"
    if not path.exists():
        return
    fitted = confidence.Confidence.load(path)
    columns = [scored.lengths.index(length) for length in fitted.lengths]
    usual = [
        np.quantile(scored.answers.elsewhere[scored.answers.asked[:, column], column], USUALLY) for column in columns
    ]
    confidence.Confidence(fitted.lengths, fitted.weights, np.array(usual)).save(path)


def _told(scored: results.Scored, told: np.ndarray) -> dict[str, Any]:
    """Gives the error of the speed of right answers by condition and length: median and 90 % of |error|, in %."""
    groups = scored.questions.groups
    if "rate" not in groups:
        return {}
    true = np.array([float(rate or 1) for rate in groups["rate"]])
    conditions = np.array(groups.get("condition", [""] * len(true)))
    found: dict[str, Any] = {}
    for condition in dict.fromkeys(conditions.tolist()):
        for column, length in enumerate(scored.lengths):
            right = (conditions == condition) & scored.right["song"][:, column]
            if right.any():
                error = 100 * np.abs(told[right, column] / true[right] - 1)
                quantiles = np.quantile(error, [0.5, 0.9]).round(2).tolist()
                found.setdefault(condition, {})[str(length)] = quantiles
    return found
