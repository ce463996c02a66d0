"""Unknown queries without unknown recordings: each query again, its own track taken out.

Three things keep this honest. A recording that the database holds twice is taken out with its
twins: found under the other name it would not be a false accept. A query whose neighbours were
nearly all in what was taken out has no rivals left to be judged by, and is not asked. And fewer
neighbours remain than a search without the track would give, so false accepts come out slightly
too low; a store of recordings that are really not there (--unknown=NAME) has no such doubt.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from nafp.search import collection

from . import answers as answering
from .metrics import Answers
from .questions import Questions

LEAST_LEFT = 0.5  # Share of a query's neighbours that must lie outside what is taken out.


def answers(
    questions: Questions,
    query: collection.Collection,
    database: collection.Collection,
    found: answering.Found,
    known: Answers,
    *,
    lengths: Sequence[int],
    matcher: answering.Matcher,
    show: bool = False,
) -> Answers:
    """Answers every question as if its recording were not in the database.

    known: the answers with it, from which twins are learnt. `asked` says which may be used.
    """
    out = with_twins(questions, database, known, lengths, likeness=matcher.twin_cosine)
    given = answering.match_all(
        questions,
        query,
        database,
        found,
        lengths=lengths,
        matcher=matcher,
        without=out,
        show=show,
    )
    given.asked[:] &= _left(questions, database, found, out, lengths, matcher) >= LEAST_LEFT
    return given


def with_twins(
    questions: Questions,
    database: collection.Collection,
    known: Answers,
    lengths: Sequence[int],
    *,
    likeness: float,
) -> np.ndarray:
    """Gives the tracks to take out per question, int64 [Q, A], padded with -1.

    Its own, and those whose answers to any query of the same song hold the same fingerprints as
    the right place does: a mean cosine of at least `likeness` over the longest query.
    """
    longest = int(np.argmax(lengths))
    same = defaultdict(set)
    for number, song in enumerate(questions.songs):
        same[song].update(t for t in questions.tracks[number].tolist() if t >= 0)
        if known.asked[number, longest] and np.isfinite(questions.starts[number, 0]):
            same[song].update(
                _twins(
                    database,
                    questions.starts[number, 0],
                    known.tracks[number, longest],
                    known.starts[number, longest],
                    lengths[longest],
                    likeness,
                )
            )
    width = max(1, *(len(tracks) for tracks in same.values()))
    out = np.full((len(questions), width), -1, np.int64)
    for number, song in enumerate(questions.songs):
        tracks = sorted(same[song])
        out[number, : len(tracks)] = tracks
    return out


def _twins(
    database: collection.Collection,
    right: float,
    tracks: np.ndarray,
    starts: np.ndarray,
    length: int,
    likeness: float,
) -> list[int]:
    there = tracks >= 0
    places = np.round(np.r_[right, starts[there]]).astype(np.int64)
    vectors = database.windows(places, length)
    alike = np.vecdot(vectors[1:], vectors[0]).mean(axis=1) >= likeness
    return tracks[there][alike].tolist()


def _left(
    questions: Questions,
    database: collection.Collection,
    found: answering.Found,
    out: np.ndarray,
    lengths: Sequence[int],
    matcher: answering.Matcher,
) -> np.ndarray:
    """Gives the share of neighbours outside the tracks taken out, float64 [Q, M]."""
    places = np.searchsorted(found.numbers, questions.first)
    shares = np.zeros((len(questions), len(lengths)))
    for number, place in enumerate(places):
        tracks = database.track_of(found.neighbours[place : place + found.runs[number]])
        is_left = ~np.isin(tracks, out[number])
        for column, length in enumerate(lengths):
            rows = answering.rows_needed(length, matcher.shifts)
            shares[number, column] = is_left[:rows].mean()
    return shares
