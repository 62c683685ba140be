"""Text VAE (variational autoencoder): reconstruct a sentence from a sampled latent code."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Loss, Objective, TextEncoder, TextSpec
from ssl_runner.losses.precision import wide
from ssl_runner.losses.tokens import token_nll
from ssl_runner.losses.variational import gaussian_kl, gaussian_nll, reparameterized
from ssl_runner.nn.token_decoder import TokenDecoder
from ssl_runner.nn.tokens import tokenizer_fingerprint

ACTIVE = 0.01  # the variance of a latent's mean over examples above which it is in use; Burda et al. 2016


class Read(NamedTuple):
    tokens: Tensor  # (B, T) int64
    noise: Tensor  # (B, L) standard normal: which code is drawn from q(z | x)


class TextVAE(Objective[Read, Tensor]):
    """Reconstruct a sentence from a sample of its latent code, whose posterior is regularized to a standard normal.

        x = t,   y = t,   q(z | x) = N(m(f(x)), s(f(x))^2),   -log p(y | z) = -sum_n log p(y_n | y_{<n}, z)
        loss = E_q[-log p(y | z)] + w KL(q(z | x) || N(0, I))                                       nats per sentence

    w rises linearly from 0 to `beta` over the part `warmup` of the budget. With w = 1 the loss is -ELBO, logged as
    `elbo` for any w: log p(y), its first token given, is at least that, once words are no longer dropped.
    `perplexity_bound` is e^(-ELBO / tokens). A decoder that sees all words before the next one can do without z: then
    `kl` falls to 0, all sentences have one code, and the model is a language model. `word_dropout` and w hold against
    that; `kl_greatest` is the KL of the latent that says most.

    Bowman, Vilnis, Vinyals, Dai, Jozefowicz, Bengio 2016, "Generating Sentences from a Continuous Space",
    https://arxiv.org/abs/1511.06349.
    Differs from the paper: the code is of the encoder's pooled vector, not of an LSTM's last state; the decoder is a
    GRU that reads the code with each word, not as its first state; w rises linearly, not as a sigmoid.
    """

    weight: Tensor  # (), w
    collapse: ClassVar[str] = (
        "the code follows the prior for every sentence (posterior collapse): raise objective.word_dropout or "
        "objective.warmup, or lower objective.beta"
    )
    floors: ClassVar[Mapping[str, float]] = {"kl": 0.1}  # nats per sentence

    def __init__(
        self,
        encoder: TextEncoder,
        spec: TextSpec,
        *,
        latent: int,
        beta: float,
        warmup: float,
        word_dropout: float,
        decoder_dim: int,
        decoder_hidden: int,
    ) -> None:
        super().__init__()
        if latent < 1:
            raise ValueError(f"objective.latent is {latent}; it must be at least 1")
        if not beta >= 0:
            raise ValueError(f"objective.beta is {beta}; it must be 0 or more (1: the evidence lower bound)")
        if not 0 <= warmup <= 1:
            raise ValueError(f"objective.warmup is {warmup}; it is a fraction of the budget and must lie in [0, 1]")
        self.encoder = encoder
        self.length = spec.length
        self.tokenizer = tokenizer_fingerprint(spec)
        self.pad = spec.special.pad
        self.latent = latent
        self.beta = beta
        self.warmup = warmup
        self.code = nn.Linear(encoder.dim, 2 * latent)  # means, then logarithms of variances
        self.decoder = TokenDecoder(spec, latent, dim=decoder_dim, hidden=decoder_hidden, word_dropout=word_dropout)
        self.register_buffer("weight", torch.tensor(0.0 if warmup else float(beta)))

    def split(self, batch: Batch) -> tuple[Read, Tensor]:
        """y (B, T) int64."""
        noise = torch.randn(len(batch.data), self.latent, device=batch.data.device)
        return Read(batch.data, noise), batch.data

    def loss(self, x: Read, y: Tensor) -> Loss:
        mean, log_variance = self._code(x)
        error = self._nll(reparameterized(mean, log_variance, x.noise), y).mean()
        per_latent = gaussian_kl(mean, log_variance).mean(dim=0)
        kl = per_latent.sum()
        with torch.no_grad():
            tokens = (y[:, 1:] != self.pad).sum(dim=1).float().mean()
            logs = {
                "elbo": -(error + kl),
                "reconstruction_nll": error.detach(),
                "kl": kl.detach(),
                "kl_greatest": per_latent.detach().max(),
                "kl_weight": self.weight.clone(),
                "active_units": (mean.var(dim=0, correction=0) > ACTIVE).sum().float(),
                "perplexity_bound": ((error + kl) / tokens.clamp_min(1)).exp(),
            }
        return Loss(error + self.weight * kl, logs)

    def after_step(self, carries: Sequence[None], progress: float) -> None:
        self.weight.fill_(self.beta * min(progress / self.warmup, 1.0) if self.warmup else self.beta)

    def predict(self, x: Read) -> Tensor:
        return self.write(self.encode(x))

    def encode(self, x: Read) -> Tensor:
        return self._code(x)[0]

    def write(self, z: Tensor) -> Tensor:
        return self.decoder.write(z, self.length)

    def density(self) -> Mapping[str, Any]:
        return {"family": "categorical", "tokenizer": self.tokenizer}

    def posterior(self, x: Read) -> tuple[Tensor, Tensor]:
        mean, log_variance = self._code(x)
        return mean, (0.5 * log_variance).exp()

    def log_weights(self, x: Read, y: Tensor, samples: int) -> Tensor:
        mean, log_variance = self._code(x)
        weights = []
        for _ in range(samples):  # one draw of the whole batch at once: all of them would not fit into memory
            z = reparameterized(mean, log_variance, torch.randn_like(mean))
            prior = gaussian_nll(torch.zeros_like(z), z, torch.zeros_like(z)).sum(dim=1)
            posterior = gaussian_nll(mean, z, log_variance).sum(dim=1)
            weights.append(posterior - prior - self._nll(z, y))
        return torch.stack(weights)

    def _code(self, x: Read) -> tuple[Tensor, Tensor]:
        """(B, L) and (B, L) float32: mean and log variance of q(z | x)."""
        mean, log_variance = wide(self.code(self.encoder(x.tokens).pooled)).chunk(2, dim=1)
        return mean, log_variance

    def _nll(self, z: Tensor, y: Tensor) -> Tensor:
        """(B,) nats per sentence: -log p(y | its first token, z)."""
        return token_nll(self.decoder(z, y), y[:, 1:], self.pad).sum(dim=1)
