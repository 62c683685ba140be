"""Kneser-Ney smoothing against a slow one with dictionaries, written from the formulas, and by hand."""

from collections.abc import Sequence

import pytest
import torch
from slow_kneser_ney import Slow
from special_ids import PAD
from torch import Tensor

from ssl_runner.nn.kneser_ney import FALLBACK, Order, discounts, estimate, probabilities

V = 12


def columns(text: Sequence[int], order: int) -> tuple[Tensor, list[Tensor]]:
    """The words after each place of a text but the last, and those before: nearest first, PAD before it begins."""
    before = [[PAD] * (j - 1) + list(text[:-j]) for j in range(1, order)]
    return torch.tensor(text[1:]), [torch.tensor(row) for row in before]


def tables(text: Sequence[int], order: int, discount: float | None = None) -> list[Order]:
    after, before = columns(text, order)
    return estimate(after, before, vocabulary=V, pad=PAD, discount=discount)


def every_word(orders: list[Order], context: Sequence[int]) -> Tensor:
    """(V, orders): all words after a context, which is given in the order of reading."""
    nearest = [*reversed(context), *[PAD] * len(orders)][: len(orders) - 1]
    return probabilities(orders, torch.arange(V), [torch.tensor(word) for word in nearest], vocabulary=V, pad=PAD)


def toy(length: int, seed: int) -> list[int]:
    """A text whose words depend on the two before them, of 6 to 10."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(length, generator=generator).tolist()
    text = [6, 7]
    for draw in draws:
        text.append(6 + int((text[-1] * 2 + text[-2] + (5 * draw) ** 2 // 5) % 5))
    return text


@pytest.mark.parametrize("discount", [None, 0.75])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [3, 30, 300])
def test_it_equals_one_with_dictionaries(order: int, length: int, discount: float | None) -> None:
    text = toy(length, seed=length)
    orders, slow = tables(text, order, discount), Slow(text, order, V, discount)
    asked = toy(40, seed=1)
    for end in range(len(asked)):
        context = asked[max(0, end - order + 1) : end]
        got = every_word(orders, context)
        for k in range(order):
            h = tuple(context[len(context) - min(k, len(context)) :])
            expected = torch.tensor([slow.p(w, h) for w in range(V)], dtype=torch.float64)
            torch.testing.assert_close(got[:, k], expected, atol=1e-12, rtol=1e-9)


def test_the_discounts_of_some_length_are_the_estimated_ones() -> None:
    """Of the texts above, so that not all of them go by the fallback."""
    amounts = Slow(toy(300, seed=300), 5, V).amounts
    assert [k for k in amounts if amounts[k] != FALLBACK] != []


@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_sum_to_one(order: int) -> None:
    orders = tables(toy(200, seed=0), order)
    for context in ([6, 7, 8], [11, 6], [11, 11, 11], [6], [], [PAD, PAD, 6]):
        given = every_word(orders, context)
        torch.testing.assert_close(given.sum(0), torch.ones(order, dtype=torch.float64), atol=1e-12, rtol=0)
        assert (given[1:] > 0).all()
        assert not given[PAD].any()


def test_bigrams_by_hand() -> None:
    """a b a c a b: the bigrams ab twice, ba, ac, ca once. Before b stands a, before a b or c, before c a. D = 1/2."""
    a, b, c = 6, 7, 8
    orders = tables([a, b, a, c, a, b], 2, discount=0.5)
    got = every_word(orders, [a])
    uniform = 1 / (V - 1)
    one = {w: (n - 0.5) / 4 + 1.5 / 4 * uniform for w, n in ((a, 2), (b, 1), (c, 1))}
    assert got[a, 0].item() == pytest.approx(one[a])
    assert got[b, 1].item() == pytest.approx((2 - 0.5) / 3 + (2 * 0.5) / 3 * one[b])
    assert got[c, 1].item() == pytest.approx((1 - 0.5) / 3 + (2 * 0.5) / 3 * one[c])
    assert got[a, 1].item() == pytest.approx((2 * 0.5) / 3 * one[a])
    assert got[9, 1].item() == pytest.approx((2 * 0.5) / 3 * 1.5 / 4 * uniform)
    assert every_word(orders, [9])[a, 1].item() == pytest.approx(one[a])  # never seen: as without a context


def test_what_begins_a_text_counts_as_often_as_it_occurs() -> None:
    """Two rows, cut from each other: x y, x y. Before x y is nothing both times; once it stands after z."""
    x, y, z = 6, 7, 8
    after = torch.tensor([y, y, x, y])
    before = [torch.tensor([x, x, z, x]), torch.tensor([PAD, PAD, PAD, z])]
    orders = estimate(after, before, vocabulary=V, pad=PAD, discount=0.5)
    # Bigrams: x y 2 (nothing) + 1 (z) = 3, z x 1. Unigrams: y once (x), x once (z).
    assert orders[0].share[:-1].tolist() == pytest.approx([0.25, 0.25])
    assert orders[1].share[:-1].tolist() == pytest.approx([2.5 / 3, 0.5])
    assert orders[2].share[:-1].tolist() == pytest.approx([0.5])


def test_discounts_by_hand() -> None:
    # n_1 .. n_4 = 8, 4, 2, 1: Y = 8 / 16; 1 - 2 Y 4/8, 2 - 3 Y 2/4, 3 - 4 Y 1/2
    counts = torch.tensor([1] * 8 + [2] * 4 + [3] * 2 + [4] + [9] * 3)
    assert discounts(counts) == pytest.approx((0.5, 1.25, 2.0))
    assert discounts(torch.tensor([1, 1, 2, 4])) == FALLBACK  # none occurs three times
    assert discounts(torch.tensor([1, 2] + [3] * 9)) == FALLBACK  # 2 - 3 Y 9 is below 0
    assert discounts(torch.tensor([], dtype=torch.int64)) == FALLBACK


def test_before_any_text_all_words_are_alike() -> None:
    nothing = torch.tensor([PAD, PAD])
    orders = estimate(nothing, [torch.tensor([6, 7])] * 2, vocabulary=V, pad=PAD, discount=None)
    expected = torch.full((V - 1, 3), 1 / (V - 1), dtype=torch.float64)
    torch.testing.assert_close(every_word(orders, [6, 7])[1:], expected)


def test_one_context_goes_with_many_words() -> None:
    orders = tables(toy(100, seed=2), 3)
    before = [torch.tensor([[6], [9], [11]]), torch.tensor([[7], [7], [6]])]
    got = probabilities(orders, torch.arange(V)[None], before, vocabulary=V, pad=PAD)
    assert got.shape == (3, V, 3)
    for row, context in zip(got, ([7, 6], [7, 9], [6, 11]), strict=True):
        assert torch.equal(row, every_word(orders, context))
