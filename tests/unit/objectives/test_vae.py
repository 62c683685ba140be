"""The bound by hand, annealing, and refusals."""

import math

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from ssl_runner.interfaces import Batch, Bounds, Encoder, Features, Generates, ImageSpec, Predicts, Reconstructs
from ssl_runner.losses.posteriors import Gaussian
from ssl_runner.objectives.vae import VAE, Seen

SPEC = ImageSpec(channels=1, height=4, width=4)
SETTINGS = {
    "latent": 2, "likelihood": "gaussian", "deviation": 0.5, "beta": 1.0, "warmup": 0.0, "decoder_widths": [4],
    "posterior": Gaussian(),
}  # fmt: skip
BERNOULLI = {"likelihood": "bernoulli", "deviation": None}


class Flat(Encoder):
    """The pixels themselves."""

    dim = 16

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        return Features(x.flatten(1)[:, None], x.flatten(1))


def vae(**changes: object) -> VAE:
    torch.manual_seed(0)
    return VAE(Flat(), SPEC, **(SETTINGS | changes)).eval()


def batch(n: int = 6) -> Batch:
    data = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    return Batch(data, torch.arange(n), torch.arange(n))


def test_what_likelihoods_are_of_is_said() -> None:
    """Nats of pixels of another density, or deviation, are other numbers."""
    assert vae().density() == {"family": "gaussian", "deviation": 0.5}
    assert vae(latent=3, beta=0.1).density() == vae().density()
    assert vae(**BERNOULLI).density() == {"family": "bernoulli"}


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_loss_by_hand(likelihood: str) -> None:
    model = vae(beta=0.7, **(BERNOULLI if likelihood == "bernoulli" else {}))
    x, y = model.split(batch())
    loss = model.loss(x, y)
    total = nll_sum = kl_sum = 0.0
    for i in range(6):
        code = model.code(x.image[i].flatten()).tolist()
        z = [code[j] + math.exp(code[2 + j] / 2) * x.noise[i, 0, j].item() for j in range(2)]
        output = model.decoder(torch.tensor([z]))[0].flatten().tolist()
        target = y[i].flatten().tolist()
        if likelihood == "gaussian":
            nll = -sum(norm(o, 0.5).logpdf(t) for o, t in zip(output, target, strict=True))
        else:
            nll = sum(math.log(1 + math.exp(o if t == 0 else -o)) for o, t in zip(output, target, strict=True))
        kl = sum((code[j] ** 2 + math.exp(code[2 + j]) - 1 - code[2 + j]) / 2 for j in range(2))
        nll_sum, kl_sum, total = nll_sum + nll, kl_sum + kl, total + nll + 0.7 * kl
    assert loss.value.item() == pytest.approx(total / 6, rel=1e-5)
    assert loss.logs["elbo"].item() == pytest.approx(-(nll_sum + kl_sum) / 6, rel=1e-5)
    assert loss.logs["reconstruction_nll"].item() == pytest.approx(nll_sum / 6, rel=1e-5)
    assert loss.logs["kl"].item() == pytest.approx(kl_sum / 6, rel=1e-4)
    assert not any(value.requires_grad for value in loss.logs.values())


@pytest.mark.thorough
def test_the_bounds_lie_around_the_truth() -> None:
    """p(y) of a code of one number by quadrature: the ELBO is below the weighted bound, and that close to the truth."""
    model = vae(latent=1, deviation=1.0)
    x, y = model.split(batch())
    with torch.no_grad():
        grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
        images = model.decoder(grid[:, None].float()).flatten(1).double()
        log_joint = torch.stack([
            torch.from_numpy(norm(images.numpy(), 1.0).logpdf(t.numpy())).sum(1) + torch.from_numpy(norm.logpdf(grid))
            for t in y.flatten(1).double()
        ])  # fmt: skip
        truth = (log_joint + math.log(16 / 4000)).logsumexp(dim=1)
        torch.manual_seed(2)
        weights = model.log_weights(x, y, 4000)
        assert weights.shape == (4000, 6)
        elbo, weighted = weights.mean(dim=0), weights.logsumexp(dim=0) - math.log(4000)
        mean, deviation = model.posterior(x)
        # the same codes in one batch, the KL analytic
        many = Seen(x.image.repeat(4000, 1, 1, 1), torch.randn(24000, 1, 1))
        analytic = model.loss(many, y.repeat(4000, 1, 1, 1)).logs["elbo"]
    assert (elbo < weighted).all()
    assert (elbo < truth).all()
    torch.testing.assert_close(weighted.double(), truth, atol=0.05, rtol=0)
    error = weights.std().item() / 24000**0.5
    assert elbo.mean().item() == pytest.approx(analytic.item(), abs=6 * error)
    assert error < 0.2
    torch.testing.assert_close(mean, model.encode(x))
    assert (deviation > 0).all()


def test_bernoulli_pixels_are_drawn_with_the_image_as_probability() -> None:
    model = vae(**BERNOULLI)
    data = torch.full((4000, 1, 4, 4), 0.3)
    x, y = model.split(Batch(data, torch.zeros(4000).long(), torch.arange(4000)))
    assert x.image is data
    assert set(y.unique().tolist()) == {0.0, 1.0}
    assert y.mean().item() == pytest.approx(0.3, abs=0.01)
    assert (vae().split(batch())[1] == batch().data).all()


def test_the_weight_rises_to_beta() -> None:
    model = vae(beta=4.0, warmup=0.25)
    seen = [model.weight.item()]
    for progress in (0.0, 0.125, 0.25, 0.9):
        model.after_step([None], progress)
        seen.append(model.weight.item())
    assert seen == [0, 0, 2, 4, 4]
    at_once = vae(beta=4.0)
    assert at_once.weight.item() == 4
    assert "weight" in at_once.state_dict()


def test_units_in_use_are_counted() -> None:
    model = vae(latent=3)
    with torch.no_grad():
        model.code.weight.zero_()
        model.code.weight[1] = 1.0  # the sum of the pixels: varies; the other two means are constant
    x, y = model.split(batch())
    assert model.loss(x, y).logs["active_units"].item() == 1


def test_what_it_offers() -> None:
    model = vae(**BERNOULLI)
    assert all(isinstance(model, each) for each in (Generates, Bounds, Predicts, Reconstructs))
    with torch.no_grad():
        assert model.sample(5).shape == (5, 1, 4, 4)
        z = torch.randn(3, 2)
        torch.testing.assert_close(model.decode(z), model.decoder(z).sigmoid())


def test_shuffling_asks_for_another_image() -> None:
    model = vae()
    x, y = model.split(batch())
    torch.manual_seed(0)
    same, other = model.shuffle(x, y)
    assert same is x
    assert not any(torch.equal(a, b) for a, b in zip(other, y, strict=True))
    assert sorted(other.flatten().tolist()) == sorted(y.flatten().tolist())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"latent": 0}, "objective.latent is 0"),
        ({"deviation": None}, "objective.deviation is None; with objective.likelihood=gaussian"),
        ({"deviation": 0.0}, "objective.deviation is 0.0"),
        ({"likelihood": "bernoulli"}, "set objective.deviation=null"),
        ({"beta": -1.0}, "objective.beta is -1.0"),
        ({"beta": math.nan}, "objective.beta is nan"),
        ({"warmup": 1.5}, "objective.warmup is 1.5"),
        ({"decoder_widths": []}, "the decoder's widths are"),
    ],
)
def test_refusals(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        vae(**wrong)
