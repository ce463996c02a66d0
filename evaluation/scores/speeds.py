"""How good is `nafp identify`? Queries that may play faster or slower, asked as it asks.

nafp extract --name=query --speeds=auto --shifts=2 --source=QUERIES/list.txt --checkpoint=RUN --out=STORE
python -m evaluation.speeds --store=STORE --query=query,query@0.94,query@0.97,query@1.03,query@1.06 --shifts=0 \\
    --truth=QUERIES/expected.csv --confidence=CONFIDENCE.json --out=RESULTS

The first query store holds the clips as they are, the others undo a change of speed. Every clip is looked at as
`nafp.identify.asking` says: first at its own speed; where that is not sure, at all speeds, and with twice as many rows
if it is short. RESULTS is what `nafp evaluate` writes, and `nafp compare` sets the two side by side. RESULTS/speeds.npy
has the speed of each best answer, float64 [questions, lengths].
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.identify import asking
from nafp.jobs import progress, threads
from nafp.search import collection, confidence, evidence, index, speeds, store

from . import (
    answers,
    evaluate,
    left_out,
    metrics,
    open_set,
    questions,
    records,
    repeats,
    results,
    stores,
    tables,
    verified,
)
from .versions import QueryVersion

_CLIPS = 16  # Questions that one thread takes at a time.
_EVERY_PLACE = 1 << 20  # Places to rank, as `nafp identify` does: evidence needs those of ten tracks.


class AskingRules(NamedTuple):
    """How the clips are answered.

    lengths: segments, M of them. policy: at which speeds and with how many rows. calibration: makes a first look sure,
    or not; None where margins do. twin_cosine, between: as of `match.rank`.
    """

    lengths: tuple[int, ...]
    policy: asking.Policy
    calibration: confidence.Confidence | None
    twin_cosine: float
    between: bool


def run(request: evaluate.Request, *, queries: Sequence[str], at_once: bool = False) -> dict[str, Any]:
    """Evaluates, prints the table, writes RESULTS, and returns what results.json holds.

    request: with a truth file. Its `shifts` are those of `nafp identify`: query rows for each row of the database, in
    every look; 0 for as many as each look needs. Its `confidence` makes answers sure, as it does there. queries: stores
    of the same clips, their own speed first. at_once: whether all speeds are undone in the first look, too. Raises
    nafp.errors.Invalid for anything that cannot be right, before work starts.
    """
    lengths = _checked(request, queries)
    results.require_out(request.out)
    calibration = confidence.Confidence.load(request.confidence) if request.confidence else None
    policy = _policy(request, queries)
    request = dataclasses.replace(request, query=queries[0])
    given = stores.read(request.store, query=queries[0], db=request.db, shifts=policy.shifts_if_short)
    asked, missing = questions.truth_file(request.truth or "", given.query, given.database)
    versions = [QueryVersion(request.store, name, asked.names, given.database) for name in queries]
    rules = AskingRules(
        lengths, _with_speeds(policy, versions, at_once), calibration, request.twin_cosine, request.between
    )
    sound = repeats.opened(request.repeats, asked.songs)
    built, about = evaluate.index_of(request, given)
    search = AskedAtSpeeds(asked, versions, given.database, built, rules, show=request.show)
    answered, told = search.answer()
    timings, seen = search.timings._replace(n_questions=len(asked)), search.seen
    without = _left_out(search, answered) if request.unknown else None
    samples: dict[int, verified.Sample] = {}

    def further(scored: results.Scored) -> dict[str, Any]:
        if without is not None:
            samples.update(_samples(scored, seen, search.seen, without, given.database.tracks))
        return {"speeds": {"queries": list(queries), "told": _errors(scored, told), "verified": _judged(samples)}}

    notes = [f"{len(missing)} queries of the truth file have no rows"] if missing else []
    found, scored = evaluate.written(
        request,
        given,
        evaluate.Answered(asked, answered, lengths, timings, without, notes),
        sound,
        searched=built,
        about=about,
        further=further,
    )
    np.save(pathlib.Path(request.out) / "speeds.npy", told)
    _complete(request.out, scored, samples)
    if request.show:
        print(tables.report(found), f"written: {request.out}", sep="\n", flush=True)
    return found


def _checked(request: evaluate.Request, queries: Sequence[str]) -> tuple[int, ...]:
    """Returns the lengths in segments. Raises nafp.errors.Invalid for a request that contradicts itself."""
    if not queries:
        raise errors.Invalid("--query is empty: name the query stores, the clips' own speed first")
    if not request.truth or request.unknown not in (None, open_set.LEFT_OUT):
        raise errors.Invalid(
            f"--truth=expected.csv is needed, and --unknown is {open_set.LEFT_OUT} or not given; nafp evaluate takes "
            "other questions"
        )
    if request.shifts < 0:
        raise errors.Invalid(f"--shifts={request.shifts}: rows for each row of the database; 0 for as many as needed")
    return evaluate.lengths_of(request)


def _policy(request: evaluate.Request, queries: Sequence[str]) -> asking.Policy:
    """Returns how clips are asked, at their own speed alone. Raises where the query stores lack rows for it."""
    databases = [folder for folder in request.store if stores.has(folder, request.db)] or list(request.store)
    hop_s = store.Store.open(databases[0], request.db).hop_s
    policy = asking.policy(hop_s=hop_s, speeds="none", shifts=request.shifts)
    folders = [(folder, name) for name in queries for folder in request.store if stores.has(folder, name)]
    for folder, name in folders:
        own_s, needed_s = store.Store.open(folder, name).hop_s, hop_s / policy.shifts_if_short
        if abs(own_s - needed_s) > 1e-6:
            raise errors.Invalid(
                f"{folder}: rows of {name} are {own_s:g} s apart, and --shifts={request.shifts} asks for rows "
                f"{needed_s:g} s apart; extract the queries with nafp extract --shifts={policy.shifts_if_short}, or "
                f"ask with --shifts={hop_s / own_s:g}"
            )
    return policy


def _with_speeds(policy: asking.Policy, versions: Sequence[QueryVersion], at_once: bool) -> asking.Policy:
    """Adds the speeds of the query stores to a policy for the clips' own speed."""
    own, *others = (version.speed for version in versions)
    if at_once:
        return policy._replace(at_once=(own, *others))
    return policy._replace(at_once=(own,), if_unsure=tuple(others))


