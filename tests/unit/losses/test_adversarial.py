"""The two players' losses by hand, against torch's own, and their gradients against separate backward passes."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssl_runner.losses.adversarial import held, judge_loss, maker_loss
from ssl_runner.nn.judge import Judge


def test_a_case_worked_by_hand() -> None:
    real, made = torch.tensor([math.log(3.0)]), torch.tensor([0.0, -math.log(4.0)])  # D = 3/4; 1/2, 1/5
    assert judge_loss(real, made).item() == pytest.approx(-math.log(3 / 4) - (math.log(1 / 2) + math.log(4 / 5)) / 2)
    assert maker_loss(made).item() == pytest.approx((math.log(1 / 2) + math.log(4 / 5)) / 2)


def test_against_torch() -> None:
    torch.manual_seed(0)
    real, made = torch.randn(9), torch.randn(9)
    expected = F.binary_cross_entropy_with_logits(real, torch.ones(9))
    expected += F.binary_cross_entropy_with_logits(made, torch.zeros(9))
    torch.testing.assert_close(judge_loss(real, made), expected)
    torch.testing.assert_close(maker_loss(made), torch.log(1 - made.sigmoid()).mean())


def test_certain_judges_stay_finite() -> None:
    made = torch.tensor([500.0, -500.0], requires_grad=True)
    maker_loss(made).backward()
    assert torch.isfinite(made.grad).all()
    assert maker_loss(made).item() == -250
    assert judge_loss(torch.tensor([-500.0]), torch.tensor([500.0])).item() == 1000


def test_a_held_judge_scores_alike_and_gets_no_gradient() -> None:
    torch.manual_seed(0)
    judge, x = Judge(1, widths=[4, 8]), torch.rand(3, 1, 8, 8, requires_grad=True)
    torch.testing.assert_close(held(judge, x), judge(x))
    held(judge, x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0
    assert all(p.grad is None and p.requires_grad for p in judge.parameters())


def test_one_backward_pass_gives_each_player_its_own_gradient() -> None:
    torch.manual_seed(0)
    maker, judge = torch.nn.Linear(4, 16).double(), Judge(1, widths=[4]).double()
    z, real = torch.randn(5, 4, dtype=torch.float64), torch.rand(5, 1, 4, 4, dtype=torch.float64)

    def made() -> torch.Tensor:
        return maker(z).view(5, 1, 4, 4)

    (maker_loss(held(judge, made())) + judge_loss(judge(real), judge(made().detach()))).backward()
    value = torch.log(judge(real).sigmoid()).mean() + torch.log(1 - judge(made()).sigmoid()).mean()  # Goodfellow, eq. 1
    down = torch.autograd.grad(value, list(maker.parameters()), retain_graph=True)
    up = torch.autograd.grad(value, list(judge.parameters()))
    for parameter, gradient in zip(maker.parameters(), down, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    for parameter, gradient in zip(judge.parameters(), up, strict=True):
        torch.testing.assert_close(parameter.grad, -gradient)
