"""Gaussian mixtures against scikit-learn, on the same data from the same start; and what theory says of the bounds."""

import itertools
import warnings
from typing import Any, Literal

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import normalized_mutual_info_score
from sklearn.mixture import BayesianGaussianMixture
from sklearn.mixture import GaussianMixture as SkLearnMixture
from torch import Tensor

from ssl_runner.backbones.mixture import Mixture, MixtureNetwork
from ssl_runner.interfaces import Batch, ImageSpec, MixtureEncoder, VectorSpec
from ssl_runner.losses.inference import EM, Amortized, BlackBox, Inference, MeanField, drawn
from ssl_runner.losses.score_function import score_surrogate
from ssl_runner.nn.gaussian_mixture import clustered
from ssl_runner.objectives.gaussian_mixture import LLOYD, GaussianMixture

IRIS = torch.tensor(load_iris().data, dtype=torch.float32)
CLASSES = load_iris().target
STEPS = 25
FLOOR = 1e-6
PLAIN = MeanField(concentration=None, strength=1.0, degrees=None)
Covariance = Literal["full", "diagonal"]


def batch_of(x: Tensor) -> Batch:
    return Batch(x[:, None], torch.zeros(len(x)).long(), torch.arange(len(x)))


def objective(inference: Inference, covariance: Covariance, components: int = 3, rate: float = 1.0) -> GaussianMixture:
    torch.manual_seed(0)
    spec = VectorSpec(count=1, width=4, size=len(IRIS))
    encoder: MixtureEncoder
    if inference.exact:
        encoder = Mixture(spec, components=components, covariance=covariance)
    else:
        encoder = MixtureNetwork(spec, components=components, covariance=covariance, widths=[16])
    return GaussianMixture(encoder, spec, inference=inference, floor=FLOOR, rate=rate, decay=0.0)


def fitted(made: GaussianMixture, steps: int = STEPS) -> tuple[dict[str, list[float]], Tensor]:
    """The logs of each step, and the clusters at the start."""
    logs: dict[str, list[float]] = {}
    start = torch.empty(0)
    for _ in range(steps):
        x, y = made.split(batch_of(IRIS))
        if not logs:
            first = IRIS[x.uniform[:, -1].argsort(stable=True)[: made.encoder.dim]]
            start = clustered(IRIS, first, LLOYD)
        found = made.loss(x, y)
        for name, value in found.logs.items():
            logs.setdefault(name, []).append(value.item())
        made.after_step([found.carry], 0.5)
    return logs, start


def theirs(kind: Any, covariance: str, start: Tensor, **more: Any) -> Any:
    """scikit-learn's, after as many steps from the same responsibilities."""
    kinds = {"diagonal": "diag", "full": "full"}
    settings = {"covariance_type": kinds[covariance], "reg_covar": FLOOR, "tol": 0.0, "max_iter": STEPS - 1} | more
    reference = kind(n_components=3, **settings)
    begin = start.double().numpy()
    reference._initialize_parameters = lambda data, *_, **__: reference._initialize(data, begin)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return reference.fit(IRIS.double().numpy())


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_em_is_that_of_scikit_learn(covariance: Covariance) -> None:
    made = objective(EM(), covariance)
    logs, start = fitted(made)
    reference = theirs(SkLearnMixture, covariance, start)
    assert logs["log_p"][-1] == pytest.approx(reference.lower_bound_, abs=1e-4)
    # one more M-step than scikit-learn's last bound
    torch.testing.assert_close(made.encoder.means, torch.tensor(reference.means_).float(), atol=1e-3, rtol=1e-3)
    ours = made.encoder(IRIS[:, None]).pooled.argmax(dim=1)
    nmi = [normalized_mutual_info_score(CLASSES, labels) for labels in (ours, reference.predict(IRIS.double().numpy()))]
    assert nmi[0] == pytest.approx(nmi[1], abs=1e-6)


def test_variational_bayes_is_that_of_scikit_learn() -> None:
    """Of full covariances: of diagonal ones its expectation of the log precision is that of a full one. Its bound
    leaves out constants; tests/unit/nn compares ours with the evidence."""
    made = objective(PLAIN, "full")
    _, start = fitted(made)
    reference = theirs(BayesianGaussianMixture, "full", start, weight_concentration_prior_type="dirichlet_distribution")
    torch.testing.assert_close(made.encoder.means, torch.tensor(reference.means_).float(), atol=2e-3, rtol=2e-3)
    data = IRIS.double().numpy()
    ours = made.encoder(IRIS[:, None]).pooled
    np.testing.assert_allclose(ours.numpy(), reference.predict_proba(data), atol=5e-3)
    joint = made.encoder.log_joint(IRIS[:, None]).logsumexp(dim=1).mean().item()
    assert joint == pytest.approx(reference.score(data), abs=1e-3)
    nmi = [normalized_mutual_info_score(CLASSES, labels) for labels in (ours.argmax(dim=1), reference.predict(data))]
    assert nmi[0] == pytest.approx(nmi[1], abs=1e-6)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize(("inference", "log"), [(EM(), "log_p"), (PLAIN, "evidence_bound")], ids=["em", "mean_field"])
def test_the_logged_bound_never_falls(inference: Inference, log: str, covariance: Covariance) -> None:
    values = fitted(objective(inference, covariance))[0][log][1:]  # from the first parameters of data on
    assert all(later >= earlier - 2e-6 for earlier, later in itertools.pairwise(values))
    assert values[-1] > values[0] + 0.01


@pytest.mark.parametrize("inference", [EM(), PLAIN, Amortized(), BlackBox(samples=4, control_variate=True)])
def test_log_p_is_the_bound_and_the_divergence(inference: Inference) -> None:
    made = objective(inference, "full")
    logs, _ = fitted(made, 5)
    for log_p, elbo, kl in zip(logs["log_p"], logs["elbo"], logs["kl_to_posterior"], strict=True):
        assert log_p == pytest.approx(elbo + kl, abs=1e-4)
        assert kl > -1e-5
    assert (logs["kl_to_posterior"][-1] < 1e-5) == isinstance(inference, EM)


def test_a_network_comes_near_to_the_posterior() -> None:
    """Its gap closes as its gradient is followed, and the mixture is far better than one component."""
    made = objective(Amortized(), "full", rate=0.05)
    optimizer = torch.optim.Adam(made.encoder.parameters(), lr=0.02)
    found = []
    for _ in range(150):
        loss = made.loss(*made.split(batch_of(IRIS)))
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        made.after_step([loss.carry], 0.5)
        found.append(loss.logs)
    assert found[-1]["kl_to_posterior"] < 0.02 < 10 < found[1]["kl_to_posterior"]
    one = fitted(objective(EM(), "full", components=1), 5)[0]["log_p"][-1]
    assert found[-1]["log_p"].item() > one + 0.5


def test_smaller_batches_come_near_to_em() -> None:
    torch.manual_seed(0)
    spec = VectorSpec(count=1, width=4, size=len(IRIS))
    made = GaussianMixture(
        Mixture(spec, components=2, covariance="full"), spec, inference=EM(), floor=FLOOR, rate=1.0, decay=0.6
    )
    for _ in range(100):
        rows = torch.randperm(len(IRIS))[:50]
        made.after_step([made.loss(*made.split(batch_of(IRIS[rows]))).carry], 0.5)
    whole = made.loss(*made.split(batch_of(IRIS))).logs["log_p"].item()
    best = fitted(objective(EM(), "full", components=2))[0]["log_p"][-1]
    assert whole == pytest.approx(best, abs=0.1)


def test_the_score_function_has_the_gradient_of_the_sum() -> None:
    """In expectation; with control variates its variance is less."""
    torch.manual_seed(0)
    logits = torch.randn(1, 3, dtype=torch.float64, requires_grad=True)
    value = torch.tensor([[10.0, 11.0, 13.0]]).double()
    (exact,) = torch.autograd.grad((logits.softmax(dim=1) * value).sum(), logits)
    spread = []
    for baseline in (False, True):
        log_q = logits.log_softmax(dim=1).expand(20000, -1)
        k = drawn(log_q.detach(), torch.rand(20000, 4))
        each = score_surrogate(log_q.gather(1, k).T, value.expand(20000, -1).gather(1, k).T, baseline=baseline)
        (found,) = torch.autograd.grad(each.sum(), logits, retain_graph=True)
        rows = torch.autograd.grad(each[:200].sum(), log_q)[0][:200]
        spread.append(rows.var(dim=0).sum().item())
        torch.testing.assert_close(found / 20000, exact, atol=0.15, rtol=0.05)
    assert spread[1] < 0.1 * spread[0]


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_half_precision_of_training_changes_no_moment(covariance: Covariance) -> None:
    found = []
    for half in (False, True):
        made = objective(EM(), covariance)
        for _ in range(3):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = made.loss(*made.split(batch_of(IRIS)))
            made.after_step([loss.carry], 0.5)
        found.append(made.encoder.factors)
    torch.testing.assert_close(*found)