class AskedAtSpeeds:
    """All questions, and what it takes to answer them: the clips at every speed, the database and its index.

    timings: what was spent so far; n_rows counts the query rows that were searched. seen: what the last answers saw in
    the first look and in the closer one.
    """

    def __init__(
        self,
        asked: questions.Questions,
        versions: Sequence[QueryVersion],
        database: collection.Collection,
        searched: index.Index,
        rules: AskingRules,
        *,
        show: bool = False,
    ):
        self.questions, self.versions, self.database, self.rules = asked, versions, database, rules
        self._index, self._show = searched, show
        self._segment_rows = records.segment_s(database) / database.hop_s
        self.timings = answers.Timings(0.0, 0.0, 0.0, 0.0, n_rows=0, n_questions=0)
        self.seen: tuple[verified.Seen, ...] = ()

    def answer(self, without: np.ndarray | None = None) -> tuple[metrics.Answers, np.ndarray]:
        """Answers all questions at all lengths. Also returns the speed of each best answer, float64 [Q, M].

        without: int64 [Q, A], tracks of each question that are treated as not in the database.
        """
        policy, lengths = self.rules.policy, self.rules.lengths
        answered = answers.empty(len(self.questions), lengths)
        told = np.full(answered.asked.shape, np.nan)
        self.seen = tuple(verified.Seen.nothing(answered.asked.shape) for _ in range(2))
        own = self.versions[0]
        for column, length in enumerate(lengths):
            answered.asked[:, column] = own.n_rows >= answers.rows_needed(length, own.dense)
        everything = np.broadcast_to(own.n_rows[:, None] > 0, answered.asked.shape)
        is_unsure = ~self._look(policy.first, everything, answered, told, without)
        clips_s = [(length - 1 + self._segment_rows) * self.database.hop_s for length in lengths]
        closer = [policy.closer(clip_s=clip_s) for clip_s in clips_s]
        for look in dict.fromkeys(filter(None, closer)):
            self._look(look, is_unsure & [each == look for each in closer], answered, told, without)
        return answered, told

    def _look(
        self,
        look: asking.Look,
        wanted: np.ndarray,
        answered: metrics.Answers,
        told: np.ndarray,
        without: np.ndarray | None,
    ) -> np.ndarray:
        """Looks at clips at the lengths where `wanted`, bool [Q, M], is true. Returns whether each is sure, [Q, M]."""
        began = answers.now()
        versions = self.versions[: len(look.speeds)]
        seen = self.seen[look != self.rules.policy.first]
        clips = np.flatnonzero(wanted.any(axis=1))
        n_rows = self._search(versions, look.shifts, clips, wanted)
        middle = answers.now()
        is_sure = np.zeros(wanted.shape, bool)

        def match_some(some: np.ndarray) -> int:
            for clip in some.tolist():
                columns = np.flatnonzero(wanted[clip]).tolist()
                out = None if without is None else without[clip]
                rankings, found = self._ranked(clip, columns, versions, look.shifts, out)
                answers.fill(answered, clip, rankings, columns)
                for column, ranking, one in zip(columns, rankings, found):
                    told[clip, column] = ranking.speeds[0] if len(ranking.speeds) else np.nan
                    is_sure[clip, column] = self._is_sure(ranking, self.rules.lengths[column], one)
                    seen.note(clip, column, ranking, one)
            return len(some)

        batches = [clips[start : start + _CLIPS] for start in range(0, len(clips), _CLIPS)]
        with threads.threads() as lend, progress.Progress(len(clips), "queries", label="match", show=self._show) as bar:
            for start in range(0, len(batches), 16):
                bar.add(sum(lend(match_some, batches[start : start + 16])))
        spent = answers.timed(began, middle, answers.now())._replace(n_rows=n_rows)
        self.timings = answers.added(self.timings, spent)
        return is_sure

    def _search(self, versions: Sequence[QueryVersion], shifts: int, clips: np.ndarray, wanted: np.ndarray) -> int:
        """Searches for the rows that a look takes of clips. Returns how many were not searched before."""
        lengths = {clip: self._lengths(np.flatnonzero(wanted[clip])) for clip in clips.tolist()}
        n_rows = 0
        for version in versions:
            numbers = [
                rows
                for clip, own in lengths.items()
                for rows, _ in version.taken(clip, own, shifts=shifts, segment_rows=self._segment_rows)
            ]
            n_rows += version.search(numbers, self._index)
        return n_rows

    def _lengths(self, columns: Iterable[int]) -> list[int]:
        return [self.rules.lengths[column] for column in columns]

    def _ranked(
        self,
        clip: int,
        columns: Sequence[int],
        versions: Sequence[QueryVersion],
        shifts: int,
        without: np.ndarray | None,
    ) -> tuple[list[speeds.ClipRanking], list[evidence.Evidence]]:
        """Ranks the places of one clip at some of the lengths. Also returns what speaks for the best of each."""
        lengths = self._lengths(columns)
        heard = [
            found
            for version in versions
            for found in version.heard(
                clip,
                lengths,
                shifts=shifts,
                segment_rows=self._segment_rows,
                database=self.database,
                without=without,
            )
        ]
        rules, rows = self.rules, self.database
        rankings = speeds.rank(
            heard, rows, shifts=shifts, top=_EVERY_PLACE, twin_cosine=rules.twin_cosine, between=rules.between
        )
        found = [
            evidence.of_ranking(heard, ranking, rows, shifts=shifts, column=column)
            for column, ranking in enumerate(rankings)
        ]
        return rankings, found

    def _is_sure(self, ranking: speeds.ClipRanking, length: int, found: evidence.Evidence) -> bool:
        if not len(ranking.scores):
            return False
        score = float(ranking.scores[0])
        margin = score - ranking.elsewhere
        probable = asking.probability(self.rules.calibration, length=length, score=score, margin=margin, found=found)
        return asking.is_sure(probable, margin)


