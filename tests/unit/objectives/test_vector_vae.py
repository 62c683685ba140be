"""VAE of vectors: what its bound leaves, where log p and the posterior are known."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from ssl_runner.backbones.mlp import VectorMLP
from ssl_runner.data.vectors.linear_gaussian import LinearGaussian
from ssl_runner.interfaces import Batch, VectorSpec
from ssl_runner.losses.posteriors import Gaussian, Mixture, PerExample, Posterior, ScoreFunction, normal
from ssl_runner.nn.linear_gaussian import log_density, posterior
from ssl_runner.objectives.vector_vae import VectorVAE

SETTINGS: dict[str, Any] = {
    "examples": 1200, "test_examples": 400, "width": 6, "latent": 3, "length": 1.0, "correlation": 0.7,
    "deviation": 0.5, "val_fraction": 0.1, "seed": 0,
}  # fmt: skip
DATA = LinearGaussian(**SETTINGS)
FAMILIES = [
    Gaussian(), ScoreFunction(samples=4, control_variate=True), PerExample(steps=4, rate=0.05), Mixture(components=3)
]  # fmt: skip


def made(family: Posterior, **changes: Any) -> VectorVAE:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "latent": 3, "decoder": "known", "decoder_widths": [], "deviation": 0.5, "beta": 1.0, "warmup": 0.0
    }  # fmt: skip
    spec = changes.pop("spec", DATA.spec)
    return VectorVAE(VectorMLP(spec, widths=[32]), spec, posterior=family, **(settings | changes))


def batch(n: int = 64) -> Batch:
    data = DATA.load()["train"].data[:n]
    return Batch(data, torch.zeros(n).long(), torch.arange(n))


def truth() -> tuple[Tensor, Tensor, float]:
    model = DATA.spec.linear
    assert model is not None
    return torch.tensor(model.loadings).double(), torch.tensor(model.mean).double(), model.deviation


def test_density_and_posterior_are_those_of_the_joint_normal() -> None:
    loadings, mean, deviation = truth()
    x = batch(5).data[:, 0].double()
    covariance = loadings @ loadings.T + deviation**2 * torch.eye(6).double()
    torch.testing.assert_close(
        log_density(x, loadings, mean, deviation), MultivariateNormal(mean, covariance).log_prob(x)
    )
    center, precision = posterior(x, loadings, mean, deviation)
    gain = loadings.T @ covariance.inverse()  # Kalman's form of the same
    torch.testing.assert_close(center, (x - mean) @ gain.T)
    torch.testing.assert_close(precision.inverse(), torch.eye(3).double() - gain @ loadings)
    z = torch.randn(5, 3).double()
    torch.testing.assert_close(
        normal(z, center, precision), MultivariateNormal(center, precision_matrix=precision).log_prob(z)
    )


def test_the_data_have_these_moments() -> None:
    loadings, mean, deviation = truth()
    many = LinearGaussian(**(SETTINGS | {"examples": 40000})).load()["train"].data[:, 0].double()
    torch.testing.assert_close(many.mean(dim=0), mean, atol=0.03, rtol=0)
    covariance = loadings @ loadings.T + deviation**2 * torch.eye(6).double()
    torch.testing.assert_close(many.T.cov(), covariance, atol=0.05, rtol=0)
    cosines = torch.nn.functional.normalize(loadings, dim=0)
    torch.testing.assert_close(cosines.T @ cosines, 0.7 * torch.ones(3, 3).double() + 0.3 * torch.eye(3).double())


@pytest.mark.parametrize("family", FAMILIES, ids=lambda each: type(each).__name__)
def test_log_p_is_the_bound_and_the_divergence(family: Posterior) -> None:
    objective = made(family)
    x, y = objective.split(batch())
    with torch.inference_mode():
        parts = objective.decompose(x, y, 3)
        torch.testing.assert_close(parts.log_p, parts.elbo + parts.kl, atol=1e-4, rtol=1e-5)
    loadings, mean, deviation = truth()
    torch.testing.assert_close(parts.log_p.double(), log_density(y[:, 0].double(), loadings, mean, deviation),
                               atol=1e-5, rtol=1e-5)  # fmt: skip
    with torch.no_grad():
        logs = objective.loss(x, y).logs
    assert logs["log_p"].item() == pytest.approx(parts.log_p.mean().item(), abs=1e-3)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda each: type(each).__name__)
def test_the_bound_of_a_step_and_the_divergence_are_estimates_of_the_same(family: Posterior) -> None:
    """Over many draws."""
    objective = made(family)
    found = []
    with torch.no_grad():
        for _ in range(60):
            logs = objective.loss(*objective.split(batch(200))).logs
            found.append([logs[name].item() for name in ("log_p", "elbo", "kl_to_posterior")])
    log_p, elbo, kl = torch.tensor(found).mean(dim=0).tolist()
    assert log_p == pytest.approx(elbo + kl, rel=0.03)


def test_a_diagonal_normal_leaves_the_gap_that_theory_says() -> None:
    """The best one has the posterior's mean and the inverse of the diagonal of its precision."""
    objective = made(Gaussian())
    x, y = objective.split(batch())
    center, precision = posterior(y.flatten(1), *objective._model())
    code = torch.cat((center, -precision.diagonal().log().expand_as(center)), dim=1)
    gap = objective.posterior_family.divergence(code, x.noise, center, precision)
    expected = 0.5 * (precision.diagonal().log().sum() - precision.logdet())
    torch.testing.assert_close(gap, expected.expand_as(gap), atol=1e-4, rtol=1e-4)
    s = (1.0 / 0.5) ** 2
    correlation = s * 0.7 / (1 + s)
    closed = -0.5 * math.log((1 - correlation) ** 2 * (1 + 2 * correlation))
    assert expected.item() == pytest.approx(closed, abs=1e-4)


