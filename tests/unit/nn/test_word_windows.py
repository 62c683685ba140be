"""Pairs by a double loop, probabilities by chi-square."""

import pytest
import torch
from scipy.stats import chisquare
from special_ids import CLS, EOS, IDS, PAD, SEP, UNK

from ssl_runner.nn.word_windows import DynamicWindow, Subsampling, exchange, gaps


def looped(x: list[int], kept: list[bool], window: int) -> dict[tuple[int, int], int]:
    """How many kept words on each place is from each other one of its sentence, as one reads."""
    found = {}
    for i in range(len(x)):
        for step in (-1, 1):
            far, j = 0, i + step
            while kept[i] and 0 <= j < len(x) and x[j] not in (EOS, SEP, CLS, PAD):
                far += kept[j]
                if kept[j]:
                    found[i, j] = far
                j += step
    return {pair: far for pair, far in found.items() if far <= window}


@pytest.mark.parametrize("window", [1, 3, 50])
def test_gaps_are_those_of_a_loop(window: int) -> None:
    torch.manual_seed(0)
    x = torch.where(torch.rand(8, 30) < 0.2, torch.tensor([UNK, EOS, SEP, CLS])[torch.randint(4, (8, 30))], 9)
    x[3, 20:] = PAD
    kept = (x >= 6) & (torch.rand(8, 30) < 0.7)
    gap = gaps(x, kept, window, IDS)
    for row in range(8):
        near = looped(x[row].tolist(), kept[row].tolist(), window)
        assert near
        for i in range(30):
            for j in range(30):
                if (i, j) in near:
                    assert gap[row, i, j] == near[i, j]
                else:
                    assert gap[row, i, j] > window or i == j
    assert gap.diagonal(dim1=1, dim2=2).abs().sum() == 0


def test_a_window_reaches_over_what_is_left_out_and_not_over_sentences() -> None:
    x = torch.tensor([[10, UNK, 11, 12, EOS, 13]])
    kept = torch.tensor([[True, False, True, False, False, True]])
    pairs = DynamicWindow(1, IDS)(x, kept)
    assert pairs.nonzero()[:, 1:].tolist() == [[0, 2], [2, 0]]


def test_each_word_draws_its_own_reach_from_1_to_the_window() -> None:
    torch.manual_seed(0)
    x = torch.full((4000, 11), 9)
    pairs = DynamicWindow(5, IDS)(x, torch.ones_like(x, dtype=torch.bool))
    right, left = pairs[:, 5, 6:], pairs[:, 5, :5].flip(1)
    assert torch.equal(right, left)  # a reach is the same to either side
    assert torch.equal(right, right.cummin(dim=1).values)  # no place is left out within it
    assert chisquare(right.sum(dim=1).bincount(minlength=6)[1:].numpy()).pvalue > 0.001
    other = pairs[:, 4, 5:].sum(dim=1)
    assert (other != right.sum(dim=1)).any()


def test_words_are_kept_as_word2vec_does() -> None:
    torch.manual_seed(0)
    counts = torch.tensor([0.0] * 6 + [9000, 900, 90, 10], dtype=torch.float64)
    subsampling = Subsampling(counts, IDS, threshold=0.01)
    keep = [(0.01 / f) ** 0.5 + 0.01 / f for f in (0.9, 0.09, 0.009, 0.001)]
    assert keep[2] > 1
    torch.testing.assert_close(subsampling.keep[6:], torch.tensor([*keep[:2], 1, 1]))
    x = torch.tensor([6, 7, 8, 9, UNK, EOS]).repeat_interleave(20_000)[None]
    kept = subsampling(x)[0].view(6, -1).sum(dim=1)
    assert kept[2:].tolist() == [20_000, 20_000, 0, 0]
    for seen, p in zip(kept[:2].tolist(), keep[:2], strict=True):
        assert chisquare([seen, 20_000 - seen], [20_000 * p, 20_000 * (1 - p)]).pvalue > 0.001


def test_none_keeps_all_words_and_no_special_id() -> None:
    subsampling = Subsampling(torch.tensor([0.0] * 6 + [1e6, 1], dtype=torch.float64), IDS, threshold=None)
    assert subsampling(torch.arange(8)[None].expand(50, 8)).float().mean(dim=0).tolist() == [0] * 6 + [1, 1]


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_exchange_gives_each_place_the_value_of_another(count: int) -> None:
    torch.manual_seed(0)
    places = (torch.randperm(60) < count).view(6, 10)
    values = torch.arange(60).view(6, 10)
    moved = exchange(values, places)
    assert torch.equal(moved[~places], values[~places])
    assert sorted(moved[places].tolist()) == sorted(values[places].tolist())
    if count > 1:
        assert (moved[places] != values[places]).all()


@pytest.mark.parametrize("window", [0, -1])
def test_refusals(window: int) -> None:
    with pytest.raises(ValueError, match=rf"objective\.window is {window}"):
        DynamicWindow(window, IDS)
    with pytest.raises(ValueError, match=r"objective\.subsample is 0"):
        Subsampling(torch.ones(8), IDS, threshold=0)
