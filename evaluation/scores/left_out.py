"""Unknown queries without unknown recordings: each query is asked again without its own track.

A recording that the database holds twice is left out with its twins, because finding it under the other name is no
false accept. A query whose neighbours were nearly all in the tracks left out has no rivals to be judged by, and is not
asked. Fewer neighbours remain than a search without the track would find, so false accepts come out slightly too low.
Queries of recordings that are really not in the database (--unknown=NAME) have no such doubt.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from nafp.search import collection

from .answers import Matcher, Neighbours, match_all, rows_needed
from .metrics import Answers
from .questions import Questions

LEAST_LEFT = 0.5  # Least share of a query's neighbours outside of the tracks left out.


def answers(
    questions: Questions,
    query: collection.Collection,
    database: collection.Collection,
    neighbours: Neighbours,
    known: Answers,
    *,
    lengths: Sequence[int],
    matcher: Matcher,
    show: bool = False,
) -> Answers:
    """Answers every question as if its recording were not in the database.

    neighbours: of the query rows. known: the answers with it, which tell its twins. `asked` of the answers says which
    of them may be used.
    """
    out = with_twins(questions, database, known, lengths, likeness=matcher.twin_cosine)
    unknown = match_all(
        questions,
        query,
        database,
        neighbours,
        lengths=lengths,
        matcher=matcher,
        without=out,
        show=show,
    )
    unknown.asked[:] &= _left(questions, database, neighbours, out, lengths, matcher) >= LEAST_LEFT
    return unknown


def with_twins(
    questions: Questions,
    database: collection.Collection,
    known: Answers,
    lengths: Sequence[int],
    *,
    likeness: float,
) -> np.ndarray:
    """Returns the tracks to leave out for each question, int64 [Q, A], padded with -1.

    These are its own and its twins: tracks that answered any query of the same song with a place whose fingerprints
    agree with those of the right place by a mean cosine of at least `likeness`, over the longest query.
    """
    longest = int(np.argmax(lengths))
    same: dict[str, set[int]] = defaultdict(set)
    for number, song in enumerate(questions.songs):
        same[song].update(track for track in questions.tracks[number].tolist() if track >= 0)
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
    """Returns the answered tracks [T] whose fingerprints agree with those of the right place, a row of the database."""
    is_answer = tracks >= 0
    places = np.round(np.concatenate([[right], starts[is_answer]])).astype(np.int64)
    vectors = database.windows(places, length)
    is_alike = np.vecdot(vectors[1:], vectors[0]).mean(axis=1) >= likeness
    return tracks[is_answer][is_alike].tolist()


def _left(
    questions: Questions,
    database: collection.Collection,
    neighbours: Neighbours,
    out: np.ndarray,
    lengths: Sequence[int],
    matcher: Matcher,
) -> np.ndarray:
    """Returns the share of neighbours outside of the tracks left out, float64 [Q, M]."""
    places = np.searchsorted(neighbours.numbers, questions.first)
    shares = np.zeros((len(questions), len(lengths)))
    for number, place in enumerate(places):
        tracks = database.track_of(neighbours.neighbours[place : place + neighbours.runs[number]])
        is_left = ~np.isin(tracks, out[number])
        for column, length in enumerate(lengths):
            rows = rows_needed(length, matcher.shifts)
            shares[number, column] = is_left[:rows].mean()
    return shares