def test_steps_for_each_example_close_the_gap_of_the_network() -> None:
    family = PerExample(steps=60, rate=0.2)
    objective = made(family)
    x, y = objective.split(batch())
    center, precision = posterior(y.flatten(1), *objective._model())
    with torch.inference_mode():
        code = objective._code(x)
        better = family.refined(code, x.noise, y, objective._nll)
    gaps = [family.divergence(each, x.noise, center, precision).mean().item() for each in (code, better)]
    least = 0.5 * (precision.diagonal().log().sum() - precision.logdet()).item()
    assert least - 1e-4 < gaps[1] < least + 0.5 < 5 < gaps[0]


def test_the_network_gets_the_gradient_of_the_bound_at_its_proposal() -> None:
    """And the decoder that of the bound at the improved q."""
    objective = made(PerExample(steps=3, rate=0.1), decoder="learned").double()
    x, y = objective.split(batch(8))
    x, y = x._replace(vectors=x.vectors.double(), noise=x.noise.double()), y.double()
    objective.loss(x, y).value.backward()
    plain = Gaussian()
    code = objective._code(x)
    pair = [plain.bound(code, sign * x.noise[:, :1], y, objective._nll) for sign in (1, -1)]
    at_proposal = sum((each.error + each.kl).mean() / 2 for each in pair)
    (expected,) = torch.autograd.grad(at_proposal, objective.code.weight)
    torch.testing.assert_close(objective.code.weight.grad, expected)
    best = objective.posterior_family.refined(code, x.noise, y, objective._nll)
    improved = plain.bound(best, x.noise[:, -1:], y, objective._nll).error.mean()
    weight = objective.decoder[0].weight
    (expected,) = torch.autograd.grad(improved, weight)
    torch.testing.assert_close(weight.grad, expected)


