"""Families of q(z | x) for variational autoencoders. B examples, L latents, C components, S draws."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ssl_runner.losses.precision import wide
from ssl_runner.losses.score_function import score_surrogate
from ssl_runner.losses.variational import gaussian_kl, gaussian_nll, reparameterized

NLL = Callable[[Tensor, Tensor], Tensor]  # codes (B, L) and y -> (B,): -log p(y | z), nats


class Bound(NamedTuple):
    """-ELBO in two parts, (B,) each, nats, with the gradients by which decoder and encoder are trained."""

    error: Tensor  # E_q[-log p(y | z)]
    kl: Tensor  # KL(q(z | x) || N(0, I))


class Posterior(ABC):
    """A family, whose parameters for each example are a vector, the `code`, that a network gives."""

    name: ClassVar[str]
    draws: int = 1  # standard normal vectors that `bound` needs for each example

    @abstractmethod
    def width(self, latent: int) -> int:
        """The length of the code."""

    @abstractmethod
    def bound(self, code: Tensor, noise: Tensor, y: Tensor, nll: NLL) -> Bound:
        """`code` (B, width), `noise` (B, draws, L) standard normal."""

    @abstractmethod
    def draw(self, code: Tensor, noise: Tensor) -> Tensor:
        """(B, width) and (B, L) standard normal -> (B, L): a code z."""

    @abstractmethod
    def log_density(self, code: Tensor, z: Tensor) -> Tensor:
        """(B, width) and (B, L) -> (B,): log q(z | x), nats."""

    @abstractmethod
    def moments(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L) and (B, L): mean and standard deviation of z."""

    def refined(self, code: Tensor, noise: Tensor, y: Tensor, nll: NLL) -> Tensor:
        """The code that is used; that of the network, unless a family improves it for each example."""
        return code

    def divergence(self, code: Tensor, noise: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
        """(B,): KL(q(z | x) || N(mean, precision^-1)), with `mean` (B, L) and `precision` (L, L); by the draws, where
        there is no closed form."""
        z = [self.draw(code, each) for each in noise.unbind(dim=1)]
        return torch.stack([self.log_density(code, each) - normal(each, mean, precision) for each in z]).mean(dim=0)


class Gaussian(Posterior):
    """q(z | x) = N(m(x), s(x)^2), diagonal; the gradient goes through the draw.

    Kingma, Welling 2014, https://arxiv.org/abs/1312.6114.
    """

    name = "diagonal normal, by a network"

    def width(self, latent: int) -> int:
        return 2 * latent

    def bound(self, code: Tensor, noise: Tensor, y: Tensor, nll: NLL) -> Bound:
        mean, log_variance = wide(code).chunk(2, dim=1)
        error = nll(reparameterized(mean, log_variance, noise[:, 0]), y)
        return Bound(error, gaussian_kl(mean, log_variance).sum(dim=1))

    def draw(self, code: Tensor, noise: Tensor) -> Tensor:
        mean, log_variance = wide(code).chunk(2, dim=1)
        return reparameterized(mean, log_variance, noise)

    def log_density(self, code: Tensor, z: Tensor) -> Tensor:
        mean, log_variance = wide(code).chunk(2, dim=1)
        return -gaussian_nll(mean, z, log_variance).sum(dim=1)

    def moments(self, code: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = wide(code).chunk(2, dim=1)
        return mean, (0.5 * log_variance).exp()

    def divergence(self, code: Tensor, noise: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
        own, log_variance = wide(code).chunk(2, dim=1)
        apart = own - mean
        trace = log_variance.exp() @ precision.diagonal()
        quadratic = ((apart @ precision) * apart).sum(dim=1)
        return 0.5 * (trace + quadratic - own.shape[1] - precision.logdet() - log_variance.sum(dim=1))


class ScoreFunction(Gaussian):
    """The same family, trained from values of log p(y | z) alone: the gradient of the error by the score function.

    `samples` draws for each example; `control_variate`: the mean over the other draws is the baseline. The gradient of
    the KL term is exact. Ranganath, Gerrish, Blei 2014, "Black Box Variational Inference",
    https://arxiv.org/abs/1401.0118.
    """

    name = "diagonal normal, by a network and the score function"

    def __init__(self, *, samples: int, control_variate: bool) -> None:
        least = 2 if control_variate else 1
        if samples < least:
            why = ": with a control variate the others of an example are needed" if control_variate else ""
            raise ValueError(f"objective.posterior.samples is {samples}; it must be at least {least}{why}")
        self.draws = samples
        self.control_variate = control_variate

    def bound(self, code: Tensor, noise: Tensor, y: Tensor, nll: NLL) -> Bound:
        z = [self.draw(code, each).detach() for each in noise.unbind(dim=1)]
        errors = torch.stack([nll(each, y) for each in z])
        log_q = torch.stack([self.log_density(code, each) for each in z])
        score = score_surrogate(log_q, errors, baseline=self.control_variate)
        mean, log_variance = wide(code).chunk(2, dim=1)
        return Bound(errors.mean(dim=0) + score - score.detach(), gaussian_kl(mean, log_variance).sum(dim=1))


class PerExample(Gaussian):
    """The same family, but each example's own: the network's proposal is improved by `steps` steps of Adam.

    The decoder is trained at the improved q, the network by the gradient of the bound at its proposal, which is that of
    the first step. So new examples have their q, too. Each step has its own draw, and its opposite; `rate` is Adam's at
    the first step, and falls linearly; the mean over the second half of the steps is taken. Hoffman, Blei, Wang,
    Paisley 2013, "Stochastic Variational Inference", https://arxiv.org/abs/1206.7051; Krishnan, Liang, Hoffman 2018,
    https://arxiv.org/abs/1610.06906; Kim et al. 2018, "Semi-Amortized Variational Autoencoders",
    https://arxiv.org/abs/1802.02550. Differs: no gradient goes through the steps.
    """

    name = "diagonal normal, of each example by itself"

    def __init__(self, *, steps: int, rate: float) -> None:
        if steps < 1:
            raise ValueError(f"objective.posterior.steps is {steps}; it must be at least 1")
        if not rate > 0:
            raise ValueError(f"objective.posterior.rate is {rate}; it must be above 0")
        self.steps = steps
        self.rate = rate
        self.draws = steps + 1

    def bound(self, code: Tensor, noise: Tensor, y: Tensor, nll: NLL) -> Bound:
        best, first = self._improved(code, noise, y, nll)
        found = super().bound(best, noise[:, -1:], y, nll)
        surrogate = (wide(code) * first).sum(dim=1)
        return Bound(found.error + surrogate - surrogate.detach(), found.kl)

    def refined(self, code: Tensor, noise: Tensor, y: Tensor, nll: NLL) -> Tensor:
        return self._improved(code, noise, y, nll)[0]

    def _improved(self, code: Tensor, noise: Tensor, y: Tensor, nll: NLL) -> tuple[Tensor, Tensor]:
        """The code after all steps, and the gradient of -ELBO at the first, (B, 2 L) each; also without gradients."""
        with torch.inference_mode(False), torch.enable_grad():
            now, y = ordinary(wide(code)).detach().clone(), ordinary(y)
            first = torch.zeros_like(now)
            average, square, mean = torch.zeros_like(now), torch.zeros_like(now), torch.zeros_like(now)
            for step in range(1, self.steps + 1):
                now.requires_grad_()
                drawn = ordinary(noise[:, step - 1 : step])
                pair = [super(PerExample, self).bound(now, sign * drawn, y, nll) for sign in (1, -1)]
                both = torch.stack([(each.error + each.kl).sum() for each in pair])
                (gradient,) = torch.autograd.grad(both.mean(), now)
                first = gradient if step == 1 else first
                average = 0.9 * average + 0.1 * gradient
                square = 0.999 * square + 0.001 * gradient.square()
                change = average / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
                now = (now - self.rate * (1 - (step - 1) / self.steps) * change).detach()
                if 2 * step > self.steps:
                    mean = mean + (now - mean) / (step - self.steps // 2)
        return mean, first


class Mixture(Posterior):
    """q(z | x) = sum_c pi_c(x) N(m_c(x), s_c(x)^2): a mixture of diagonal normal distributions.

    Each component is drawn from and weighted by its share, so that shares have an exact gradient; log q is that of the
    whole mixture. Jaakkola, Jordan 1998, "Improving the Mean Field Approximation via the Use of Mixture
    Distributions", https://doi.org/10.1007/978-94-011-5014-9_6; Roeder, Wu, Duvenaud 2017,
    https://arxiv.org/abs/1703.09194, section 4.
    """

    name = "mixture of diagonal normals, by a network"

    def __init__(self, *, components: int) -> None:
        if components < 2:
            raise ValueError(
                f"objective.posterior.components is {components}; it must be at least 2 (one is "
                "objective/posterior=gaussian)"
            )
        self.components = components
        self.draws = components

    def width(self, latent: int) -> int:
        return self.components * (2 * latent + 1)

    def bound(self, code: Tensor, noise: Tensor, y: Tensor, nll: NLL) -> Bound:
        log_share, mean, log_variance = self._parts(code)
        share = log_share.exp()
        error, kl = [], []
        for c in range(self.components):
            z = reparameterized(mean[:, c], log_variance[:, c], noise[:, c])
            prior = -gaussian_nll(torch.zeros_like(z), z, torch.zeros_like(z)).sum(dim=1)
            error.append(share[:, c] * nll(z, y))
            kl.append(share[:, c] * (self.log_density(code, z) - prior))
        return Bound(torch.stack(error).sum(dim=0), torch.stack(kl).sum(dim=0))

    def draw(self, code: Tensor, noise: Tensor) -> Tensor:
        """The component is drawn from torch's global generator."""
        log_share, mean, log_variance = self._parts(code)
        gumbel = -torch.empty_like(log_share).exponential_().log()
        chosen = (log_share + gumbel).argmax(dim=1)[:, None, None].expand(-1, 1, mean.shape[2])
        return reparameterized(mean.gather(1, chosen)[:, 0], log_variance.gather(1, chosen)[:, 0], noise)

    def log_density(self, code: Tensor, z: Tensor) -> Tensor:
        log_share, mean, log_variance = self._parts(code)
        each = -gaussian_nll(mean, z[:, None].expand_as(mean), log_variance).sum(dim=2)
        return (log_share + each).logsumexp(dim=1)

    def moments(self, code: Tensor) -> tuple[Tensor, Tensor]:
        log_share, mean, log_variance = self._parts(code)
        share = log_share.exp()[..., None]
        center = (share * mean).sum(dim=1)
        variance = (share * (log_variance.exp() + mean.square())).sum(dim=1) - center.square()
        return center, variance.clamp_min(1e-12).sqrt()

    def divergence(self, code: Tensor, noise: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
        log_share, means, log_variance = self._parts(code)
        found = []
        for c in range(self.components):
            z = reparameterized(means[:, c], log_variance[:, c], noise[:, c])
            found.append(log_share[:, c].exp() * (self.log_density(code, z) - normal(z, mean, precision)))
        return torch.stack(found).sum(dim=0)

    def _parts(self, code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log of the shares (B, C), means and log variances (B, C, L)."""
        code = wide(code)
        logits, rest = code[:, : self.components], code[:, self.components :]
        mean, log_variance = rest.unflatten(1, (self.components, -1)).chunk(2, dim=2)
        return logits.log_softmax(dim=1), mean, log_variance


def normal(z: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    """(B, L), (B, L) and (L, L) -> (B,): log of the density N(z; mean, precision^-1), nats."""
    apart = z - mean
    quadratic = ((apart @ precision) * apart).sum(dim=1)
    return 0.5 * (precision.logdet() - quadratic - z.shape[1] * math.log(2 * math.pi))


def ordinary(x: Tensor) -> Tensor:
    """`x`, or a copy that a gradient may need, of a tensor that was made where none are taken."""
    return x.clone() if x.is_inference() else x
