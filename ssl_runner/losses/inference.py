"""How q(k | x) of a Gaussian mixture is found, and what its parameters are given it. B batch, S draws, K components."""

from abc import ABC
from typing import ClassVar

import torch
from torch import Tensor

from ssl_runner.losses.score_function import score_surrogate
from ssl_runner.nn.gaussian_mixture import Components, Moments, Prior, maximum_likelihood, variational


class Inference(ABC):
    """The E-step, and by default the M-step of maximum likelihood."""

    exact: ClassVar[bool] = True  # whether q is Bayes' rule, so that no gradient is needed
    samples: int = 0  # draws of k for each example
    name: ClassVar[str]

    def negative_bound(self, log_q: Tensor, log_joint: Tensor, uniform: Tensor) -> Tensor:
        """-E_q[log p(x, k) - log q(k | x)], nats, with the gradient by which q is improved: (B, K), (B, K) and (B, S)
        draws from [0, 1) -> (B,)."""
        return (log_q.exp() * (log_q - log_joint)).sum(dim=1)

    def fit(self, found: Moments, examples: int, overall: Moments, floor: float) -> Components:
        """The parameters given the moments that q makes; `overall`: those of all examples, as one component."""
        return maximum_likelihood(found, floor)


class EM(Inference):
    """Expectation maximization: q(k | x) is the posterior, and the bound is log p(x).

    Dempster, Laird, Rubin 1977, https://doi.org/10.1111/j.2517-6161.1977.tb01600.x.
    """

    name = "exact posterior"


class MeanField(Inference):
    """Variational Bayes: q(k | x) q(parameters), each by the expectations under the other.

    The prior: a symmetric Dirichlet, and a normal-Wishart about the mean and covariance of the data. Bishop 2006,
    "Pattern Recognition and Machine Learning", section 10.2; Attias 2000,
    https://papers.nips.cc/paper/1999/hash/74563ba21a90da13dacf2a73e3ddefa7-Abstract.html.
    Differs: precisions of diagonal covariances are independent, a gamma distribution each.
    """

    name = "mean field, parameters too"

    def __init__(self, *, concentration: float | None, strength: float, degrees: float | None) -> None:
        for key, value in (("concentration", concentration), ("strength", strength), ("degrees", degrees)):
            if value is not None and not value > 0:
                raise ValueError(f"objective.inference.{key} is {value}; it must be above 0")
        self.concentration = concentration
        self.strength = strength
        self.degrees = degrees

    def fit(self, found: Moments, examples: int, overall: Moments, floor: float) -> Components:
        full, width = found.scatter.ndim == 3, found.mean.shape[1]
        covariance = overall.scatter[0] * (examples / max(examples - 1, 1))
        if full:
            covariance = covariance + floor * torch.eye(width, dtype=covariance.dtype, device=covariance.device)
        else:
            covariance = covariance + floor
        prior = Prior(
            concentration=1 / len(found.mass) if self.concentration is None else self.concentration,
            strength=self.strength,
            degrees=(width if full else 1) if self.degrees is None else self.degrees,
            mean=overall.mean[0],
            covariance=covariance,
        )
        return variational(found, examples, prior, floor)


class Amortized(Inference):
    """A network gives q(k | x); its gradient is exact, for the sum over all k is taken.

    Dayan, Hinton, Neal, Zemel 1995, "The Helmholtz Machine", https://doi.org/10.1162/neco.1995.7.5.889.
    """

    exact = False
    name = "a network, all k summed"


class BlackBox(Inference):
    """A network gives q(k | x); its gradient is estimated from values of log p(x, k) alone, by the score function.

    `samples` draws of k for each example; `control_variate`: the mean over the other draws is the baseline. Ranganath,
    Gerrish, Blei 2014, "Black Box Variational Inference", https://arxiv.org/abs/1401.0118. Differs: q(k | x) is a
    network's, not a table's, so that it is known for new examples; the parameters of the mixture have no q.
    """

    exact = False
    name = "a network, score function"

    def __init__(self, *, samples: int, control_variate: bool) -> None:
        least = 2 if control_variate else 1
        if samples < least:
            why = ": with a control variate the others of an example are needed" if control_variate else ""
            raise ValueError(f"objective.inference.samples is {samples}; it must be at least {least}{why}")
        self.samples = samples
        self.control_variate = control_variate

    def negative_bound(self, log_q: Tensor, log_joint: Tensor, uniform: Tensor) -> Tensor:
        k = drawn(log_q.detach(), uniform)  # (B, S)
        log_q, log_joint = log_q.gather(1, k).T, log_joint.gather(1, k).T
        return score_surrogate(log_q, log_q - log_joint, baseline=self.control_variate)


def drawn(log_q: Tensor, uniform: Tensor) -> Tensor:
    """(B, K) log probabilities and (B, S) numbers from [0, 1) -> (B, S) int64, by the inverse of the distribution
    function."""
    edges = log_q.exp().cumsum(dim=1)
    edges = edges / edges[:, -1:]
    return torch.searchsorted(edges, uniform.to(edges.dtype).contiguous(), right=True).clamp_max(log_q.shape[1] - 1)
