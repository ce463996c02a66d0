"""Scores stores of queries against stores of recordings: `nafp evaluate`. Needs no audio, no network, no JAX."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.search import collection, confidence, index, index_files, match, plans

from . import answers, ids, left_out, metrics, open_set, questions, records, repeats, results, stores, tables
from .request import Request

RECALL_ROWS = 500  # Query rows on which the index is compared with an exact search.


class _QuerySide(NamedTuple):
    """The questions, the rows they are made of, and remarks for the reader."""

    questions: questions.Questions
    rows: collection.Collection
    notes: list[str]


class Answered(NamedTuple):
    """The questions and their answers at the lengths, in segments.

    left_out: the answers as if the track of each question were not in the database, None where that was not asked for.
    notes: remarks for the reader.
    """

    questions: questions.Questions
    answers: metrics.Answers
    lengths: tuple[int, ...]
    timings: answers.Timings
    left_out: metrics.Answers | None
    notes: list[str]


def run(request: Request) -> dict[str, Any]:
    """Evaluates, prints the table, writes RESULTS, and returns what results.json holds.

    Raises nafp.errors.Invalid or NotFound for anything that cannot be right, before work starts.
    """
    rule, lengths = _checked(request)
    results.require_out(request.out, as_original=request.compat)
    fitted = confidence.Confidence.load(request.confidence) if request.confidence else None
    if request.report:
        from . import page  # Here: it loads jinja2.

        page.require_out(request.report)
    given = stores.read(
        request.store,
        query=request.query,
        db=request.db,
        dummy=request.dummy,
        unknown=None if request.unknown == open_set.LEFT_OUT else request.unknown,
        rows_per_track=request.rows_per_track,
        shifts=request.shifts,
    )
    if request.unknown == open_set.LEFT_OUT and not given.database.tracks:
        raise errors.Invalid("--unknown=left-out needs stores that know their tracks; these are bare")
    asked = _asked(request, given, rule, lengths)
    _check_groups(request, asked.questions)
    sound = repeats.opened(request.repeats, asked.questions.songs)
    built, about = index_of(request, given)
    _introduce(request, asked, given, about)
    ranked, timings, neighbours = answers.answer(
        asked.questions,
        asked.rows,
        given.database,
        built,
        lengths=lengths,
        matcher=rule,
        show=request.show,
    )
    without = _left_out(request, asked, given, neighbours, ranked, rule, lengths)
    answered = Answered(asked.questions, ranked, lengths, timings, without, asked.notes)
    recall = _recall(request, built, asked, given.database)
    found, scored = written(request, given, answered, sound, searched=built, about=about, fitted=fitted, recall=recall)
    _say(request, tables.report(found))
    more = ", confidence.json" if found["open_set"] else ""
    more += ", raw_score.npy, test_ids.npy" if request.compat else ""
    _say(request, f"written: {request.out}/results.json, table.md, table.csv, answers.npz{more}")
    if request.report:
        drawn = page.write(request.report, found, scored)
        missing = "" if page.draws_files() else "; the pictures as PNG files need: pip install 'nafp[plots]'"
        _say(request, f"written: {drawn}{missing}")
    return found


def written(
    request: Request,
    given: stores.Inputs,
    answered: Answered,
    sound: repeats.Sound | None,
    *,
    searched: index.Index,
    about: dict[str, Any],
    fitted: confidence.Confidence | None = None,
    recall: dict[str, Any] | None = None,
    further: Callable[[results.Scored], dict[str, Any]] | None = None,
) -> tuple[dict[str, Any], results.Scored]:
    """Scores the answers and writes RESULTS. Returns what results.json holds, and the scores.

    sound: counts exact repeats as right. searched, about: the index and its description. further: returns entries that
    results.json gets besides.
    """
    has_tracks = bool(given.database.tracks)
    by_row = request.compat or not has_tracks
    scored = results.score(answered.questions, answered.answers, answered.lengths, by_row=by_row, has_tracks=has_tracks)
    scored, heard = _listened(request, scored, given.database, sound)
    found = records.record(
        request,
        given,
        scored,
        searched=searched,
        about=about,
        timings=answered.timings,
        left_out=answered.left_out,
        fitted=fitted,
        repeats=heard,
        recall=recall,
        notes=answered.notes,
    )
    found |= further(scored) if further else {}
    results.save(request.out, found, scored, tables.report(found, markdown=True), as_original=request.compat)
    return found, scored


def _checked(request: Request) -> tuple[answers.Matcher, tuple[int, ...]]:
    """Returns the matcher and the lengths. Raises nafp.errors.Invalid for settings that contradict each other."""
    if not request.store:
        raise errors.Invalid("--store=STORE, or --protocol=NAME, is needed")
    lengths = lengths_of(request)
    if request.matcher not in answers.MATCHERS:
        raise errors.Invalid(f"--matcher={request.matcher}: allowed are {', '.join(answers.MATCHERS)}")
    plain = request.matcher == "diagonal" and request.shifts == 1 and not request.sharpness
    if request.compat and not plain:
        raise errors.Invalid("--compat is the original's matcher: no --matcher, --shifts, --sharpness")
    if request.compat and (request.truth or plans.named(request.index) == "auto"):
        raise errors.Invalid("--compat is the original's protocol: no --truth, and --index by its name")
    if request.matcher != "diagonal" and request.shifts > 1:
        raise errors.Invalid(f"--matcher={request.matcher} knows no --shifts; use --matcher=diagonal")
    if request.matcher != "diagonal" and (request.sharpness or request.twin_cosine != match.TWIN_COSINE):
        raise errors.Invalid(f"--matcher={request.matcher} knows no --sharpness and no --twin_cosine")
    if request.compat and request.unknown:
        raise errors.Invalid("--compat asks only for what is in the database: no --unknown")
    if request.repeats and (request.compat or request.rows_per_track):
        raise errors.Invalid("--repeats needs names of tracks: no --compat, no --rows_per_track")
    if request.shifts < 1 or not 0 < request.false_accepts < 1:
        raise errors.Invalid("--shifts is at least 1, --false_accepts is between 0 and 1")
    rule = answers.Matcher(
        request.matcher,
        request.shifts,
        request.sharpness,
        request.twin_cosine,
        as_original=request.compat,
        between=request.between and request.matcher == "diagonal" and not request.compat,
    )
    return rule, lengths


def lengths_of(request: Request) -> tuple[int, ...]:
    """Returns the lengths to ask at, in segments, each once. Raises nafp.errors.Invalid for anything else."""
    words = [str(length).strip() for length in request.lengths]
    if not words or not all(word.isdigit() and int(word) for word in words):
        raise errors.Invalid(f"--lengths={','.join(words)}: numbers of segments, such as 1,3,5")
    return tuple(dict.fromkeys(int(word) for word in words))


def _asked(request: Request, given: stores.Inputs, rule: answers.Matcher, lengths: Sequence[int]) -> _QuerySide:
    """Reads the questions, about known recordings and about unknown ones."""
    if request.truth:
        asked, missing = questions.truth_file(request.truth, given.query, given.database)
        notes = [f"{len(missing)} queries of the truth file have no rows, such as {missing[0]}"] if missing else []
    else:
        asked, notes = _row_aligned(request, given, rule, lengths)
    rows = given.query
    if given.unknown is not None:
        rows = collection.Collection.of([*given.query.sources, *given.unknown.sources])
        asked = questions.joined(
            asked,
            questions.unknown(
                given.unknown,
                first_row=len(given.query),
                n_rows=answers.rows_needed(max(lengths), rule.shifts),
            ),
        )
    return _QuerySide(asked, rows, notes)


def _row_aligned(
    request: Request, given: stores.Inputs, rule: answers.Matcher, lengths: Sequence[int]
) -> tuple[questions.Questions, list[str]]:
    """Returns the questions where row i of the query store answers row i of the database, and remarks."""
    n_rows = len(given.database) - given.n_dummy

    every = questions.row_aligned(
        given.query,
        given.database,
        n_dummy=given.n_dummy,
        ids=np.arange(n_rows),
        shifts=rule.shifts,
        as_original=rule.as_original,
    )
    needs = [answers.rows_needed(length, rule.shifts) for length in lengths]
    # Drawn ids leave room for the longest query that any track has room for.
    room = max((n for n in needs if n <= every.n_rows.max()), default=0)
    asked = ids.read(
        ids.checked(request.ids, request.store),
        n_rows=n_rows,
        fits=every.n_rows >= room,
        seed=request.seed,
        longest=max(lengths),
        as_original=rule.as_original,
    )
    notes = []
    if not given.database.tracks:
        notes.append(
            "the stores have no table of tracks: borders are unknown and `song` is not scored "
            "(--rows_per_track=59 if these are the original's clips of 30 s)"
        )
    crossing = int((every.n_rows[asked] < max(needs)).sum())
    if crossing:
        notes.append(
            f"{crossing} of {len(asked)} test ids have fewer than {max(lengths)} rows left in their "
            + ("store: shortened, as by the original" if rule.as_original else "track: asked less")
        )
    return every.some(asked), notes


def _check_groups(request: Request, asked: questions.Questions) -> None:
    for name in records.columns(request, asked):
        if name not in asked.groups:
            columns = ", ".join(asked.groups) or "no column to group by"
            raise errors.Invalid(f"--group={name}: there is {columns}")


def index_of(request: Request, given: stores.Inputs) -> tuple[index.Index, dict[str, Any]]:
    """Builds or loads the index. Returns it and its description."""
    if request.compat and given.dummy is None:
        raise errors.Invalid("--compat trains on the dummy store as the original does; there is none")
    rows = given.database
    plan = index.plan(
        request.index,
        n_rows=len(rows),
        dim=rows.dim,
        k=request.k,
        n_probe=request.n_probe,
        train_rows=request.train_rows,
    )
    if request.compat and given.dummy:
        plan = index.as_original(plan, n_dummy=len(given.dummy), n_rows=len(rows))
        plan = plan._replace(train_rows=request.train_rows or plan.train_rows)
    folder = request.store[0] if request.index_folder is None else request.index_folder or None
    train_on = given.dummy if request.compat else None
    built = index_files.opened(rows, plan, folder, train_on=train_on)
    about = {**plan._asdict(), "rows": len(built), "bytes": built.n_bytes, **built.about}
    if request.gpu:
        about["device"] = built.use_gpu()
    return built, about


def _introduce(request: Request, asked: _QuerySide, given: stores.Inputs, about: dict[str, Any]) -> None:
    for note in asked.notes:
        _say(request, f"note: {note}")
    probed = f", {about['n_probe']} lists probed" if about["n_probe"] else ""
    made = f"read from {about['file']}" if "load_s" in about else f"built in {records.built_s(about):.1f} s"
    _say(
        request,
        f"index: {about['factory']} ({about['reason']}), {about['rows']} rows{probed}, "
        f"{about['k']} neighbours, {_trained(about)}, {made}",
    )
    n_asked = records.counted(asked.questions)
    _say(
        request,
        f"queries: {n_asked['known']} of recordings in the database, {n_asked['unknown']} of others; "
        f"database: {len(given.database)} rows, {given.n_dummy} of them dummy",
    )


def _trained(about: dict[str, Any]) -> str:
    n = about.get("trained_rows", 0)
    return f"trained on {n} rows" if n else "nothing to train"


def _left_out(
    request: Request,
    asked: _QuerySide,
    given: stores.Inputs,
    neighbours: answers.Neighbours,
    known: metrics.Answers,
    rule: answers.Matcher,
    lengths: Sequence[int],
) -> metrics.Answers | None:
    """Answers every question again as if its track were not in the database. None where that is not asked for."""
    if request.unknown != open_set.LEFT_OUT:
        return None
    return left_out.answers(
        asked.questions,
        asked.rows,
        given.database,
        neighbours,
        known,
        lengths=lengths,
        matcher=rule,
        show=request.show,
    )


def _listened(
    request: Request, scored: results.Scored, database: collection.Collection, sound: repeats.Sound | None
) -> tuple[results.Scored, dict[str, Any] | None]:
    """Counts exact repeats as right, if their sound was given. Returns the scores, and how many repeats there were."""
    if sound is None:
        return scored, None
    return repeats.counted(scored, database, sound, segment_s=records.segment_s(database), show=request.show)


def _recall(
    request: Request, built: index.Index, asked: _QuerySide, database: collection.Collection
) -> dict[str, Any] | None:
    """Compares the index with an exact search of the whole database, on RECALL_ROWS query rows."""
    if not request.recall:
        return None
    first = asked.questions.first
    drawn = np.random.default_rng(request.seed).permutation(len(first))[:RECALL_ROWS]
    queries = asked.rows.take(np.sort(first[drawn]))
    _, found = built.search(queries)
    _, exact = index.exact(database, queries, k=min(10, len(database)))
    shares = [len(set(near) & set(nearest)) / len(nearest) for near, nearest in zip(found.tolist(), exact.tolist())]
    best = (found == exact[:, :1]).any(axis=1)
    return {
        "rows": len(queries),
        "exact_nearest_among_neighbours": float(best.mean()),
        "exact_10_nearest_among_neighbours": float(np.mean(shares)),
    }


def _say(request: Request, text: str) -> None:
    if request.show:
        print(text, flush=True)
