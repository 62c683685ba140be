import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ssl_runner.reporting.statistics import holm, interval, paired_p

NUMBERS = st.floats(-10, 10).map(lambda x: round(x, 3))
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=8)


@given(st.lists(NUMBERS, min_size=2, max_size=8).filter(lambda values: len(set(values)) > 1))
def test_the_interval_is_that_of_scipy(values: list[float]) -> None:
    found = interval(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=sum(values) / len(values), scale=stats.sem(values))
    assert found.mean == pytest.approx(sum(values) / len(values), rel=1e-9, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)
    assert found.n == len(values)


def test_an_interval_by_hand() -> None:
    # Mean 2, s = 1, t(0.975, 2) = 4.303: half the width is 4.303 / sqrt(3).
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2, 2 - 2.4841, 2 + 2.4841, 3), abs=1e-4)


def test_one_value_has_no_interval_and_equal_values_one_without_width() -> None:
    assert interval([0.5])[:3] == pytest.approx((0.5, math.nan, math.nan), nan_ok=True)
    assert interval([0.5, 0.5]) == (0.5, 0.5, 0.5, 2)
    with pytest.raises(ValueError, match="there are no values"):
        interval([])


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
def test_where_a_value_is_not_finite_nothing_is(lost: float) -> None:
    found = interval([1.0, lost, 2.0])
    assert all(map(math.isnan, found[:3]))
    assert found.n == 3


@given(PAIRS.filter(lambda pairs: len({round(a - b, 3) for a, b in pairs}) > 1))
def test_the_paired_test_is_that_of_scipy(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = ([pair[place] for pair in pairs] for place in (0, 1))
    assert paired_p(ours, theirs) == pytest.approx(stats.ttest_rel(ours, theirs).pvalue, rel=1e-6, abs=1e-12)
    assert paired_p(ours, theirs) == paired_p(theirs, ours)


def test_pairs_without_variance() -> None:
    assert paired_p([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == 1
    assert paired_p([1.5, 2.5, 3.5], [1.0, 2.0, 3.0]) == 0
    with pytest.raises(ValueError, match="there are 1 pairs; a test needs two or more"):
        paired_p([1.0], [2.0])
    with pytest.raises(ValueError, match="argument 2 is"):
        paired_p([1.0, 2.0], [2.0])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_what_its_steps_reject(p: list[float], alpha: float) -> None:
    """From the smallest p on, each against alpha over the number of tests left, until one is not rejected."""
    rejected = set()
    for step, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        if (len(p) - step) * p[place] > alpha:
            break
        rejected.add(place)
    assert {place for place, value in enumerate(holm(p)) if value <= alpha} == rejected
