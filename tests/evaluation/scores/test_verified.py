"""Weights of evidence are fitted to both looks, and judged by halves of the songs."""

import numpy as np
import pytest

from evaluation.scores import metrics, questions, results, verified
from nafp.search import confidence, evidence

N, SONGS = 2000, 80


def seen(random, right, unknown, *, several):
    """One look at N questions: right places agree with the other versions, and a little better in score."""
    score = np.where(right, 0.62, 0.55) + 0.08 * random.standard_normal(N)
    found = np.zeros((N, 7))
    found[:, 1] = 0.3 + 0.05 * random.standard_normal(N)
    if several:
        found[:, 4] = found[:, 5] = np.where(right, 0.4, 0.1) + 0.15 * random.standard_normal(N)
        found[:, 2] = found[:, 3] = found[:, 4] - 0.5
        found[:, 6] = 4
    return verified.Seen(np.zeros(N, int), score, score - 0.5, found, np.full(N, True))


@pytest.fixture(scope="module")
def asked():
    random = np.random.default_rng(0)
    unknown = random.random(N) < 0.5
    right = ~unknown & (random.random(N) < 0.9)
    songs = np.array([f"song{n % SONGS}" for n in range(N)])
    conditions = np.array(["clean", "n0"])[np.arange(N) // SONGS % 2]
    looks = tuple(seen(random, right, unknown, several=several) for several in (False, True))
    looks[1].looked[:200] = False  # Sure at the first look.
    return verified.Sample(looks, np.array([right, right]), unknown, songs, conditions)


def test_evidence_accepts_more_than_margin_and_score_at_as_many_false_accepts(asked):
    with_it = verified.judged(asked)
    blind = tuple(look._replace(found=look.found * NOTHING) for look in asked.looks)
    without = verified.judged(asked._replace(looks=blind))
    accepted, plain = (found["verdicts"]["0.01"]["accepted"]["rate"] for found in (with_it, without))
    assert accepted > plain + 0.1
    assert with_it["verdicts"]["0.01"]["false"]["rate"] < 0.03
    assert with_it["calibration_error"] < 0.05
    assert set(with_it["verdicts"]["0.001"]["conditions"]) == {"clean", "n0"}


NOTHING = np.array([0, 0, 0, 0, 0, 0, 1.0])  # Keeps how many versions there were.


def test_probabilities_of_a_fit_are_those_of_the_calibration_that_is_written(asked):
    fit = verified.fitted(asked)
    model = confidence.Confidence([3], np.zeros((1, 3)), verifier=verified.verifier([fit]))
    probability, right = verified.answered(asked, fit)
    for number in (0, 1, 500, 900):
        look = asked.looks[number >= 200]
        found = evidence.Evidence(*look.found[number])
        told = model.probability(3, look.scores[number], look.margins[number], found=found)
        assert probability[number] == pytest.approx(float(told))
    assert right.sum() == asked.right[0].sum()


def test_too_few_questions_fit_nothing_and_a_length_without_a_fit_has_no_verifier(asked):
    few = asked.some(np.arange(N) < 12)
    assert verified.fitted(few) is None
    assert verified.judged(few) is None
    assert verified.verifier([verified.fitted(asked), None]) is None
    assert verified.verifier([]) is None


def test_to_name_the_other_song_of_a_mixture_is_not_judged():
    tracks = ["/music/a.flac", "/music/b.flac"]
    asked = questions.Questions(
        ["x", "y", "z"],
        np.zeros(3, int),
        np.ones(3, int),
        np.zeros((3, 1), int),
        np.zeros((3, 1)),
        {"music": ["b", "b", ""]},
        ["a"] * 3,
    )
    right, every = {"song": np.array([[False], [True], [True]])}, {"song": np.ones((3, 1), bool)}
    scored = results.Scored(asked, metrics.Answers(*[np.zeros((3, 1))] * 5), right, every, (1,))
    mixed = verified.others(scored, tracks)
    assert mixed.tolist() == [1, 1, -1]
    looks = [verified.Seen.nothing((3, 1)) for _ in range(4)]
    for known, place in ((looks[0], [1, 0, 0]), (looks[2], [1, 1, 1])):
        known.tracks[:, 0], known.looked[:] = place, True
    sample = verified.sample(scored, 0, looks[:2], looks[2:], np.full(3, True), usual=0.5, mixed=mixed)
    assert sample.unknown.tolist() == [False, False, True]  # One clip alone is asked for without its recording.
    assert sample.right[0].tolist() == [True, True, False]
