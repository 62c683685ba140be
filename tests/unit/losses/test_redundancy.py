"""Barlow Twins and VICReg against the equations in loops, numpy, and lightly where it is installed."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_runner.losses.redundancy import EPS, barlow_twins, cross_correlation, vicreg_terms


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    a = torch.randn(9, 4, dtype=torch.float64) * 0.7 + 0.3
    return a, a + 0.5 * torch.randn(9, 4, dtype=torch.float64)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_the_correlation_against_a_double_loop(pair: tuple[Tensor, Tensor]) -> None:
    a, b = (each.tolist() for each in pair)
    found = cross_correlation(*pair)
    for i in range(4):
        for j in range(4):
            u, v = [row[i] for row in a], [row[j] for row in b]
            du, dv = [each - mean(u) for each in u], [each - mean(v) for each in v]
            scale = math.sqrt(mean([d * d for d in du]) + EPS) * math.sqrt(mean([d * d for d in dv]) + EPS)
            expected = mean([p * q for p, q in zip(du, dv, strict=True)]) / scale
            assert found[i, j].item() == pytest.approx(expected, rel=1e-12)


def test_the_correlation_is_numpys_where_variances_are_large(pair: tuple[Tensor, Tensor]) -> None:
    a, b = (1000 * each for each in pair)
    expected = np.corrcoef(a.numpy(), b.numpy(), rowvar=False)[:4, 4:]
    np.testing.assert_allclose(cross_correlation(a, b).numpy(), expected, atol=1e-9)


def test_a_dimension_without_variance_correlates_with_none_and_has_a_finite_gradient() -> None:
    a = torch.randn(5, 3)
    a[:, 1] = 2.0
    a.requires_grad_()
    correlation = cross_correlation(a, torch.randn(5, 3))
    assert torch.equal(correlation[1], torch.zeros(3))
    barlow_twins(correlation, 0.1).backward()
    assert torch.isfinite(a.grad).all()


def test_barlow_twins_against_a_double_loop(pair: tuple[Tensor, Tensor]) -> None:
    correlation = cross_correlation(*pair)
    expected = 0.0
    for i in range(4):
        for j in range(4):
            c = correlation[i, j].item()
            expected += (1 - c) ** 2 if i == j else 0.03 * c**2
    assert barlow_twins(correlation, 0.03).item() == pytest.approx(expected, rel=1e-12)


def test_the_identity_has_no_loss() -> None:
    assert barlow_twins(torch.eye(5), 0.1).item() == 0


def test_vicreg_against_loops(pair: tuple[Tensor, Tensor]) -> None:
    a, b = (each.tolist() for each in pair)
    n, d = 9, 4
    invariance = mean([(a[i][j] - b[i][j]) ** 2 for i in range(n) for j in range(d)])
    hinges, power = [], 0.0
    for z in (a, b):
        center = [mean([row[j] for row in z]) for j in range(d)]
        for j in range(d):
            for k in range(d):
                cov = sum((row[j] - center[j]) * (row[k] - center[k]) for row in z) / (n - 1)
                if j == k:
                    hinges.append(max(0.0, 1 - math.sqrt(cov + 1e-4)))
                else:
                    power += cov**2 / d
    terms = vicreg_terms(*pair)
    assert terms.invariance.item() == pytest.approx(invariance, rel=1e-12)
    assert terms.variance.item() == pytest.approx(mean(hinges), rel=1e-12)
    assert terms.covariance.item() == pytest.approx(power, rel=1e-12)


def test_vicreg_of_a_case_worked_by_hand() -> None:
    # variances (with n - 1) of the columns: 2 and 8, covariance 4; b is a shifted by (1, 0)
    a = torch.tensor([[1.0, 2.0], [3.0, 6.0]], dtype=torch.float64)
    terms = vicreg_terms(a, a + torch.tensor([1.0, 0.0]))
    assert terms.invariance.item() == 0.5
    assert terms.variance.item() == 0
    assert terms.covariance.item() == pytest.approx(2 * (2 * 4**2) / 2)


def test_collapse_costs_all_of_the_variance_and_has_a_finite_gradient() -> None:
    z = torch.ones(4, 3, requires_grad=True)
    terms = vicreg_terms(z, z)
    assert terms.variance.item() == pytest.approx(1 - 0.01)
    sum(terms).backward()
    assert torch.isfinite(z.grad).all()


def test_against_lightly(pair: tuple[Tensor, Tensor]) -> None:
    theirs = pytest.importorskip("lightly.loss")
    a, b = pair
    ours = barlow_twins(cross_correlation(a, b), 0.005).item()
    assert ours == pytest.approx(theirs.BarlowTwinsLoss(lambda_param=0.005)(a, b).item(), rel=1e-9)
    terms = vicreg_terms(a, b)
    ours = (25 * terms.invariance + 25 * terms.variance + terms.covariance).item()
    assert ours == pytest.approx(theirs.VICRegLoss()(a, b).item(), rel=1e-9)


def test_half_precision_is_widened() -> None:
    z = torch.randn(8, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cross_correlation(z, z).dtype == torch.float32
        assert all(term.dtype == torch.float32 for term in vicreg_terms(z, z))
