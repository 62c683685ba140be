"""KL and densities against torch.distributions and scipy; the reparameterized gradient against two others."""

import pytest
import torch
from scipy.stats import norm
from torch.distributions import Normal, kl_divergence

from ssl_runner.losses.variational import gaussian_kl, gaussian_nll, reparameterized


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_kl_by_hand_and_against_torch() -> None:
    # variance e^2: (0 + e^2 - 1 - 2) / 2
    by_hand = gaussian_kl(torch.tensor([0.0, 3.0, 0.0]), torch.tensor([0.0, 0.0, 2.0]))
    assert by_hand.tolist() == pytest.approx([0, 4.5, (7.38905609893 - 3) / 2])
    mean, log_variance = draw(5, 3, seed=0), draw(5, 3, seed=1)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected)


def test_kl_near_the_prior_is_not_lost_to_rounding() -> None:
    """x^2 / 4 for a log variance of x: about 2.5e-9 for 1e-4, where exp(x) - 1 - x would be rounding alone."""
    assert gaussian_kl(torch.tensor(0.0), torch.tensor(1e-4)).item() == pytest.approx(2.5e-9, rel=0.01)


def test_nll_against_scipy() -> None:
    mean, target, log_variance = (draw(4, 3, seed=seed) for seed in range(3))
    expected = -norm(mean.numpy(), (log_variance / 2).exp().numpy()).logpdf(target.numpy())
    torch.testing.assert_close(gaussian_nll(mean, target, log_variance), torch.from_numpy(expected))
    one = gaussian_nll(mean, target, torch.tensor(0.1).double().log() * 2)
    torch.testing.assert_close(one, torch.from_numpy(-norm(mean.numpy(), 0.1).logpdf(target.numpy())))


def test_half_precision_is_computed_in_float32() -> None:
    half = torch.ones(3, dtype=torch.bfloat16)
    assert all(f(half, half, half).dtype == torch.float32 for f in (gaussian_nll, reparameterized))
    assert gaussian_kl(half, half).dtype == torch.float32


def test_the_reparameterized_gradient_is_the_score_functions_and_the_exact_one() -> None:
    """E f(z) of f(z) = z^3 + 2 z under N(m, s^2) is m^3 + 3 m s^2 + 2 m: its gradients in m and log s^2 are known."""
    draws = 400_000
    m, v = torch.tensor(0.6, dtype=torch.float64), torch.tensor(-0.8, dtype=torch.float64)  # v: log s^2
    exact = torch.stack([3 * m**2 + 3 * v.exp() + 2, 3 * m * v.exp()])

    def f(z: torch.Tensor) -> torch.Tensor:
        return z**3 + 2 * z

    noise = draw(draws, seed=0)
    mean, log_variance = (p.expand(draws).clone().requires_grad_() for p in (m, v))
    by_path = torch.stack(
        torch.autograd.grad(f(reparameterized(mean, log_variance, noise)).sum(), (mean, log_variance))
    )

    z = reparameterized(m, v, draw(draws, seed=1))
    log_density = -gaussian_nll(mean, z, log_variance)
    score = torch.stack(torch.autograd.grad(log_density.sum(), (mean, log_variance)))
    by_score = (f(z) - f(m)) * score  # a baseline: less noise, the same mean

    for each in (by_path, by_score):
        error = each.std(dim=1) / draws**0.5
        assert ((each.mean(dim=1) - exact).abs() < 4 * error).all()
        assert (error < 0.02 * exact).all()  # so that the test can fail
    assert (by_path.std(dim=1) < by_score.std(dim=1)).all()