def test_the_score_function_has_the_gradient_of_the_draws() -> None:
    """In expectation over many draws."""
    code = torch.tensor([[0.3, -0.2, -1.0, -0.5]], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[1.0, -1.0]]).double()

    def nll(z: Tensor, y: Tensor) -> Tensor:
        return (z - y).square().sum(dim=1)

    mean, log_variance = code.chunk(2, dim=1)
    exact = ((mean - target).square() + log_variance.exp()).sum()
    (expected,) = torch.autograd.grad(exact, code, retain_graph=True)
    noise = torch.randn(20000, 4, 2, generator=torch.Generator().manual_seed(0)).double()
    for control_variate in (True, False):
        family = ScoreFunction(samples=4, control_variate=control_variate)
        found = family.bound(code.expand(20000, -1), noise, target.expand(20000, -1), nll)
        (theirs,) = torch.autograd.grad(found.error.mean(), code, retain_graph=True)
        torch.testing.assert_close(theirs, expected, atol=0.1, rtol=0.05)
        assert found.error.mean().item() == pytest.approx(exact.item(), rel=0.02)


def test_a_mixture_of_equal_components_is_one_normal() -> None:
    mixture, plain = Mixture(components=3), Gaussian()
    code = torch.randn(5, 4)
    mean, log_variance = code.chunk(2, dim=1)
    stacked = torch.cat((mean, log_variance), dim=1).repeat(1, 3)
    whole = torch.cat((torch.randn(5, 3), stacked), dim=1)
    z = torch.randn(5, 2)
    torch.testing.assert_close(mixture.log_density(whole, z), plain.log_density(code, z))
    for ours, theirs in zip(mixture.moments(whole), plain.moments(code), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_density_of_a_mixture_integrates_to_one() -> None:
    mixture = Mixture(components=2)
    code = torch.tensor([[0.5, -0.5, -1.0, -1.0, 1.5, 0.0]])  # shares, then mean and log variance of each
    grid = torch.linspace(-12, 12, 4001)
    density = mixture.log_density(code.expand(4001, -1), grid[:, None]).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1.0, abs=1e-4)
    center, deviation = mixture.moments(code)
    assert torch.trapezoid(density * grid, grid).item() == pytest.approx(center.item(), abs=1e-3)
    assert torch.trapezoid(density * (grid - center[0]) ** 2, grid).item() == pytest.approx(
        deviation.item() ** 2, abs=1e-2
    )
    torch.manual_seed(0)
    z = mixture.draw(code.expand(20000, -1), torch.randn(20000, 1))
    assert z.mean().item() == pytest.approx(center.item(), abs=0.05)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latent": 0}, r"objective\.latent"),
        ({"deviation": 0.0}, r"objective\.deviation"),
        ({"beta": -1.0}, r"objective\.beta"),
        ({"warmup": 2.0}, r"objective\.warmup"),
        ({"decoder_widths": [0]}, r"objective\.decoder_widths"),
        ({"decoder_widths": [8]}, r"decoder_widths=\[\], not \[8\]"),
        ({"latent": 2}, r"objective\.latent=3 and objective\.deviation=0\.5"),
        ({"spec": VectorSpec(count=2, width=3)}, "dataset=linear_gaussian"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(Gaussian(), **changes)


def test_of_a_decoder_that_is_not_linear_log_p_is_unknown() -> None:
    objective = made(Gaussian(), decoder="learned", decoder_widths=[8])
    x, y = objective.split(batch(4))
    assert "log_p" not in objective.loss(x, y).logs
    with pytest.raises(ValueError, match=r"decoder_widths=\[\]"):
        objective.decompose(x, y, 2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Mixture(components=1), "at least 2"),
        (lambda: PerExample(steps=0, rate=0.1), "steps"),
        (lambda: PerExample(steps=1, rate=0.0), "rate"),
        (lambda: ScoreFunction(samples=1, control_variate=True), "control variate"),
        (lambda: LinearGaussian(**(SETTINGS | {"width": 2})), r"dataset\.width"),
        (lambda: LinearGaussian(**(SETTINGS | {"correlation": 1.0})), r"dataset\.correlation"),
        (lambda: LinearGaussian(**(SETTINGS | {"deviation": 0.0})), r"dataset\.deviation"),
        (lambda: LinearGaussian(**(SETTINGS | {"examples": 0})), r"dataset\.examples"),
        (lambda: LinearGaussian(**(SETTINGS | {"val_fraction": 1.0})), r"dataset\.val_fraction"),
    ],
)
def test_settings_that_are_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
