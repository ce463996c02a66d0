"""Tests whether a difference is larger than chance: paired tests, bootstrap over clusters, spread over seeds.

The distributions come from scipy.special. `scipy.stats.binomtest` gives the same numbers, but takes milliseconds a
call, and a table has hundreds of cells.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from nafp import errors

from .metrics import Z_95

_ROUNDS = 100  # Bootstrap rounds that are drawn at once, which bounds the memory with many clusters.
LARGEST_EXACT = 1000  # The binomial sum is exact up to this number of discordant pairs.


class McNemar(NamedTuple):
    """Numbers of questions that only one of two systems answers right, and the p-value of their difference."""

    only_first: int
    only_second: int
    p: float


class Spread(NamedTuple):
    """Mean, standard deviation (of a sample: n - 1) and number of several runs."""

    mean: float
    deviation: float
    n: int


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Tests whether two systems differ on the same questions (Q. McNemar, 1947), two-sided.

    first, second: bool [Q], whether each system is right. Up to LARGEST_EXACT discordant pairs the test is the exact
    binomial one. Above, it is the chi-square with continuity correction, which differs by less than 1e-3 there.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.shape != second.shape:
        raise errors.Invalid(f"the systems answered {first.shape} and {second.shape} questions")
    a, b = int((first & ~second).sum()), int((~first & second).sum())
    n = a + b
    if n == 0:
        return McNemar(a, b, 1.0)
    if n > LARGEST_EXACT:
        return McNemar(a, b, _two_sided(max(0, abs(a - b) - 1) / math.sqrt(n)))
    return McNemar(a, b, min(1.0, 2 * float(special.bdtr(min(a, b), n, 0.5))))


def bootstrap(
    right: np.ndarray,
    asked: np.ndarray,
    clusters: Sequence | np.ndarray,
    *,
    rounds: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Returns 95 % intervals of rates whose questions rise and fall together within a cluster, such as a song.

    right, asked: bool or float [Q, C]; clusters: [Q], any labels. Whole clusters are drawn with replacement. The result
    is float64 [C, 2]: the 2.5 and 97.5 percentiles of right / asked.
    """
    _, which = np.unique(np.asarray(clusters), return_inverse=True)
    n = int(which.max()) + 1
    hits, sizes = (np.zeros((n, right.shape[1])) for _ in range(2))
    np.add.at(hits, which, np.asarray(right, float) * asked)
    np.add.at(sizes, which, np.asarray(asked, float))
    random, rates = np.random.default_rng(seed), []
    for _ in range(0, rounds, _ROUNDS):
        draws = random.multinomial(n, np.full(n, 1 / n), size=_ROUNDS).astype(float)
        with np.errstate(invalid="ignore"):
            rates.append((draws @ hits) / (draws @ sizes))
    with np.errstate(invalid="ignore"):
        return np.percentile(np.concatenate(rates), [2.5, 97.5], axis=0).T


def two_proportions(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Returns the two-sided p of two rates (right, asked) on different questions, by a pooled z-test."""
    (a, n), (b, m) = first, second
    if not n or not m:
        return 1.0
    pooled = (a + b) / (n + m)
    variance = pooled * (1 - pooled) * (1 / n + 1 / m)
    return _two_sided((a / n - b / m) / math.sqrt(variance)) if variance else 1.0


def from_interval(value: float, low: float, high: float) -> float:
    """Returns the two-sided p of a value being 0, from its 95 % interval, which is taken as that of a normal."""
    deviation = (high - low) / (2 * Z_95)
    if deviation <= 0:
        return 1.0 if value == 0 else 0.0
    return _two_sided(value / deviation)


def _two_sided(z: float) -> float:
    """Returns the probability that a standard normal is at least |z| away from 0."""
    return 2 * float(special.ndtr(-abs(z)))


def spread(values: Sequence[float]) -> Spread:
    """Returns the spread of one number over several seeds."""
    numbers = np.asarray(values, float)
    deviation = float(numbers.std(ddof=1)) if len(numbers) > 1 else math.nan
    return Spread(float(numbers.mean()), deviation, len(numbers))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values, corrected for their number (S. Holm, 1979), in the order given."""
    order = np.argsort(p_values)
    corrected, largest = np.empty(len(order)), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected.tolist()
