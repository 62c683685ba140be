"""Statistics over seeds: mean, confidence interval, paired test, correction for multiple tests.

scipy is imported where a number is asked for, and of it only `special`: `scipy.stats` would double the time to start.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

CONFIDENCE = 0.95
ALPHA = 0.05  # two settings are told apart where the corrected p is not above it


class Interval(NamedTuple):
    """Mean over seeds with its 95 % confidence interval (Student's t); low and high are nan for a single seed."""

    mean: float
    low: float
    high: float
    n: int


def interval(values: Sequence[float]) -> Interval:
    """The mean of one or more values and where it lies with 95 % confidence, if they are normally distributed.

        mean +- t(0.975, n - 1) * s / sqrt(n),   s^2 = sum of (value - mean)^2 / (n - 1)

    Student 1908, The probable error of a mean, https://doi.org/10.2307/2331554. All are nan where a value is not
    finite. Raises ValueError for no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("there are no values; a mean needs one or more")
    if not all(map(math.isfinite, values)):
        return Interval(math.nan, math.nan, math.nan, n)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    half = _quantile(n - 1) * _standard_error(values, mean)
    return Interval(mean, mean - half, mean + half, n)


def paired_p(values: Sequence[float], others: Sequence[float]) -> float:
    """The two-sided p of a paired t-test: how likely so large a mean difference is where there is none.

        t = mean(d) / (s(d) / sqrt(n)),   d = values - others,   p = 2 P(T < -|t|),   T of n - 1 degrees of freedom

    1 where all pairs are equal, 0 where all differ by one and the same amount. Raises ValueError for fewer than two
    pairs, or an unequal number of values.
    """
    differences = [value - other for value, other in zip(values, others, strict=True)]
    n = len(differences)
    if n < 2:
        raise ValueError(f"there are {n} pairs; a test needs two or more")
    mean = math.fsum(differences) / n
    error = _standard_error(differences, mean)
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    from scipy.special import stdtr

    return float(2 * stdtr(n - 1, -abs(mean / error)))


def holm(p: Sequence[float]) -> list[float]:
    """Correct p for the number of tests, so that any wrong rejection among them stays as rare as alpha; same order.

        p'(i) = max over j <= i of min(1, (m - j + 1) p(j)),   p(1) <= ... <= p(m)

    Holm 1979, A simple sequentially rejective multiple test procedure, https://www.jstor.org/stable/4615733.
    """
    corrected = [0.0] * len(p)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected


def _standard_error(values: Sequence[float], mean: float) -> float:
    """The standard error of the mean of two or more values."""
    n = len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)


@lru_cache
def _quantile(freedom: int) -> float:
    """Of Student's t: what lies within it on either side is the confidence."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
