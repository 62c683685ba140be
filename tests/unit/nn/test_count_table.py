"""Sums by key against a dictionary."""

from collections import Counter

import pytest
import torch

from ssl_runner.nn.count_table import CountTable


def test_sums_are_those_of_a_dictionary() -> None:
    torch.manual_seed(0)
    table = CountTable(4096)
    truth: Counter[int] = Counter()
    for _ in range(5):
        keys = torch.randint(2**31, (400,)) * 3
        keys[200:] = keys[:200]  # twice in one call
        if truth:
            keys[:100] = torch.tensor(list(truth)[:100])
        amounts = torch.randint(4, (400,)) / 4
        table.add(keys, amounts)
        for key, amount in zip(keys.tolist(), amounts.tolist(), strict=True):
            truth[key] += amount
    keys = torch.tensor(list(truth))
    assert table(keys).tolist() == list(truth.values())
    assert table(keys.view(-1, 2)).shape == (len(keys) // 2, 2)
    assert table(torch.tensor([1, 2, 4])).tolist() == [0, 0, 0]
    assert table.uncounted == 0
    assert (table.keys >= 0).sum() == sum(amount > 0 for amount in truth.values())  # nothing is kept of a 0


def test_neighboring_keys_are_spread() -> None:
    table = CountTable(2**16)
    keys = torch.cat([torch.arange(20_000), torch.arange(12_000) * 8000])  # half of the places, as pairs of words come
    table.add(keys.unique(), torch.ones(len(keys.unique())))
    assert table.uncounted < 1e-3


def test_a_full_table_says_what_it_could_not_count() -> None:
    table = CountTable(4)
    table.add(torch.arange(1000, 1010), torch.ones(10))
    kept = table(torch.arange(1000, 1010))
    assert kept.sum() == 4
    assert table.uncounted.item() == pytest.approx(0.6)
    table.add(torch.arange(1000, 1010), torch.ones(10))  # keys that are there grow; no other gets a place
    assert torch.equal(table(torch.arange(1000, 1010)), 2 * kept)


def test_the_order_within_a_call_makes_no_difference() -> None:
    tables = CountTable(50), CountTable(50)
    keys = torch.arange(60) ** 2
    for table, order in zip(tables, (torch.arange(60), torch.arange(60).flip(0)), strict=True):
        table.add(keys[order], torch.ones(60))
    assert torch.equal(tables[0].keys, tables[1].keys)
