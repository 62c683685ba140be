"""Shares by chi-square, order, and that special ids stay."""

import pytest
import torch
from scipy.stats import chisquare
from special_ids import CLS, EOS, IDS, MASK, PAD, SEP, UNK
from torch import Tensor

from ssl_runner.views.corrupt import chosen, deleted, masked, reordered


def texts() -> Tensor:
    """(500, 12): [CLS] eight words, among them an unknown one and an end of sentence, [SEP] and padding."""
    x = 10 + torch.arange(500 * 12).view(500, 12)
    x[:, 0], x[:, 4], x[:, 6], x[:, 10], x[:, 11] = CLS, UNK, EOS, SEP, PAD
    return x


def test_shares_are_as_asked_at_every_place() -> None:
    torch.manual_seed(0)
    x = texts()
    which = chosen(x, 0.3, IDS)
    assert not which[x < 6].any()
    words = which[:, (x >= 6)[0]]
    hits = words.sum(dim=0).double()
    for got in (hits.tolist(), words.view(50, -1).sum(dim=1).tolist()):  # by place, by text
        total = words.numel() / len(got)
        both = [*got, *(total - n for n in got)]
        expected = [total * 0.3] * len(got) + [total * 0.7] * len(got)
        expected = [e * sum(both) / sum(expected) for e in expected]
        assert chisquare(both, expected, ddof=len(got) - 1).pvalue > 1e-3
    assert hits.sum().item() == pytest.approx(0.3 * words.numel(), abs=4 * (0.21 * words.numel()) ** 0.5)
    assert not chosen(x, 0, IDS).any()
    assert torch.equal(chosen(x, 1, IDS), x >= 6)


def test_masking_changes_what_was_chosen_and_nothing_else() -> None:
    x = texts()
    which = chosen(x, 0.5, IDS)
    assert (masked(x, which, MASK)[which] == MASK).all()
    assert torch.equal(masked(x, which, MASK)[~which], x[~which])


def test_deletion_keeps_the_order_of_what_is_left() -> None:
    x = texts()
    which = chosen(x, 0.5, IDS)
    got = deleted(x, which, PAD)
    for row, gone, left in zip(x.tolist(), which.tolist(), got.tolist(), strict=True):
        kept = [token for token, out in zip(row, gone, strict=True) if not out]
        assert left == kept + [PAD] * (len(row) - len(kept))


def test_reordering_permutes_what_was_chosen_among_its_places() -> None:
    torch.manual_seed(1)
    x = texts()
    which = chosen(x, 0.5, IDS)
    got = reordered(x, which)
    assert torch.equal(got[~which], x[~which])
    assert torch.equal(got.sort(dim=1).values, x.sort(dim=1).values)
    assert 0.5 < (got != x)[which].float().mean().item() < 0.95


def test_all_orders_are_equally_likely() -> None:
    torch.manual_seed(2)
    x = torch.tensor([CLS, 7, 30, 8, 9, SEP]).expand(6000, -1)
    got = reordered(x, (x >= 6) & (x < 30))
    codes = got[:, 1] * 100 + got[:, 3] * 10 + got[:, 4]
    values, counts = codes.unique(return_counts=True)
    assert values.tolist() == [789, 798, 879, 897, 978, 987]
    assert chisquare(counts.tolist()).pvalue > 1e-3
