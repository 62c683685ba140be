"""The bound of text by hand, its KL against torch's, annealing, and refusals."""

import math
from dataclasses import replace

import pytest
import torch
from sentences import SPEC, Words, made, padded
from special_ids import CLS, PAD
from torch.distributions import Normal, kl_divergence

from ssl_runner.interfaces import Bounds, Predicts, Writes
from ssl_runner.objectives.text_vae import Read, TextVAE

SETTINGS = {"latent": 2, "beta": 1.0, "warmup": 0.0, "word_dropout": 0.5, "decoder_dim": 5, "decoder_hidden": 7}


def vae(**changes: float) -> TextVAE:
    torch.manual_seed(0)
    return TextVAE(Words(), SPEC, **SETTINGS | changes).eval()


def test_the_loss_by_hand() -> None:
    model = vae(beta=0.7)
    batch = made([5, 2, 6, 1])
    x, y = model.split(batch)
    with torch.no_grad():
        loss = model.loss(x, y)
        code = model.code(model.encoder(x.tokens).pooled)
        nll_sum = 0.0
        for b in range(4):
            z = code[b, :2] + (code[b, 2:] / 2).exp() * x.noise[b]
            scores = model.decoder(z[None], y[b : b + 1])[0].log_softmax(1)
            nll_sum -= sum(scores[n, y[b, n + 1]].item() for n in range(7) if y[b, n + 1] != PAD)
        posterior = Normal(code[:, :2], (code[:, 2:] / 2).exp())
        each = kl_divergence(posterior, Normal(0.0, 1.0)).mean(dim=0)
    nll, kl = nll_sum / 4, each.sum().item()
    assert loss.value.item() == pytest.approx(nll + 0.7 * kl, rel=1e-5)
    assert loss.logs["elbo"].item() == pytest.approx(-(nll + kl), rel=1e-5)
    assert loss.logs["reconstruction_nll"].item() == pytest.approx(nll, rel=1e-5)
    assert loss.logs["kl"].item() == pytest.approx(kl, rel=1e-5)
    assert loss.logs["kl_greatest"].item() == pytest.approx(each.max().item(), rel=1e-5)
    words = (5 + 2 + 6 + 1 + 4) / 4  # a separator each
    assert loss.logs["perplexity_bound"].item() == pytest.approx(math.exp((nll + kl) / words), rel=1e-4)


def test_many_weights_bound_more_tightly_and_agree_with_the_elbo() -> None:
    """p(y) for one latent by quadrature."""
    model = vae(latent=1)
    x, y = model.split(made([5, 2, 6]))
    with torch.no_grad():
        grid = torch.linspace(-8, 8, 1601)
        likelihood = torch.stack([-model._nll(z.expand(3, 1), y) for z in grid]).double()
        prior = Normal(0.0, 1.0).log_prob(grid)[:, None]
        truth = (likelihood + prior).logsumexp(dim=0) + math.log(0.01)
        torch.manual_seed(1)
        weights = model.log_weights(x, y, 400).double()
        weighted = weights.logsumexp(dim=0) - math.log(400)
        elbo = torch.stack([model.loss(x._replace(noise=torch.randn(3, 1)), y).logs["elbo"] for _ in range(400)])
    assert weights.shape == (400, 3)
    torch.testing.assert_close(weighted, truth, atol=0.05, rtol=0)
    assert (weights.mean(dim=0) < truth).all()
    assert weights.mean().item() == pytest.approx(elbo.mean().item(), abs=0.1)
    mean, deviation = model.posterior(x)
    torch.testing.assert_close(mean, model.encode(x))
    assert (deviation > 0).all()


def test_padding_changes_nothing() -> None:
    model = vae()
    x, y = model.split(made([5, 2, 6]))
    with torch.no_grad():
        torch.testing.assert_close(
            model.loss(Read(padded(x.tokens, 3), x.noise), padded(y, 3)).value, model.loss(x, y).value
        )


def test_the_weight_rises_to_beta() -> None:
    model = vae(beta=4.0, warmup=0.25)
    seen = [model.weight.item()]
    for progress in (0.0, 0.125, 0.25, 0.9):
        model.after_step([None], progress)
        seen.append(model.weight.item())
    assert seen == [0, 0, 2, 4, 4]
    assert vae(beta=4.0).weight.item() == 4
    assert "weight" in model.state_dict()


def test_a_code_that_says_nothing_is_seen() -> None:
    model = vae()
    with torch.no_grad():
        model.code.weight.zero_()
        model.code.bias.zero_()
    logs = model.loss(*model.split(made([5, 2, 6]))).logs
    assert logs["kl"].item() == logs["active_units"].item() == 0
    assert logs["kl"].item() < model.floors["kl"]


def test_shuffling_asks_for_another_sentence_of_the_same_code() -> None:
    model = vae()
    x, y = model.split(made([6] * 5))
    same, other = model.shuffle(x, y)
    assert same is x
    assert not (other == y).all(dim=1).any()
    assert sorted(other.tolist()) == sorted(y.tolist())


def test_what_likelihoods_are_of_is_said() -> None:
    """Nats of a text are those of its tokens: other tokens, other numbers."""
    density = vae().density()
    assert density["family"] == "categorical"
    assert vae(latent=3).density() == density
    other = TextVAE(Words(), replace(SPEC, tokenizer="{}"), **SETTINGS).density()
    assert {key for key in density if density[key] != other[key]} == {"tokenizer"}


def test_what_it_offers() -> None:
    model = vae()
    assert all(isinstance(model, each) for each in (Writes, Bounds, Predicts))
    x, y = model.split(made([5, 2, 6]))
    with torch.no_grad():
        assert torch.equal(model.predict(x), model.write(model.encode(x)))
        assert model.predict(x).shape == y.shape
    assert (model.predict(x)[:, 0] == CLS).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"latent": 0}, "objective.latent is 0"),
        ({"beta": math.nan}, "objective.beta is nan"),
        ({"warmup": 1.5}, "objective.warmup is 1.5"),
        ({"word_dropout": -0.1}, "objective.word_dropout is -0.1"),
    ],
)
def test_refusals(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        vae(**wrong)