def test_draws_are_by_their_probability() -> None:
    log_q = torch.tensor([[0.2, 0.5, 0.3]]).log()
    uniform = torch.tensor([[0.0, 0.19, 0.21, 0.69, 0.71, 0.9999999]])
    assert drawn(log_q, uniform).tolist() == [[0, 0, 1, 1, 2, 2]]


def test_of_images_the_density_is_of_the_pixels_as_they_are() -> None:
    """Normalizing changes log p by the logarithm of the scale."""
    spec = ImageSpec(channels=1, height=2, width=2, size=40)
    x = torch.rand(40, 1, 2, 2)
    batch = Batch(x, torch.zeros(40).long(), torch.arange(40))
    found = []
    for scale in (1.0, 0.3):
        torch.manual_seed(0)
        encoder = Mixture(spec, components=1, covariance="full")
        encoder.normalize.fit(torch.tensor([0.5]), torch.tensor([scale]))
        made = GaussianMixture(encoder, spec, inference=EM(), floor=1e-9, rate=1.0, decay=0.0)
        for _ in range(3):
            made.after_step([made.loss(*made.split(batch)).carry], 0.5)
        found.append(made.loss(*made.split(batch)).logs["log_p"].item())
        torch.testing.assert_close(made.predict(made.split(batch)[0])[0], x.mean(dim=0), atol=1e-4, rtol=1e-3)
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_a_component_that_shrinks_to_a_point_is_below_the_floor_of_a_collapse() -> None:
    spec = VectorSpec(count=1, width=4, size=30)
    far = torch.cat((torch.randn(29, 4), torch.full((1, 4), 50.0)))
    made = GaussianMixture(
        Mixture(spec, components=2, covariance="full"), spec, inference=EM(), floor=1e-4, rate=1.0, decay=0.0
    )
    for _ in range(6):
        found = made.loss(*made.split(batch_of(far)))
        made.after_step([found.carry], 0.5)
    assert found.logs["variance_over_floor"] < made.floors["variance_over_floor"]
    assert torch.isfinite(found.value)
    assert "objective.floor" in made.collapse


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"components": 0}, r"backbone\.components is 0"),
        ({"components": 200}, r"200, and there are 150 examples"),
        ({"floor": 0.0}, r"objective\.floor"),
        ({"rate": 0.0}, r"objective\.rate"),
        ({"decay": 1.5}, r"objective\.decay"),
        ({"inference": Amortized()}, "set backbone=mixture_network"),
    ],
)
def test_what_is_refused(change: dict[str, Any], said: str) -> None:
    settings: dict[str, Any] = {"components": 3, "floor": 1e-6, "rate": 1.0, "decay": 0.0, "inference": EM()} | change
    spec = VectorSpec(count=1, width=4, size=150)
    with pytest.raises(ValueError, match=said):
        GaussianMixture(Mixture(spec, components=settings.pop("components"), covariance="full"), spec, **settings)


def test_a_first_batch_of_fewer_examples_than_components_is_refused() -> None:
    made = objective(EM(), "full", components=5)
    found = made.loss(*made.split(batch_of(IRIS[:4])))
    with pytest.raises(ValueError, match="batch_size is 4"):
        made.after_step([found.carry], 0.5)


def test_refused_settings_of_inference() -> None:
    with pytest.raises(ValueError, match=r"inference\.strength"):
        MeanField(concentration=None, strength=0.0, degrees=None)
    with pytest.raises(ValueError, match="at least 2: with a control variate"):
        BlackBox(samples=1, control_variate=True)
    spec = VectorSpec(count=1, width=4)
    network = MixtureNetwork(spec, components=3, covariance="full", widths=[4])
    with pytest.raises(ValueError, match="backbone=mixture"):
        GaussianMixture(network, spec, inference=EM(), floor=1.0, rate=1.0, decay=0.0)
