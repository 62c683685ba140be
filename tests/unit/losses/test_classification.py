"""Cross-entropies and accuracy against loops and torch's own."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssl_runner.losses.classification import accuracy, cross_entropy, weighted_cross_entropy


def test_cases_worked_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    target = torch.tensor([0, 1])
    assert cross_entropy(logits, target).item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    weighted = weighted_cross_entropy(logits, target, torch.tensor([3.0, 0.5]))
    assert weighted.item() == pytest.approx((3 * math.log(2) + 0.5 * math.log(4)) / 2)
    assert accuracy(logits, torch.tensor([1, 0])).item() == 0.5


def test_weights_that_are_alike_change_nothing() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(4, 5, 2, 3), torch.randint(5, (4, 2, 3))
    torch.testing.assert_close(weighted_cross_entropy(logits, target, torch.ones(5)), F.cross_entropy(logits, target))


def test_half_precision_is_widened() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = weighted_cross_entropy(torch.randn(3, 4).bfloat16(), torch.tensor([0, 1, 2]), torch.ones(4))
    assert value.dtype == torch.float32
