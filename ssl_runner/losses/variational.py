"""Terms of variational bounds, for diagonal normal distributions. B batch, L latents."""

import math

import torch
from torch import Tensor

from ssl_runner.losses.precision import float32

LOG_TWO_PI = math.log(2 * math.pi)


@float32
def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) of each latent, (...) and (...) -> (...), in nats.

        KL = (mean^2 + variance - 1 - log variance) / 2

    Kingma, Welling 2014, https://arxiv.org/abs/1312.6114, appendix B.

    >>> gaussian_kl(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 0.0]))
    tensor([0., 2.])
    """
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance)


@float32
def gaussian_nll(mean: Tensor, target: Tensor, log_variance: Tensor) -> Tensor:
    """-log of the density N(target; mean, variance) of each value, (...), (...), (...) or () -> (...), in nats."""
    return 0.5 * ((target - mean).square() * (-log_variance).exp() + log_variance + LOG_TWO_PI)


@float32
def reparameterized(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """A reparameterized sample from N(mean, variance), given standard normal noise, (...) each.

    Kingma, Welling 2014, https://arxiv.org/abs/1312.6114, section 2.4.
    """
    return mean + (0.5 * log_variance).exp() * noise
