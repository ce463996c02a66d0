"""Tests of chance against exact sums, against scipy.stats and against what they promise."""

import math

import numpy as np
import pytest
import scipy  # Whose parts are imported when they are first used.

from evaluation.scores import statistics


def pairs(a, b, both=10):
    first = np.array([True] * a + [False] * b + [True] * both)
    second = np.array([False] * a + [True] * b + [True] * both)
    return first, second


@pytest.mark.parametrize("a, b", [(0, 0), (5, 0), (3, 11), (7, 7), (400, 460)])
def test_mcnemar_equals_the_binomial_test(a, b):
    found = statistics.mcnemar(*pairs(a, b))
    expected = scipy.stats.binomtest(a, a + b).pvalue if a + b else 1.0
    assert (found.only_first, found.only_second) == (a, b)
    assert found.p == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("a, b", [(1, 0), (5, 0), (3, 11), (7, 7), (0, 60), (41, 77), (400, 460), (460, 540)])
def test_mcnemar_equals_the_sum_of_whole_numbers(a, b):
    tail = sum(math.comb(a + b, k) for k in range(min(a, b) + 1))
    assert statistics.mcnemar(*pairs(a, b)).p == pytest.approx(min(1.0, 2 * tail / 2 ** (a + b)), abs=1e-12)


@pytest.mark.parametrize("first, second", [((70, 100), (140, 180)), ((0, 10), (9, 10)), ((5, 10), (50, 100))])
def test_p_values_are_those_of_the_error_function(first, second):
    """From the textbook: p = erfc(z / sqrt 2)."""
    (a, n), (b, m) = first, second
    pooled = (a + b) / (n + m)
    z = abs(a / n - b / m) / math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    assert statistics.two_proportions(first, second) == pytest.approx(math.erfc(z / math.sqrt(2)), abs=1e-12)
    low, high = 0.1 - 1.959963984540054 * 0.04, 0.1 + 1.959963984540054 * 0.04
    assert statistics.from_interval(0.1, low, high) == pytest.approx(math.erfc(2.5 / math.sqrt(2)), abs=1e-12)


def test_many_pairs_are_approximated_closely():
    found = statistics.mcnemar(*pairs(5100, 4900))
    assert found.p == pytest.approx(scipy.stats.binomtest(5100, 10000).pvalue, abs=1e-3)


def test_systems_must_have_answered_the_same_questions():
    with pytest.raises(ValueError, match=r"\(3,\) and \(4,\)"):
        statistics.mcnemar(np.ones(3), np.ones(4))


def test_clusters_widen_the_interval():
    """Ten questions of a song that are all right, or all wrong, count as one."""
    songs = np.repeat(np.arange(100), 10)
    values = (np.random.default_rng(0).random(100) < 0.7)[songs][:, None]
    asked = np.ones_like(values)
    clustered = statistics.bootstrap(values, asked, songs)
    alone = statistics.bootstrap(values, asked, np.arange(1000))
    ratio = np.diff(clustered[0])[0] / np.diff(alone[0])[0]
    assert ratio == pytest.approx(np.sqrt(10), rel=0.15)


def test_lone_questions_give_the_binomial_interval():
    values = (np.arange(400) < 280)[:, None]
    low, high = statistics.bootstrap(values, np.ones_like(values), np.arange(400))[0]
    half = 1.96 * np.sqrt(0.7 * 0.3 / 400)
    assert (low, high) == pytest.approx((0.7 - half, 0.7 + half), abs=0.01)


def test_only_what_was_asked_counts():
    right = np.array([[1, 1], [0, 1], [1, 0], [0, 1]], bool)
    asked = np.array([[1, 0], [1, 0], [1, 1], [1, 1]], bool)
    ends = statistics.bootstrap(right, asked, list("abcd"), rounds=400)
    assert ends[0, 0] <= 0.5 <= ends[0, 1]
    assert np.isnan(ends).sum() in (0, 2)


def test_spread_is_that_of_a_sample():
    found = statistics.spread([0.8, 0.9, 1.0])
    assert found == (pytest.approx(0.9), pytest.approx(0.1), 3)
    assert np.isnan(statistics.spread([0.5]).deviation)


def test_holm_multiplies_the_smallest_by_their_number():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []
