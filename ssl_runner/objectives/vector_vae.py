"""VAE of vectors: reconstruct a vector from a sampled latent code; with a linear decoder its log p is known."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import LOGGED, Batch, Encoder, LinearModel, Loss, Objective, Parts, VectorSpec
from ssl_runner.losses.posteriors import Posterior, normal
from ssl_runner.losses.variational import gaussian_nll
from ssl_runner.nn.linear_gaussian import log_density, posterior
from ssl_runner.results import metrics

ACTIVE = 0.01  # the variance of a latent's mean over examples above which it is in use; Burda et al. 2016


class Seen(NamedTuple):
    vectors: Tensor  # (B, N, D)
    noise: Tensor  # (B, S, L) standard normal: which codes are drawn from q(z | x)


class VectorVAE(Objective[Seen, Tensor]):
    """Reconstruct vectors from a sample of their latent code, whose posterior is regularized to a standard normal.

        x = t,   y = t,   p(y | z) = N(g(z), deviation^2),   q(z | x) of the family `posterior`
        loss = E_q[-log p(y | z)] + w KL(q(z | x) || N(0, I))                                   nats per example

    w rises linearly from 0 to `beta` over the part `warmup` of the budget; -ELBO is the loss with w = 1. g is an MLP,
    or linear (`decoder_widths=[]`). Then p(y) and p(z | y) are normal, and log p(y) = ELBO + KL(q || p(z | y)) is
    logged, each part by itself: `log_p`, `elbo`, `kl_to_posterior`. With `decoder=known` g is that of the data
    (`dataset=linear_gaussian`), so that log p(y) stays and only the gap closes, as far as the family of q lets it;
    with `learned` g turns its latents until that family suits it (Lucas et al. 2019).

    Kingma, Welling 2014, "Auto-Encoding Variational Bayes", https://arxiv.org/abs/1312.6114; Lucas, Tucker, Grosse,
    Norouzi 2019, "Don't Blame the ELBO!", https://arxiv.org/abs/1911.02469; Cremer, Li, Duvenaud 2018, "Inference
    Suboptimality in Variational Autoencoders", https://arxiv.org/abs/1801.03558.
    Differs from the papers: the deviation is fixed; all vectors of an example are one.
    """

    weight: Tensor  # (), w
    log_variance: Tensor  # (), of a number
    collapse: ClassVar[str] = (
        "the code follows the prior for every vector (posterior collapse): lower objective.beta or "
        "objective.deviation, or raise objective.warmup"
    )
    floors: ClassVar[Mapping[str, float]] = {"kl": 0.1}  # nats per example
    logged: ClassVar[Mapping[str, metrics.Kind]] = {
        **LOGGED,
        "log_p": metrics.Kind(metrics.Unit.NATS, metrics.Better.HIGHER),
        "kl_to_posterior": metrics.Kind(metrics.Unit.NATS, metrics.Better.LOWER),
    }

    def __init__(
        self,
        encoder: Encoder,
        spec: VectorSpec,
        *,
        latent: int,
        posterior: Posterior,
        decoder: Literal["learned", "known"],
        decoder_widths: list[int],
        deviation: float,
        beta: float,
        warmup: float,
    ) -> None:
        super().__init__()
        if latent < 1:
            raise ValueError(f"objective.latent is {latent}; it must be at least 1")
        if not deviation > 0:
            raise ValueError(f"objective.deviation is {deviation}; it must be above 0")
        if not beta >= 0:
            raise ValueError(f"objective.beta is {beta}; it must be 0 or more (1: the evidence lower bound)")
        if not 0 <= warmup <= 1:
            raise ValueError(f"objective.warmup is {warmup}; it is a fraction of the budget and must lie in [0, 1]")
        if decoder_widths and min(decoder_widths) < 1:
            raise ValueError(f"objective.decoder_widths is {list(decoder_widths)}; each must be at least 1")
        self.encoder = encoder
        self.posterior_family = posterior
        self.latent = latent
        self.deviation = deviation
        self.beta = beta
        self.warmup = warmup
        self.shape = spec.shape
        self.code = nn.Linear(encoder.dim, posterior.width(latent))
        self.decoder = _decoder([latent, *decoder_widths, math.prod(spec.shape)])
        self.linear = not decoder_widths
        if decoder == "known":
            _set_known(self.decoder, spec.linear, latent, decoder_widths, deviation)
        self.register_buffer("weight", torch.tensor(0.0 if warmup else float(beta)))
        self.register_buffer("log_variance", 2 * torch.tensor(deviation).log(), persistent=False)

    def split(self, batch: Batch) -> tuple[Seen, Tensor]:
        """y (B, N, D)."""
        noise = torch.randn(len(batch.data), self.posterior_family.draws, self.latent, device=batch.data.device)
        return Seen(batch.data, noise), batch.data

    def loss(self, x: Seen, y: Tensor) -> Loss:
        code = self._code(x)
        error, kl = (each.mean() for each in self.posterior_family.bound(code, x.noise, y, self._nll))
        with torch.no_grad():
            mean, _ = self.posterior_family.moments(code)
            logs = {
                "elbo": -(error + kl).detach(),
                "reconstruction_nll": error.detach(),
                "kl": kl.detach(),
                "kl_weight": self.weight.clone(),
                "active_units": (mean.float().var(dim=0, correction=0) > ACTIVE).sum().float(),
            }
            if self.linear:
                logs |= self._exact(code, x, y)
        return Loss(error + self.weight * kl, logs)

    def after_step(self, carries: Sequence[None], progress: float) -> None:
        self.weight.fill_(self.beta * min(progress / self.warmup, 1.0) if self.warmup else self.beta)

    def predict(self, x: Seen) -> Tensor:
        return self.decoder(self.posterior_family.moments(self._code(x))[0]).float().unflatten(1, self.shape)

    def density(self) -> Mapping[str, Any]:
        return {"family": "gaussian", "deviation": self.deviation}

    def posterior(self, x: Seen) -> tuple[Tensor, Tensor]:
        return self.posterior_family.moments(self._code(x))

    def log_weights(self, x: Seen, y: Tensor, samples: int) -> Tensor:
        code = self.posterior_family.refined(self._code(x), x.noise, y, self._nll)
        return torch.stack([self._weight(code, x, y)[0] for _ in range(samples)])

    def family(self) -> str:
        return self.posterior_family.name

    def decompose(self, x: Seen, y: Tensor, samples: int) -> Parts:
        if not self.linear:
            raise ValueError(
                "log p(x) of a decoder that is not linear is unknown; set objective.decoder_widths=[], or choose "
                "evaluation=[likelihood]"
            )
        code = self.posterior_family.refined(self._code(x), x.noise, y, self._nll)
        model = self._model()
        center, precision = posterior(y.flatten(1), *model)
        elbo, kl = [], []
        for _ in range(samples):
            weight, z = self._weight(code, x, y)
            elbo.append(weight)
            kl.append(self.posterior_family.log_density(code, z) - normal(z, center, precision))
        log_p = log_density(y.flatten(1), *model)
        return Parts(log_p, torch.stack(elbo).mean(dim=0), torch.stack(kl).mean(dim=0))

    def _exact(self, code: Tensor, x: Seen, y: Tensor) -> dict[str, Tensor]:
        """log p(y), and what the bound leaves: in closed form, or by the draws of a step."""
        model = self._model()
        with torch.autocast(y.device.type, enabled=False):
            used = self.posterior_family.refined(code, x.noise, y, self._nll)
            gap = self.posterior_family.divergence(used, x.noise, *posterior(y.flatten(1), *model))
            return {"log_p": log_density(y.flatten(1), *model).mean(), "kl_to_posterior": gap.mean()}

    def _model(self) -> tuple[Tensor, Tensor, float]:
        """W, mean and deviation of a linear decoder."""
        linear: Any = self.decoder[0]
        return linear.weight, linear.bias, self.deviation

    def _weight(self, code: Tensor, x: Seen, y: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) log p(y, z) - log q(z | x), and z (B, L), of a draw."""
        z = self.posterior_family.draw(code, torch.randn_like(x.noise[:, 0]))
        prior = -gaussian_nll(torch.zeros_like(z), z, torch.zeros_like(z)).sum(dim=1)
        return prior - self._nll(z, y) - self.posterior_family.log_density(code, z), z

    def _code(self, x: Seen) -> Tensor:
        """(B, width): the parameters of q(z | x), as the network gives them."""
        code: Tensor = self.code(self.encoder(x.vectors).pooled)
        return code

    def _nll(self, z: Tensor, y: Tensor) -> Tensor:
        """(B,) nats per example: -log p(y | z)."""
        return gaussian_nll(self.decoder(z), y.flatten(1), self.log_variance).sum(dim=1)


def _decoder(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with a ReLU between each two."""
    layers: list[nn.Module] = []
    for place, (n_in, n_out) in enumerate(pairwise(widths)):
        layers += [nn.ReLU()] * (place > 0) + [nn.Linear(n_in, n_out)]
    return nn.Sequential(*layers)


def _set_known(
    decoder: nn.Sequential, model: LinearModel | None, latent: int, widths: Sequence[int], deviation: float
) -> None:
    """Make the decoder that of the data, and keep it. Raises ValueError where that is not possible."""
    if model is None:
        raise ValueError("objective.decoder is known, and the model of these data is not: set dataset=linear_gaussian")
    if widths:
        raise ValueError(f"objective.decoder is known, and linear: set objective.decoder_widths=[], not {list(widths)}")
    own = len(model.loadings[0])
    if (latent, deviation) != (own, model.deviation):
        raise ValueError(
            f"objective.decoder is known: the data have {own} latents and deviation {model.deviation}; set "
            f"objective.latent={own} and objective.deviation={model.deviation}"
        )
    linear: Any = decoder[0]
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(model.loadings))
        linear.bias.copy_(torch.tensor(model.mean))
    linear.requires_grad_(False)
