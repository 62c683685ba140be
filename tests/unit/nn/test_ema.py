"""The average against a loop over weights."""

import copy

import pytest
import torch
from torch import nn

from ssl_runner.nn.ema import EMA, MomentumSchedule, check_momentum, momentum_at


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def shifted(source: nn.Sequential) -> nn.Sequential:
    other = copy.deepcopy(source)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter))
    return other


def test_it_starts_as_a_copy_that_gets_no_gradient() -> None:
    source = network().eval()
    target = EMA(source)
    x = torch.randn(5, 3, requires_grad=True)
    assert torch.equal(target(x), source(x))
    assert not target(x).requires_grad
    assert not any(p.requires_grad for p in target.parameters())
    assert all(p.requires_grad for p in source.parameters())


def test_three_updates_are_the_recurrence_of_each_weight() -> None:
    source = network()
    target = EMA(source)
    expected = [p.detach().clone() for p in source.parameters()]
    for momentum in (0.9, 0.5, 0.0):
        source = shifted(source)
        target.update(source, momentum)
        pairs = zip(expected, source.parameters(), strict=True)
        expected = [momentum * old + (1 - momentum) * new for old, new in pairs]
        for now, then in zip(target.parameters(), expected, strict=True):
            torch.testing.assert_close(now, then.detach())


def test_a_momentum_of_one_leaves_it_where_it_is() -> None:
    source = network()
    target = EMA(source)
    before = copy.deepcopy(target.state_dict())
    target.update(shifted(source), 1.0)
    for name, value in target.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_source_stays_as_it_is() -> None:
    source = network()
    target = EMA(shifted(source))
    before = copy.deepcopy(source.state_dict())
    target.update(source, 0.5)
    for name, value in source.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_batch_norm_keeps_statistics_of_its_own_batches_in_training_only() -> None:
    source = network()
    target = EMA(source)
    target(torch.randn(8, 3) + 3)
    assert target.module[1].num_batches_tracked == 1
    assert source[1].num_batches_tracked == 0
    target.eval()
    target(torch.randn(8, 3))
    assert target.module[1].num_batches_tracked == 1


@pytest.mark.parametrize(
    ("schedule", "third", "end"), [("cosine", 0.97, 1.0), ("linear", 0.96 + 0.04 / 3, 1.0), ("constant", 0.96, 0.96)]
)
def test_the_momentum_follows_its_schedule(schedule: MomentumSchedule, third: float, end: float) -> None:
    assert momentum_at(schedule, 0.96, 0) == pytest.approx(0.96)
    assert momentum_at(schedule, 0.96, 1 / 3) == pytest.approx(third)  # cosine: 1 - 0.04 (1 + cos(pi / 3)) / 2
    assert momentum_at(schedule, 0.96, 1) == pytest.approx(end)
    with pytest.raises(ValueError, match=r"objective\.momentum_schedule is 'step'"):
        check_momentum("momentum", 0.9, "step")


@pytest.mark.parametrize("value", [1.0, -0.1, float("nan")])
def test_a_momentum_that_never_moves_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"objective\.momentum"):
        check_momentum("momentum", value)