def _left_out(asked: AskedAtSpeeds, known: metrics.Answers) -> metrics.Answers:
    """Answers every question as if its recording were not in the database. See `evaluation.scores.left_out`."""
    rules, own = asked.rules, asked.versions[0]
    out = left_out.with_twins(asked.questions, asked.database, known, rules.lengths, likeness=rules.twin_cosine)
    unknown, _ = asked.answer(without=out)
    step = own.dense // rules.policy.shifts
    for clip in range(len(asked.questions)):
        rows = np.arange(own.first[clip], own.first[clip] + own.n_rows[clip], step)
        is_left = ~np.isin(asked.database.track_of(own.neighbours(rows)), out[clip])
        for column, length in enumerate(rules.lengths):
            share = is_left[: answers.rows_needed(length, rules.policy.shifts)].mean()
            unknown.asked[clip, column] &= share >= left_out.LEAST_LEFT
    return unknown


def _usual(scored: results.Scored, column: int) -> float:
    """Returns what the best other place usually scores at least, at one length by position."""
    return float(np.quantile(scored.answers.elsewhere[scored.answers.asked[:, column], column], verified.USUALLY))


def _samples(
    scored: results.Scored,
    known: Sequence[verified.Seen],
    strange: Sequence[verified.Seen],
    without: metrics.Answers,
    tracks: Sequence[str],
) -> dict[int, verified.Sample]:
    """Returns the questions of each length, with their recordings and without, by which evidence is weighed.

    A length that no clip reaches has none.
    """
    found, mixed = {}, verified.others(scored, tracks)
    for column, length in enumerate(scored.lengths):
        if not scored.answers.asked[:, column].any():
            continue
        is_strange = scored.asked["song"][:, column] & without.asked[:, column]
        usual = _usual(scored, column)
        found[length] = verified.sample(scored, column, known, strange, is_strange, usual=usual, mixed=mixed)
    return found


def _judged(samples: dict[int, verified.Sample]) -> dict[str, Any] | None:
    judgements = {str(length): verified.judged(asked) for length, asked in samples.items()}
    return {length: judgement for length, judgement in judgements.items() if judgement} or None


def _complete(folder: str, scored: results.Scored, samples: dict[int, verified.Sample]) -> None:
    """Adds to the calibration what holds in small collections, too, and how evidence weighs.

    The first is what the best other place usually scores.
    """
    path = pathlib.Path(folder) / "confidence.json"
    if not path.exists():
        return
    fitted = confidence.Confidence.load(path)
    usual = np.array([_usual(scored, scored.lengths.index(length)) for length in fitted.lengths])
    verifier = verified.verifier([verified.fitted(samples[length]) for length in fitted.lengths])
    confidence.Confidence(fitted.lengths, fitted.weights, usual, verifier=verifier).save(path)


def _errors(scored: results.Scored, told: np.ndarray) -> dict[str, Any]:
    """Returns the error of the speeds told, of right answers, as [condition][length]: median and 90 %, in percent."""
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
