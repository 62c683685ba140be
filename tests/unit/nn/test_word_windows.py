"""Pairs by a double loop, probabilities by chi-square."""

import pytest
import torch
from scipy.stats import chisquare
from special_ids import CLS, EOS, IDS, PAD, SEP, UNK

from ssl_runner.nn import word_windows
from ssl_runner.nn.word_windows import ROW, DynamicWindow, Subsampling, columns, exchange, pairs, rows


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


def texts(size: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids of which each is another in its example, but for special ones; and which are kept."""
    torch.manual_seed(0)
    special = torch.tensor([UNK, EOS, SEP, CLS])[torch.randint(4, (size, length))]
    x = torch.where(torch.rand(size, length) < 0.2, special, 10 + torch.arange(length))
    x[3, 20:] = PAD
    return x, (x >= 10) & (torch.rand(size, length) < 0.7)


@pytest.mark.parametrize("window", [1, 3, 50])
def test_windows_are_those_of_a_loop(window: int) -> None:
    x, kept = texts(8, 90)
    kept[2] = False
    words = DynamicWindow(window, IDS)(x, kept)
    assert words.word.shape[1] % ROW == 0
    found = pairs(rows(words.before), rows(words.after), window).view(8, -1, ROW, ROW + 2 * window)
    around = columns(words.word, window, -1).view(8, -1, ROW + 2 * window)
    for row in range(8):
        own = x[row][kept[row]].tolist()
        assert words.word[row].tolist() == own + [PAD] * (words.word.shape[1] - len(own))
        near = {(int(x[row, i]), int(x[row, j])): far for (i, j), far in looped(*both(x, kept, row), window).items()}
        reach = dict(zip(own, torch.maximum(words.before, words.after)[row].tolist(), strict=False))
        seen = set()
        for block, place, column in found[row].nonzero().tolist():
            word, other = int(words.word[row, block * ROW + place]), int(around[row, block, column])
            seen.add((word, other))
        # A word sees all that are as near as the farthest that it sees, and no others.
        assert seen == {pair for pair, far in near.items() if far <= reach[pair[0]]}
        assert len(seen) == found[row].sum() == (words.before + words.after)[row].sum()


def both(x: torch.Tensor, kept: torch.Tensor, row: int) -> tuple[list[int], list[bool]]:
    return x[row].tolist(), kept[row].tolist()


def test_the_form_for_devices_is_that_for_a_cpu_but_for_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    x, kept = texts(8, 90)
    short = DynamicWindow(1, IDS)(x, kept)
    monkeypatch.setattr(word_windows, "longest", lambda count, length: length)
    whole = DynamicWindow(1, IDS)(x, kept)
    assert [each.shape for each in whole] == [(8, 96)] * 3
    assert short.word.shape[1] == -(-int(kept.sum(dim=1).max()) // ROW) * ROW < 96
    for one, other, fill in zip(short, whole, (PAD, 0, 0), strict=True):
        assert torch.equal(one, other[:, : one.shape[1]])
        assert (other[:, one.shape[1] :] == fill).all()


def test_a_window_reaches_over_what_is_left_out_and_not_over_sentences() -> None:
    x = torch.tensor([[10, UNK, 11, 12, EOS, 13]])
    kept = torch.tensor([[True, False, True, False, False, True]])
    words = DynamicWindow(1, IDS)(x, kept)
    assert words.word[0, :4].tolist() == [10, 11, 13, PAD]
    assert words.before[0, :4].tolist() == [0, 1, 0, 0]
    assert words.after[0, :4].tolist() == [1, 0, 0, 0]


def test_each_word_draws_its_own_reach_from_1_to_the_window() -> None:
    torch.manual_seed(0)
    x = torch.full((4000, 11), 9)
    words = DynamicWindow(5, IDS)(x, torch.ones_like(x, dtype=torch.bool))
    assert torch.equal(words.before[:, 5], words.after[:, 5])  # a reach is the same to either side
    assert chisquare(words.after[:, 5].bincount(minlength=6)[1:].numpy()).pvalue > 0.001
    assert (words.after[:, 4] != words.after[:, 5]).any()


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
