import math

import pytest
import torch
from findings import keys, value

from ssl_runner.evaluation.any import knn
from ssl_runner.evaluation.any.knn import NearestNeighbors, vote
from ssl_runner.evaluation.any.subject import TOLD


def by_loops(train, label, test, classes, k, temperature):
    """The definition, one pair at a time."""
    found = []
    for x in test.tolist():
        pairs = []
        for t, c in zip(train.tolist(), label.tolist(), strict=True):
            cosine = sum(a * b for a, b in zip(x, t, strict=True)) / (math.hypot(*x) * math.hypot(*t))
            pairs.append((cosine, c))
        votes = [0.0] * classes
        for cosine, c in sorted(pairs, reverse=True)[:k]:
            votes[c] += math.exp(cosine / temperature)
        found.append(votes.index(max(votes)))
    return found


@pytest.mark.parametrize("k", [1, 3, 7, 20])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_vote_is_the_double_loop(k, temperature, monkeypatch):
    g = torch.Generator().manual_seed(k)
    train, test = torch.randn(20, 3, generator=g) * 5, torch.randn(25, 3, generator=g)
    label = torch.randint(3, (20,), generator=g)
    expected = by_loops(train, label, test, 3, k, temperature)
    assert vote(train, label, test, 3, k=k, temperature=temperature).tolist() == expected
    monkeypatch.setattr(knn, "SIMILARITIES", 60)  # three test examples at once
    assert vote(train, label, test, 3, k=k, temperature=temperature).tolist() == expected


def test_the_weight_decides_against_the_majority():
    # One neighbor of class 0 at cosine 1, two of class 1 at cosine 0.8: exp(1/T) against 2 exp(0.8/T).
    train, label = torch.tensor([[1.0, 0], [0.8, 0.6], [0.8, -0.6]]), torch.tensor([0, 1, 1])
    x = torch.tensor([[2.0, 0]])
    assert vote(train, label, x, 2, k=3, temperature=0.2).item() == 0  # 148.4 > 2 * 54.6
    assert vote(train, label, x, 2, k=3, temperature=0.5).item() == 1  # 7.39 < 2 * 4.95


def test_a_small_temperature_does_not_overflow():
    train = torch.eye(3)
    assert vote(train, torch.arange(3), train, 3, k=3, temperature=0.001).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("encoder", "accuracy"), [("label", 1.0), ("constant", 0.25)])
def test_best_and_worst(subject, encoder, accuracy):
    found = NearestNeighbors(layer="pooled", k=500, temperature=0.07)(subject(encoder))
    assert keys(found) == [(name, split, ()) for split in TOLD for name in ("accuracy", "balanced_accuracy")]
    assert [each.split for each in found.predictions] == list(TOLD)
    assert value(found, "accuracy") == accuracy
    assert value(found, "accuracy", "val") == pytest.approx(accuracy, abs=0.02)  # 8 of 30 have the first class
    assert found.protocol.measured["voters"] == 60


def test_refusals():
    with pytest.raises(ValueError, match=r"evaluation\.knn\.k is 0"):
        NearestNeighbors(layer="pooled", k=0, temperature=0.07)
    with pytest.raises(ValueError, match=r"evaluation\.knn\.temperature is 0"):
        NearestNeighbors(layer="pooled", k=5, temperature=0)
