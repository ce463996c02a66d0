"""What counts as right, and how sure a rate is."""

import math

import numpy as np
import pytest
import scipy  # Whose parts are imported when they are first used.

from evaluation.scores import metrics


def answers(starts, tracks):
    starts, tracks = np.array(starts, float)[:, None, :], np.array(tracks)[:, None, :]
    shape = starts.shape
    return metrics.Answers(tracks, starts, np.zeros(shape, np.float32), np.zeros(shape[:2]), np.ones(shape[:2], bool))


def right(starts, tracks, *, truth=(10.0, 3), **settings):
    found = metrics.right(answers(starts, tracks), np.array([[truth[1]]]), np.array([[truth[0]]]), **settings)
    return {name: bool(value[0, 0]) for name, value in found.items()}


def test_the_right_start_first_is_everything():
    assert all(right([[10, 50]], [[3, 4]]).values())


def test_half_a_row_is_exact_and_one_row_is_near():
    assert right([[10.5, 50]], [[3, 4]])["exact"]
    assert not right([[10.6, 50]], [[3, 4]])["exact"]
    assert right([[11.0, 50]], [[3, 4]])["near"]
    assert not right([[11.2, 50]], [[3, 4]])["near"]
    assert right([[11.2, 50]], [[3, 4]])["song"]


@pytest.mark.parametrize("metric, rows", [("exact", 0.5), ("near", 1.0)])
@pytest.mark.parametrize("start", [10.0, 5e7 + 1 / 3])
def test_the_border_is_exact_but_for_rounding(metric, rows, start):
    for sign in (-1, 1):
        assert right([[start + sign * rows]], [[3]], truth=(start, 3))[metric]
        assert not right([[start + sign * (rows + 0.0005)]], [[3]], truth=(start, 3))[metric]  # 0.25 ms too far.


def test_the_right_row_of_another_track_is_wrong_unless_rows_decide():
    assert not any(right([[10, 50]], [[4, 3]]).values())
    by_row = right([[10, 50]], [[4, 3]], by_row=True)
    assert by_row["exact"]
    assert not by_row["song"]


def test_top_three_and_ten_look_that_far():
    for place, expected in ((0, (1, 1, 1)), (2, (0, 1, 1)), (3, (0, 0, 1)), (9, (0, 0, 1))):
        starts, tracks = np.full((1, 11), 99.0), np.full((1, 11), 3)
        starts[0, place] = 10
        found = right(starts, tracks)
        assert tuple(found[name] for name in ("exact", "top3", "top10")) == expected


def test_no_answer_and_no_truth_are_never_right():
    assert not any(right([[np.nan, np.nan]], [[-1, -1]], truth=(np.nan, -1)).values())
    assert not any(right([[10, 50]], [[3, 4]], truth=(np.nan, -1)).values())
    assert right([[10, 50]], [[3, 4]], truth=(np.nan, 3))["song"]


def test_any_acceptable_answer_will_do():
    found = metrics.right(answers([[20.0]], [[7]]), np.array([[3, 7, -1]]), np.array([[10.0, 20.0, np.nan]]))
    assert found["exact"][0, 0]


@pytest.mark.parametrize("hits", [(0, 10), (10, 10), (3, 10), (871, 1000)])
def test_wilson_equals_the_score_test_inverted(hits):
    low, high = metrics.wilson(metrics.Hits(*hits))
    expected = scipy.stats.binomtest(*hits).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nothing_asked_has_no_rate():
    assert math.isnan(metrics.Hits(0, 0).rate)
    assert all(math.isnan(end) for end in metrics.wilson(metrics.Hits(0, 0)))


def test_counts_of_parts_add_up():
    random = np.random.default_rng(0)
    is_right = {"exact": random.random((50, 2)) < 0.5}
    asked = {"exact": random.random((50, 2)) < 0.8}
    whole = metrics.count(is_right, asked)["exact"]
    parts = [
        metrics.count({"exact": is_right["exact"][half]}, {"exact": asked["exact"][half]})["exact"]
        for half in (slice(0, 20), slice(20, 50))
    ]
    for one, two, both in zip(*parts, whole):
        assert metrics.Hits(one.right + two.right, one.asked + two.asked) == both
