"""Accept or reject: thresholds that keep their promise, probabilities that mean what they say."""

import numpy as np
import pytest

from evaluation.scores import open_set
from nafp.search import confidence


def sample(n, *, seed=0):
    """Draws scores: known queries score higher and are mostly right. Margins separate better than scores."""
    random = np.random.default_rng(seed)
    unknown = np.arange(n) % 2 == 0
    is_right = ~unknown & (random.random(n) < 0.95)
    scores = 0.4 + 0.2 * is_right + 0.1 * random.normal(size=n)
    margins = 0.05 + 0.2 * is_right + 0.05 * random.normal(size=n)
    return scores, margins, is_right, unknown, [f"song {i}" for i in range(n)]


@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_false_accepts_are_as_asked_on_songs_never_seen(rate):
    found = open_set.judge(*sample(20_000), false_accepts=rate)
    for verdict in found.verdicts.values():
        assert verdict.false.rate == pytest.approx(rate, rel=0.3)
        assert verdict.false.asked == verdict.accepted.asked == 10_000


def test_probability_is_no_worse_than_the_better_of_score_and_margin():
    verdicts = open_set.judge(*sample(20_000)).verdicts
    score, margin, both = (verdicts[name].accepted.rate for name in open_set.CRITERIA)
    assert margin > score
    assert both > margin - 0.01


def test_probabilities_mean_what_they_say():
    assert open_set.judge(*sample(20_000)).calibration_error < 0.03


def test_a_fit_made_elsewhere_is_judged_as_it_is():
    given = confidence.Confidence([1, 5], np.array([[0.0, 0, 0], [9.0, 0, 0]]))
    sure, unsure = (open_set.judge(*sample(4000), fitted=given, length=n).calibration_error for n in (5, 1))
    # Half the queries are of unknown recordings and 95 % of the others answered right.
    assert sure == pytest.approx(1 - 0.475, abs=0.02)
    assert unsure == pytest.approx(0.5 - 0.475, abs=0.02)
    own = confidence.fit(*sample(4000, seed=1)[:3], unknown=sample(4000, seed=1)[3])
    fitted = confidence.Confidence([1], own[None])
    assert open_set.judge(*sample(4000), fitted=fitted).calibration_error < 0.03


def test_histograms_count_everything_once():
    assert open_set.binned(np.array([-0.2, 0.0, 0.5, 0.999, 1.0, 1.3])).sum() == 6


def test_the_curve_falls_from_all_to_none():
    curve = open_set.judge(*sample(4000)).curve
    false, missed = curve.T
    assert (false[0], false[-1]) == (1, 0)
    assert (np.diff(false) <= 0).all()
    assert (np.diff(missed) >= 0).all()
    assert missed[-1] == 1


def test_a_threshold_lets_through_at_most_the_share():
    values = np.arange(100)
    assert (values > open_set.threshold(values, 0.05)).sum() == 5
    assert (values > open_set.threshold(values, 0.001)).sum() == 0


def test_a_song_stays_in_its_half():
    half = open_set.halves(["a", "b", "a", "c", "b"])
    assert half[0] == half[2]
    assert half[1] == half[4]


def test_the_half_of_a_song_does_not_depend_on_where_its_file_lies():
    songs = [f"{i}.flac" for i in range(20)]
    for folder in ("/a", "/somewhere/else"):
        np.testing.assert_array_equal(open_set.halves([f"{folder}/{song}" for song in songs]), open_set.halves(songs))


@pytest.mark.parametrize("form", ["track{}.wav", "{:02}.mp3", "/music/{}.flac", "q{:04}_clean"])
def test_numbered_songs_fall_into_both_halves(form):
    assert 3 <= open_set.halves([form.format(i) for i in range(12)]).sum() <= 9


def test_nothing_is_judged_by_a_half_that_holds_no_songs():
    songs = [f"song {i}" for i in range(60)]
    half, unknown = open_set.halves(songs), np.arange(60) % 3 == 0
    assert open_set.are_enough(unknown, songs)
    assert not open_set.are_enough(unknown, ["one song"] * 60)
    assert not open_set.are_enough(half == 0, songs)
    assert not open_set.are_enough(unknown[:40], songs[:40])


def test_the_fit_finds_the_weights_that_made_the_data():
    random = np.random.default_rng(0)
    scores, margins = random.normal(size=(2, 50_000))
    truth = np.array([-0.5, 2.0, 1.0])
    p = 1 / (1 + np.exp(-(truth[0] + truth[1] * margins + truth[2] * scores)))
    is_right = random.random(50_000) < p
    # Half known, half unknown by a coin that knows nothing: the weighting changes nothing then.
    unknown = random.random(50_000) < 0.5
    found = confidence.fit(scores, margins, is_right, unknown=unknown)
    np.testing.assert_allclose(found, truth, atol=0.1)


def test_perfectly_separate_scores_give_finite_weights():
    scores = np.r_[np.zeros(50), np.ones(50)]
    found = confidence.fit(scores, scores, scores > 0.5, unknown=scores < 0.5)
    model = confidence.Confidence([1], found[None])
    assert np.isfinite(found).all()
    assert model.probability(1, np.ones(1), np.ones(1))[0] > 0.9
    assert model.probability(1, np.zeros(1), np.zeros(1))[0] < 0.1


def test_a_confidence_is_kept_and_interpolated(tmp_path):
    model = confidence.Confidence([1, 5], np.array([[0.0, 1, 2], [4.0, 5, 6]]))
    model.save(tmp_path / "c.json")
    again = confidence.Confidence.load(tmp_path / "c.json")
    score, margin = np.array([0.3]), np.array([0.1])
    assert again.probability(1, score, margin) == model.probability(0.5, score, margin)
    middle = confidence.Confidence([3], np.array([[2.0, 3, 4]]))
    assert again.probability(3, score, margin) == pytest.approx(middle.probability(3, score, margin))


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "no calibration"),
        ("[]", "no calibration"),
        ('{"lengths": [1]}', "no calibration.*--unknown=left-out"),
        ('{"lengths": [1, 3], "weights": [[1, 2, 3]]}', r"not 3 for each of \[1, 3\]"),
    ],
)
def test_a_file_that_holds_no_calibration_is_refused(tmp_path, text, said):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ValueError, match=said):
        confidence.Confidence.load(tmp_path / "c.json")
