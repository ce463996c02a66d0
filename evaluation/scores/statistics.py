"""Is a difference larger than chance? Paired tests, clustered bootstrap, spread over seeds."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nafp import errors

_ROUNDS = 100  # Bootstrap rounds drawn at once: bounds the memory with many clusters.
LARGEST_EXACT = 1000  # Discordant pairs up to which the binomial sum is taken exactly.


class McNemar(NamedTuple):
    """Two systems on the same questions: where one is right and the other wrong, and p."""

    only_first: int
    only_second: int
    p: float


class Spread(NamedTuple):
    """Mean of several runs, their standard deviation (n - 1), and how many there are."""

    mean: float
    deviation: float
    n: int


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Tests whether two systems differ on the same questions (Q. McNemar, 1947), two-sided.

    first, second: bool [Q]. Exact binomial; above 1000 discordant pairs the chi-square with
    continuity correction, which differs from it by less than 1e-3 there.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.shape != second.shape:
        raise errors.Invalid(f"the systems answered {first.shape} and {second.shape} questions")
    a, b = int((first & ~second).sum()), int((~first & second).sum())
    n = a + b
    if n == 0:
        return McNemar(a, b, 1.0)
    if n > LARGEST_EXACT:
        z = max(0, abs(a - b) - 1) / math.sqrt(n)
        return McNemar(a, b, math.erfc(z / math.sqrt(2)))
    tail = sum(math.comb(n, k) for k in range(min(a, b) + 1))
    return McNemar(a, b, min(1.0, 2 * tail / 2**n))


def bootstrap(
    right: np.ndarray,
    asked: np.ndarray,
    clusters: Sequence,
    *,
    rounds: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Gives 95 % intervals of rates when questions of one cluster (song) rise and fall together.

    right, asked: bool or float [Q, C]; clusters: [Q], any labels. Whole clusters are drawn with
    replacement; returns float64 [C, 2], the 2.5 and 97.5 percentiles of right / asked.
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
    """Gives the two-sided p of two rates (right, asked) on different questions: pooled z-test."""
    (a, n), (b, m) = first, second
    if not n or not m:
        return 1.0
    pooled = (a + b) / (n + m)
    variance = pooled * (1 - pooled) * (1 / n + 1 / m)
    return math.erfc(abs(a / n - b / m) / math.sqrt(2 * variance)) if variance else 1.0


def from_interval(value: float, low: float, high: float) -> float:
    """Gives the two-sided p of a value being 0, from its 95 % interval taken as normal."""
    deviation = (high - low) / (2 * 1.959963984540054)
    if deviation <= 0:
        return 1.0 if value == 0 else 0.0
    return math.erfc(abs(value) / deviation / math.sqrt(2))


def spread(values: Sequence[float]) -> Spread:
    """Summarises one number over several seeds."""
    values = np.asarray(values, float)
    deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(values.mean()), deviation, len(values))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for being several (S. Holm, 1979); in the order given."""
    order = np.argsort(p_values)
    corrected, largest = np.empty(len(order)), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected.tolist()
