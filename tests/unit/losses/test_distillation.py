"""Cosine and spread against cases worked by hand and a loop."""

import math

import pytest
import torch

from ssl_runner.losses.distillation import cosine, cross_view_entropy, entropy, output_std


def test_cosines_worked_by_hand() -> None:
    a = torch.tensor([[3.0, 4.0], [1.0, 0.0], [2.0, 2.0]])
    b = torch.tensor([[4.0, 3.0], [-5.0, 0.0], [1.0, -1.0]])
    torch.testing.assert_close(cosine(a, b), torch.tensor([0.96, -1.0, 0.0]))


def test_two_less_two_cosines_is_the_squared_distance_of_directions() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 7, 5, dtype=torch.float64)
    for i in range(7):
        distance = sum((a[i, j] / a[i].norm() - b[i, j] / b[i].norm()) ** 2 for j in range(5))
        assert 2 - 2 * cosine(a, b)[i].item() == pytest.approx(distance.item(), rel=1e-12)


def test_half_precision_is_widened() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cosine(torch.randn(2, 3).bfloat16(), torch.randn(2, 3).bfloat16()).dtype == torch.float32


def test_the_spread_of_one_direction_is_zero_whatever_its_lengths() -> None:
    z = torch.tensor([[1.0, 2.0, 2.0]]) * torch.tensor([[1.0], [5.0], [0.1]])
    assert output_std(z).item() == pytest.approx(0, abs=1e-6)


def test_the_spread_of_random_directions_is_one() -> None:
    torch.manual_seed(0)
    assert output_std(torch.randn(20_000, 16)).item() == pytest.approx(1, abs=0.01)


def test_the_spread_against_a_loop() -> None:
    torch.manual_seed(1)
    z = torch.randn(6, 3, dtype=torch.float64) + 1
    total = 0.0
    for j in range(3):
        column = [float(z[i, j] / z[i].norm()) for i in range(6)]
        mean = sum(column) / 6
        total += math.sqrt(sum((each - mean) ** 2 for each in column) / 6)
    assert output_std(z).item() == pytest.approx(math.sqrt(3) * total / 3, rel=1e-12)


def test_the_spread_has_no_gradient() -> None:
    assert not output_std(torch.randn(4, 2, requires_grad=True)).requires_grad


def test_cross_view_entropy_is_the_mean_over_pairs_of_different_views() -> None:
    torch.manual_seed(2)
    target = torch.rand(2, 3, 5, dtype=torch.float64).softmax(-1)
    log_p = torch.randn(4, 3, 5, dtype=torch.float64).log_softmax(-1)
    terms = [
        -sum(target[v, i, k].item() * log_p[w, i, k].item() for k in range(5))
        for v in range(2)
        for w in range(4)
        for i in range(3)
        if v != w
    ]
    assert len(terms) == 2 * 3 * 3
    assert cross_view_entropy(target, log_p).item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_cross_view_entropy_of_views_that_agree_is_their_entropy() -> None:
    p = torch.tensor([0.5, 0.25, 0.25]).expand(3, 4, 3)
    assert cross_view_entropy(p[:2], p.log()).item() == pytest.approx(1.5 * math.log(2))
    assert entropy(p).item() == pytest.approx(1.5 * math.log(2))


def test_the_entropy_of_a_certain_answer_is_zero() -> None:
    assert entropy(torch.eye(3)).item() == 0
    assert entropy(torch.full((2, 2, 4), 0.25)).item() == pytest.approx(math.log(4))
