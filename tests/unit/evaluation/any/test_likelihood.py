import math

import pytest
import torch
from findings import metric, value
from scipy.stats import norm
from special_ids import CLS, PAD, SEP, UNK
from torch import Tensor

from ssl_runner.evaluation.any.likelihood import Likelihood, importance_weighted, perplexities
from ssl_runner.interfaces import Batch, Loss, Objective, TextSpec


class Sums(Objective[Tensor, Tensor]):
    """y ~ N(z, 1), z ~ N(0, 1), so that log p(y) and the posterior N(y / 2, 1 / 2) are known; y is the label.

    The posterior that it uses is moved by `off`; a second latent is as the prior.
    """

    def __init__(self, off: float) -> None:
        super().__init__()
        self.off = off

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.label.float(), batch.label.float()

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        return Loss(x.sum())

    def density(self) -> dict[str, object]:
        return {"family": "gaussian", "deviation": 1.0}

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.stack([x / 2 + self.off, torch.zeros_like(x)], dim=1)
        return mean, torch.tensor([0.5**0.5, 1.0]).expand_as(mean)

    def log_weights(self, x: Tensor, y: Tensor, samples: int) -> Tensor:
        mean, deviation = (each[:, 0] for each in self.posterior(x))
        z = mean + deviation * torch.randn(samples, len(y))
        normal = torch.distributions.Normal
        return normal(0.0, 1.0).log_prob(z) + normal(z, 1.0).log_prob(y) - normal(mean, deviation).log_prob(z)


def truth(table) -> float:
    return norm(0, math.sqrt(2)).logpdf(table.examples("test").label.numpy()).mean()


def test_with_the_true_posterior_all_bounds_are_the_truth(subject, table) -> None:
    found = Likelihood(samples=3, examples=100, batch_size=7)(Sums(0.0), subject("label"))
    assert value(found, "elbo") == pytest.approx(truth(table), abs=1e-5)
    assert value(found, "importance_weighted") == pytest.approx(truth(table), abs=1e-5)


def test_with_another_the_elbo_is_below_and_many_samples_come_close(subject, table) -> None:
    found = Likelihood(samples=2000, examples=100, batch_size=16)(Sums(0.5), subject("label"))
    gap = 0.5**2 / (2 * 0.5)  # KL between two normals of one variance, 1 / 2
    assert value(found, "elbo") == pytest.approx(truth(table) - gap, abs=0.02)
    assert value(found, "importance_weighted") == pytest.approx(truth(table), abs=0.01)
    one = Likelihood(samples=1, examples=100, batch_size=16)(Sums(0.5), subject("label"))
    assert value(one, "elbo") == pytest.approx(value(one, "importance_weighted"))


def test_kl_and_units_in_use(subject, table) -> None:
    found = Likelihood(samples=1, examples=100, batch_size=16)(Sums(0.0), subject("label"))
    means = table.examples("test").label.double() / 2
    expected = (means.square() + 0.5 - 1 - math.log(0.5)).mean().item() / 2
    assert value(found, "kl") == pytest.approx(expected, rel=1e-5)
    assert value(found, "active_units") == 1
    curve = found.figures["KL by latent"]
    assert list(curve.x) == [1, 2]
    assert curve.y["KL"] == pytest.approx([expected, 0], rel=1e-5)


def test_importance_weighted_by_hand() -> None:
    weights = torch.tensor([[1.0, 2.0], [3.0, 2.0]]).log()
    assert importance_weighted(weights).tolist() == pytest.approx([math.log(2), math.log(2)])


def test_fewer_examples(subject) -> None:
    assert (
        Likelihood(samples=1, examples=5, batch_size=3)(Sums(0.0), subject("label")).protocol.measured["val examples"]
        == 5
    )


def test_val_beside_test_and_what_the_density_is(subject, table) -> None:
    found = Likelihood(samples=3, examples=100, batch_size=7)(Sums(0.0), subject("label"))
    val = norm(0, math.sqrt(2)).logpdf(table.examples("val").label.numpy()).mean()
    assert value(found, "elbo", "val") == pytest.approx(val, abs=1e-5)
    assert metric(found, "elbo").headline
    assert found.protocol.terms["density"] == {"family": "gaussian", "deviation": 1.0}


def test_perplexities_of_text_by_hand() -> None:
    """Seven tokens after the first ones, ends among them; of the other five one goes on with a word."""
    spec = TextSpec(length=6, vocabulary=10, starts=(True,) * 9 + (False,))
    texts = torch.tensor([[CLS, 7, 9, 8, SEP, PAD], [CLS, UNK, 7, SEP, PAD, PAD]])
    found = perplexities(28 * math.log(2), texts, spec)
    assert found == pytest.approx({"perplexity_bound": 2**4, "perplexity_bound_word": 2**7})
    assert "perplexity_bound_word" not in perplexities(1.0, texts, TextSpec(length=6, vocabulary=10))


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"examples": 1}, {"batch_size": 0}], ids=str)
def test_refusals(wrong) -> None:
    with pytest.raises(ValueError, match=rf"evaluation\.likelihood\.{next(iter(wrong))} is"):
        Likelihood(**{"samples": 2, "examples": 10, "batch_size": 3} | wrong)
