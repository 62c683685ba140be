"""The moments and estimates of Gaussian mixtures, against loops, torch's densities and exact integrals."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from ssl_runner.nn.gaussian_mixture import (
    Moments,
    Prior,
    factors_of,
    maximum_likelihood,
    merged,
    moments,
    quadratic,
    sums,
    variational,
)


def drawn(n: int, k: int, d: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=g).double(), torch.rand(n, k, generator=g).double().softmax(dim=1)


def of(x: Tensor, weights: Tensor, *, full: bool) -> Moments:
    center = torch.zeros(weights.shape[1], x.shape[1]).double() + 0.3
    return moments(*sums(x, weights, center, full=full), center)


def test_moments_are_those_of_a_loop() -> None:
    x, weights = drawn(7, 2, 3)
    found = of(x, weights, full=True)
    for k in range(2):
        mass = sum(weights[i, k] for i in range(7))
        mean = sum(weights[i, k] * x[i] for i in range(7)) / mass
        scatter = sum(weights[i, k] * torch.outer(x[i] - mean, x[i] - mean) for i in range(7))
        torch.testing.assert_close(found.mass[k], mass / 7)
        torch.testing.assert_close(found.mean[k], mean)
        torch.testing.assert_close(found.scatter[k], scatter / 7)
        torch.testing.assert_close(of(x, weights, full=False).scatter[k], (scatter / 7).diagonal())


@pytest.mark.parametrize("full", [True, False])
def test_two_parts_are_merged_to_the_whole(full: bool) -> None:
    x, weights = drawn(9, 2, 3)
    parts = [of(x[rows], weights[rows], full=full) for rows in (slice(3), slice(3, 9))]
    for whole, both in zip(of(x, weights, full=full), merged(parts[0], parts[1], 6 / 9), strict=True):
        torch.testing.assert_close(both, whole)


@pytest.mark.parametrize("full", [True, False])
def test_densities_are_those_of_torch(full: bool) -> None:
    x, weights = drawn(30, 2, 3)
    found = of(x, weights, full=full)
    fitted = maximum_likelihood(found, 0.01)
    joint = fitted.bias - 0.5 * quadratic(x, fitted.means, fitted.factors)
    for k in range(2):
        covariance = found.scatter[k] / found.mass[k]
        covariance = (covariance if full else torch.diag(covariance)) + 0.01 * torch.eye(3).double()
        expected = MultivariateNormal(found.mean[k], covariance).log_prob(x) + found.mass[k].log()
        torch.testing.assert_close(joint[:, k], expected)


@pytest.mark.parametrize("full", [True, False])
def test_of_one_component_the_bound_is_the_evidence(full: bool) -> None:
    """log p(all x) of a normal-Wishart model has a closed form: Murphy 2007, "Conjugate Bayesian analysis of the
    Gaussian distribution", equation 266."""
    x, _ = drawn(12, 1, 3)
    prior = Prior(0.5, 2.0, 5.0, torch.ones(3).double(), torch.eye(3).double() if full else torch.ones(3).double())
    fitted = variational(of(x, torch.ones(12, 1).double(), full=full), 12, prior, 0.0)
    bound = (fitted.bias - 0.5 * quadratic(x, fitted.means, fitted.factors)).sum() - fitted.penalty
    if full:
        expected = evidence(x, prior.mean, prior.covariance, 2.0, 5.0)
    else:
        expected = sum(evidence(x[:, [d]], prior.mean[[d]], torch.eye(1).double(), 2.0, 5.0) for d in range(3))
    assert bound.item() == pytest.approx(expected, rel=1e-9)


def evidence(x: Tensor, mean: Tensor, inverse_scale: Tensor, strength: float, degrees: float) -> float:
    n, d = x.shape
    apart = x - x.mean(dim=0)
    pulled = torch.outer(x.mean(dim=0) - mean, x.mean(dim=0) - mean) * strength * n / (strength + n)
    after = inverse_scale + apart.T @ apart + pulled
    gammas = torch.mvlgamma(torch.tensor((degrees + n) / 2).double(), d) - torch.mvlgamma(
        torch.tensor(degrees / 2).double(), d
    )
    scales = degrees / 2 * inverse_scale.logdet() - (degrees + n) / 2 * after.logdet()
    return float(gammas + scales + d / 2 * math.log(strength / (strength + n)) - n * d / 2 * math.log(math.pi))


def test_a_matrix_that_is_not_positive_definite_gives_the_factors_of_its_diagonal() -> None:
    singular = torch.tensor([[[1.0, 2.0], [2.0, 1.0]], [[4.0, 0.0], [0.0, 1.0]]])
    torch.testing.assert_close(factors_of(singular), torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.0], [0.0, 1.0]]]))
