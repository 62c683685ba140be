"""FLOPs of a step, against sums by hand."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from objective_cases import CASES, made
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.interfaces import Batch, Loss, Objective
from ssl_runner.training.flops import flops_of_batch


class Copied(Objective[Tensor, Tensor]):
    """A layer, its momentum copy, and a product when weights have moved."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)
        self.copied = copy.deepcopy(self.layer).requires_grad_(False)
        self.norm = nn.BatchNorm1d(40)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.data + torch.randn_like(batch.data), batch.data

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        self.norm(x.flatten(1))
        return Loss((self.layer(x) - self.copied(y)).square().mean(), {}, y.flatten(1))

    def after_step(self, carries: Sequence[Any], progress: float) -> None:
        for carry in carries:
            carry.mT @ carry


class Attends(Objective[Tensor, Tensor]):
    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.data.unflatten(2, (2, 4)).transpose(1, 2).requires_grad_(), batch.label

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        return Loss(F.scaled_dot_product_attention(x, x * 2, x * 3).mean())


class Recurs(Objective[Tensor, Tensor]):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.data.requires_grad_(), batch.label

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        return Loss(self.lstm(x)[0].mean())


def counted(objective: Objective, count: int = 7) -> int:
    return flops_of_batch(objective, Batch(torch.randn(count, 5, 8), *torch.zeros(2, count).long()), torch.float32)


def test_forward_backward_copy_and_what_moves_afterwards() -> None:
    """The input of the layer needs no gradient: forward, and the gradient of its weights."""
    layer = 2 * 7 * 5 * 8 * 3
    assert counted(Copied()) == layer + layer + layer + 2 * 7 * 40 * 40


def test_attention() -> None:
    """Two products forward, five backward: the scores once more, two for each product."""
    assert counted(Attends()) == (2 + 5) * 2 * 7 * 2 * 5 * 5 * 4


def test_recurrent_layers() -> None:
    """Four gates; two directions; the second layer reads both. Forward, and twice that backward."""
    first, second = (4 * 6 * (width + 6) for width in (8, 12))
    assert counted(Recurs()) == 3 * 2 * (first + second) * 2 * 7 * 5


def test_nothing_moves() -> None:
    objective = Copied()
    batch = Batch(torch.randn(7, 5, 8), *torch.zeros(2, 7).long())
    before, generator = copy.deepcopy(objective.state_dict()), torch.get_rng_state()
    flops_of_batch(objective, batch, torch.bfloat16)
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(p.grad is None for p in objective.parameters())


@pytest.mark.parametrize("case", [case for case in CASES if " " not in case])
@pytest.mark.sampled(8)
def test_every_objective_can_be_counted(case: str) -> None:
    """Twice the examples, about twice the work or more: of pairs there are four times as many."""
    objective, batch = made(case)
    halves = (Batch(*(part if part is None else part[:count] for part in batch)) for count in (6, 12))
    once, twice = (flops_of_batch(objective, half, torch.float32) for half in halves)
    if case == "ngram":  # which counts
        assert (once, twice) == (0, 0)
    else:
        least = 1.3 if case == "ijepa" else 1.6  # its contexts are as long as the shortest of a batch
        assert least * once < twice < 4 * once
        assert math.isfinite(once)
