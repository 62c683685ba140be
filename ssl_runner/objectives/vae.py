"""VAE (variational autoencoder): reconstruct an image from a sampled latent code."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective
from ssl_runner.losses.posteriors import Posterior
from ssl_runner.losses.reconstruction import bernoulli_nll
from ssl_runner.losses.variational import gaussian_nll
from ssl_runner.nn.decoders import ConvDecoder

ACTIVE = 0.01  # the variance of a latent's mean over examples above which it is in use; Burda et al. 2016


class Seen(NamedTuple):
    image: Tensor  # (B, C, H, W)
    noise: Tensor  # (B, S, L) standard normal: which codes are drawn from q(z | x)


class VAE(Objective[Seen, Tensor]):
    """Reconstruct an image from a sample of its latent code, whose posterior is regularized to a standard normal.

        x = t,   y = t (gaussian), or black and white pixels drawn with t as their probability (bernoulli)
        q(z | x) = N(m(f(x)), s(f(x))^2),   loss = E_q[-log p(y | z)] + w KL(q(z | x) || N(0, I))      nats per image

    w rises linearly from 0 to `beta` over the part `warmup` of the budget. With w = 1 the loss is -ELBO, logged as
    `elbo` for any w: log p(y) is at least that. `posterior` gives q another family (`losses.posteriors`): a mixture, or
    a normal distribution of each example by itself.

    Kingma, Welling 2014, "Auto-Encoding Variational Bayes", https://arxiv.org/abs/1312.6114; beta: Higgins et al. 2017,
    "beta-VAE", https://openreview.net/forum?id=Sy2fzU9gl; annealing: Bowman et al. 2016, "Generating Sentences from a
    Continuous Space", https://arxiv.org/abs/1511.06349.
    Differs from the papers: convolutional; Gaussian pixels have one fixed deviation; with Bernoulli pixels the encoder
    reads the gray image, as evaluations do, and not the drawn one (any q gives a bound).
    """

    weight: Tensor  # (), w
    log_variance: Tensor  # (), of a Gaussian pixel
    collapse: ClassVar[str] = (
        "the code follows the prior for every image (posterior collapse): lower objective.beta, or raise "
        "objective.warmup"
    )
    floors: ClassVar[Mapping[str, float]] = {"kl": 0.1}  # nats per image

    def __init__(
        self,
        encoder: Encoder,
        spec: ImageSpec,
        *,
        latent: int,
        likelihood: Literal["gaussian", "bernoulli"],
        deviation: float | None,
        beta: float,
        warmup: float,
        decoder_widths: list[int],
        posterior: Posterior,
    ) -> None:
        super().__init__()
        if latent < 1:
            raise ValueError(f"objective.latent is {latent}; it must be at least 1")
        if likelihood == "gaussian" and (deviation is None or not deviation > 0):
            raise ValueError(f"objective.deviation is {deviation}; with objective.likelihood=gaussian it is above 0")
        if likelihood == "bernoulli" and deviation is not None:
            raise ValueError(
                f"objective.deviation is {deviation}; Bernoulli pixels have no deviation: with "
                "objective.likelihood=bernoulli set objective.deviation=null"
            )
        if not beta >= 0:
            raise ValueError(f"objective.beta is {beta}; it must be 0 or more (1: the evidence lower bound)")
        if not 0 <= warmup <= 1:
            raise ValueError(f"objective.warmup is {warmup}; it is a fraction of the budget and must lie in [0, 1]")
        self.encoder = encoder
        self.likelihood = likelihood
        self.deviation = deviation
        self.latent = latent
        self.beta = beta
        self.warmup = warmup
        self.family = posterior
        self.code = nn.Linear(encoder.dim, posterior.width(latent))  # means, then logarithms of variances
        self.decoder = ConvDecoder(latent, (spec.channels, spec.height, spec.width), widths=decoder_widths)
        self.register_buffer("weight", torch.tensor(0.0 if warmup else float(beta)))
        self.register_buffer("log_variance", 2 * torch.tensor(deviation or 1.0).log(), persistent=False)

    def split(self, batch: Batch) -> tuple[Seen, Tensor]:
        """y (B, C, H, W) in [0, 1]."""
        noise = torch.randn(len(batch.data), self.family.draws, self.latent, device=batch.data.device)
        y = torch.bernoulli(batch.data) if self.likelihood == "bernoulli" else batch.data
        return Seen(batch.data, noise), y

    def loss(self, x: Seen, y: Tensor) -> Loss:
        code = self._code(x)
        error, kl = (each.mean() for each in self.family.bound(code, x.noise, y, self._nll))
        with torch.no_grad():
            mean, _ = self.family.moments(code)
            logs = {
                "elbo": -(error + kl),
                "reconstruction_nll": error.detach(),
                "kl": kl.detach(),
                "kl_weight": self.weight.clone(),
                "active_units": (mean.float().var(dim=0, correction=0) > ACTIVE).sum().float(),
            }
        return Loss(error + self.weight * kl, logs)

    def after_step(self, carries: Sequence[None], progress: float) -> None:
        self.weight.fill_(self.beta * min(progress / self.warmup, 1.0) if self.warmup else self.beta)

    def predict(self, x: Seen) -> Tensor:
        return self.decode(self.encode(x))

    def reconstruct(self, x: Seen) -> Tensor:
        return self.predict(x)

    def compared(self, image: Tensor) -> Tensor:
        return image

    def hidden(self, x: Seen) -> Tensor:
        return torch.ones_like(x.image, dtype=torch.bool)

    def hides(self) -> Mapping[str, str | int | float]:
        return {"pixels": "all", "corruption": "none", "amount": 0.0}

    def encode(self, x: Seen) -> Tensor:
        return self.family.moments(self._code(x))[0]

    def decode(self, z: Tensor) -> Tensor:
        output = self.decoder(z).float()
        return output.sigmoid() if self.likelihood == "bernoulli" else output.clamp(0, 1)

    def sample(self, n: int) -> Tensor:
        return self.decode(torch.randn(n, self.latent, device=self.weight.device))

    def density(self) -> Mapping[str, Any]:
        return {"family": self.likelihood} | ({} if self.deviation is None else {"deviation": self.deviation})

    def posterior(self, x: Seen) -> tuple[Tensor, Tensor]:
        return self.family.moments(self._code(x))

    def log_weights(self, x: Seen, y: Tensor, samples: int) -> Tensor:
        code = self.family.refined(self._code(x), x.noise, y, self._nll)
        weights = []
        for _ in range(samples):  # one draw of the whole batch at once: all of them would not fit into memory
            z = self.family.draw(code, torch.randn_like(x.noise[:, 0]))
            prior = gaussian_nll(torch.zeros_like(z), z, torch.zeros_like(z)).sum(dim=1)
            weights.append(-self.family.log_density(code, z) - prior - self._nll(z, y))
        return torch.stack(weights)

    def _code(self, x: Seen) -> Tensor:
        """(B, width): the parameters of q(z | x), as the network gives them."""
        code: Tensor = self.code(self.encoder(x.image).pooled)
        return code

    def _nll(self, z: Tensor, y: Tensor) -> Tensor:
        """(B,) nats per image: -log p(y | z)."""
        output = self.decoder(z)
        if self.likelihood == "bernoulli":
            return bernoulli_nll(output, y).flatten(1).sum(dim=1)
        return gaussian_nll(output, y, self.log_variance).flatten(1).sum(dim=1)
