"""Schedules at known points, groups, LARS against its formula."""

import math

import pytest
import torch
from torch import nn

from ssl_runner.assembly import construct
from ssl_runner.config.compose import compose
from ssl_runner.config.schema import typed
from ssl_runner.training.optim import (
    LARS,
    Constant,
    Linear,
    WarmupCosine,
    decay_groups,
    lay_out,
    scaled_groups,
)


def test_warmup_cosine_at_known_points() -> None:
    schedule = WarmupCosine(warmup=0.1, final=0.2)
    assert schedule(0.0) == 0.0
    assert schedule(0.05) == pytest.approx(0.5)
    assert schedule(0.1) == pytest.approx(1.0)
    assert schedule(0.55) == pytest.approx(0.6)  # half-way down from 1 to 0.2
    assert schedule(1.0) == pytest.approx(0.2)
    assert schedule(1.5) == pytest.approx(0.2)


def test_linear_at_known_points() -> None:
    schedule = Linear(final=0.2)
    assert [schedule(p) for p in (0.0, 0.25, 1.0, 1.5)] == pytest.approx([1, 0.8, 0.2, 0.2])
    with pytest.raises(ValueError, match=r"schedule\.final is -1"):
        Linear(final=-1)


def test_no_warmup_starts_at_the_peak() -> None:
    assert WarmupCosine(warmup=0.0, final=0.0)(0.0) == 1.0
    assert Constant()(0.3) == 1.0


@pytest.mark.parametrize(("warmup", "final", "key"), [(1.0, 0.0, "warmup"), (-0.1, 0.0, "warmup"), (0.0, 2.0, "final")])
def test_schedules_refuse(warmup: float, final: float, key: str) -> None:
    with pytest.raises(ValueError, match=f"schedule.{key}"):
        WarmupCosine(warmup=warmup, final=final)


def test_biases_and_norms_are_not_decayed() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    decayed, rest = decay_groups([{"params": model.parameters(), "lr_scale": 0.5}])
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)]
    assert [tuple(p.shape) for p in rest["params"]] == [(4,), (4,), (4,)]
    assert "weight_decay" not in decayed
    assert rest["weight_decay"] == 0.0
    assert decayed["lr_scale"] == rest["lr_scale"] == 0.5


def test_lars_against_its_formula() -> None:
    torch.manual_seed(0)
    weight, bias = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(3))
    w, b, m_w, m_b = weight.detach().clone(), bias.detach().clone(), torch.zeros(3, 2), torch.zeros(3)
    optimizer = LARS([weight, bias], lr=0.1, momentum=0.9, weight_decay=0.01, trust=0.02, clip=False)
    for _ in range(3):
        gw, gb = torch.randn(3, 2), torch.randn(3)
        weight.grad, bias.grad = gw.clone(), gb.clone()
        optimizer.step()
        gw, gb = gw + 0.01 * w, gb + 0.01 * b
        rate = 0.02 * math.sqrt(w.square().sum()) / math.sqrt(gw.square().sum())
        m_w, m_b = 0.9 * m_w + 0.1 * rate * gw, 0.9 * m_b + 0.1 * gb
        w, b = w - m_w, b - m_b
    assert torch.allclose(weight, w, atol=1e-6)
    assert torch.allclose(bias, b, atol=1e-6)


def test_clipped_lars_takes_steps_of_sgd_where_gradients_are_small() -> None:
    large, small = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    large.grad, small.grad = torch.full((2, 2), 10.0), torch.full((2, 2), 0.001)
    LARS([large, small], lr=0.1, momentum=0.0, weight_decay=0.0, trust=0.02, clip=True).step()
    assert torch.allclose(large, torch.full((2, 2), 1 - 0.02))  # trust |w| along the gradient
    assert torch.allclose(small, torch.full((2, 2), 1 - 0.1 * 0.001))


def test_lars_leaves_zeros_alone() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    LARS([weight], lr=0.1, momentum=0.0, weight_decay=0.0, trust=0.001, clip=False).step()
    assert torch.allclose(weight, torch.full((2, 2), -0.1))  # a norm of 0 gives no ratio: a plain step


def test_a_state_of_another_layout_is_laid_out_as_its_parameter() -> None:
    """AdamW's fused kernel would else take one number's moments for another's."""
    torch.manual_seed(0)
    start, gradients = torch.randn(4, 3, 3, 3), torch.randn(2, 4, 3, 3, 3)
    ends = []
    for laid in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(start.clone(memory_format=laid))
        optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
        for gradient in gradients:
            weight.grad = gradient.to(memory_format=laid)
            optimizer.step()
            moment = optimizer.state[weight]["exp_avg"]
            optimizer.state[weight]["exp_avg"] = moment.contiguous()
            lay_out(optimizer)
        ends.append(weight.detach())
        assert optimizer.state[weight]["exp_avg"].stride() == weight.stride()
    torch.testing.assert_close(ends[0], ends[1])


def test_groups_are_split_by_the_scales_of_their_parameters() -> None:
    a, b, c = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    split = scaled_groups([{"params": [a, b, c], "lr_scale": 0.5}], {a: 0.25, c: 0.25})
    assert [(group["params"], group["lr_scale"]) for group in split] == [([a, c], 0.125), ([b], 0.5)]


def test_the_trainer_scales_the_learning_rate_by_the_batch_and_the_layer() -> None:
    words = ["dataset=fake_images", "backbone=vit_micro", "backbone.depth=2", "objective=mae", "batch_size=64"]
    config = typed(compose([*words, "trainer.accumulate=2", "trainer.lr_batch=256", "trainer.layer_decay=0.5"]))
    spec = construct.source(config)[1]
    groups = construct.optimizer(config, construct.objective(config, spec)).param_groups
    assert {group["lr_scale"] for group in groups} == {0.5 * 0.5**depth for depth in range(4)}
