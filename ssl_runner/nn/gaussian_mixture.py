"""Gaussian mixtures: densities of their components, statistics, and estimates from these.

B examples, K components, D numbers of an example. A covariance is (K, D, D), or (K, D) of diagonal ones.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

TINY = 1e-10  # the mass of a component, as a share of all examples, below which its parameters stay


class Moments(NamedTuple):
    """Weighted moments of examples, per example: they sum over K to those of the data."""

    mass: Tensor  # (K,) mean of the weights
    mean: Tensor  # (K, D)
    scatter: Tensor  # (K, D, D) or (K, D): covariance times mass


class Components(NamedTuple):
    """What the density of a mixture needs: -|(x - mean) F|^2 / 2 + bias is log p(x, k)."""

    means: Tensor  # (K, D)
    factors: Tensor  # (K, D, D), upper triangular, or (K, D)
    bias: Tensor  # (K,)
    plain: Tensor  # (K,) the bias at the mean of the parameters; equal to `bias` where these are no distribution
    penalty: Tensor  # () KL(q(parameters) || prior), nats; 0 where they are no distribution


def quadratic(x: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """(B, D) -> (B, K): |(x - mean_k) F_k|^2."""
    if factors.ndim == 2:
        return ((x[:, None] - means) * factors).square().sum(dim=2)
    turned = torch.einsum("bd,kde->bke", x, factors) - torch.einsum("kd,kde->ke", means, factors)
    return turned.square().sum(dim=2)


def sums(x: Tensor, weights: Tensor, center: Tensor, *, full: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Means over the batch of w, w (x - c) and w (x - c)^2 (or w (x - c)(x - c)^T): (B, D), (B, K), (K, D) -> (K,),
    (K, D) and (K, D[, D]). About a center near the mean nothing cancels. Means of batches of one size average to those
    of all."""
    apart = x[:, None] - center  # (B, K, D)
    weighted = weights[..., None] * apart
    second = torch.einsum("bkd,bke->kde", weighted, apart) if full else (weighted * apart).sum(dim=0)
    return weights.mean(dim=0), weighted.mean(dim=0), second / len(x)


def moments(mass: Tensor, first: Tensor, second: Tensor, center: Tensor) -> Moments:
    """Moments from `sums` about `center`. A component without mass stays where it is, with no scatter."""
    shift = torch.where(mass[:, None] > TINY, first / mass.clamp_min(TINY)[:, None], 0)
    outer = shift[:, :, None] * shift[:, None] if second.ndim == 3 else shift.square()
    return Moments(mass, center + shift, second - spread_to(mass, outer) * outer)


def merged(old: Moments, new: Moments, rate: float | Tensor) -> Moments:
    """(1 - rate) of the one and `rate` of the other, as if all examples were in one batch.

    Chan, Golub, LeVeque 1983, https://doi.org/10.1080/00031305.1983.10483115.
    """
    before, now = (1 - rate) * old.mass, rate * new.mass
    mass = before + now
    apart = new.mean - old.mean
    share = now / mass.clamp_min(TINY)
    mean = old.mean + share[:, None] * apart
    outer = apart[:, :, None] * apart[:, None] if old.scatter.ndim == 3 else apart.square()
    scatter = (1 - rate) * old.scatter + rate * new.scatter + spread_to(before * share, outer) * outer
    return Moments(mass, mean, scatter)


def spread_to(values: Tensor, like: Tensor) -> Tensor:
    """(K,) -> (K, 1, ...), of as many dimensions as `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))


def regularized(covariance: Tensor, floor: float) -> Tensor:
    """`floor` is added to the variances."""
    if covariance.ndim == 2:
        return covariance.clamp_min(0) + floor
    return covariance + floor * torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)


def factors_of(covariance: Tensor) -> Tensor:
    """F with F F^T = covariance^-1, upper triangular, or (K, D). Where a matrix is not positive definite, that of its
    diagonal: the caller's floor makes that rare, and nothing waits for the device to find out."""
    if covariance.ndim == 2:
        return covariance.rsqrt()
    lower, info = torch.linalg.cholesky_ex(covariance)
    diagonal = torch.diag_embed(covariance.diagonal(dim1=1, dim2=2).clamp_min(1e-30).sqrt())
    lower = torch.where((info == 0)[:, None, None], lower, diagonal)
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    return torch.linalg.solve_triangular(lower, eye.expand_as(lower), upper=False).mT


def log_determinant(factors: Tensor) -> Tensor:
    """log |F|, (K,): half of that of the precision."""
    return (factors if factors.ndim == 2 else factors.diagonal(dim1=1, dim2=2)).log().sum(dim=1)


def maximum_likelihood(found: Moments, floor: float) -> Components:
    """The parameters that maximize the expected log p(x, k), but for `floor`, which is added to all variances.

    Dempster, Laird, Rubin 1977, https://doi.org/10.1111/j.2517-6161.1977.tb01600.x, section 4.3.
    """
    scale = spread_to(found.mass.clamp_min(TINY), found.scatter)
    factors = factors_of(regularized(found.scatter / scale, floor))
    weights = (found.mass + TINY) / (found.mass + TINY).sum()
    bias = weights.log() + log_determinant(factors) - found.mean.shape[1] / 2 * math.log(2 * math.pi)
    return Components(found.mean, factors, bias, bias, bias.new_zeros(()))


class Prior(NamedTuple):
    """Dirichlet over the weights; normal-Wishart over mean and precision (of diagonal ones, normal-gamma a number)."""

    concentration: float
    strength: float  # examples that the prior of a mean counts as
    degrees: float  # of freedom, above D - 1 (above 0 if diagonal)
    mean: Tensor  # (D,)
    covariance: Tensor  # (D, D) or (D,)


def variational(found: Moments, examples: int, prior: Prior, floor: float) -> Components:
    """The best q(parameters) = Dirichlet x normal-Wishart given q(k | x), and with it the expectations that q(k | x)
    needs in turn.

    Bishop 2006, "Pattern Recognition and Machine Learning", section 10.2, equations 10.58 to 10.66 and 10.77.
    """
    full, width = found.scatter.ndim == 3, found.mean.shape[1]
    mass = examples * found.mass
    concentration = prior.concentration + mass
    strength = prior.strength + mass
    degrees = prior.degrees + mass
    means = (prior.strength * prior.mean + mass[:, None] * found.mean) / strength[:, None]
    apart = found.mean - prior.mean
    outer = apart[:, :, None] * apart[:, None] if full else apart.square()
    pulled = prior.strength * mass / strength
    regular = regularized(found.scatter / spread_to(found.mass.clamp_min(TINY), found.scatter), floor)
    inverse_scale = prior.covariance + spread_to(mass, outer) * regular + spread_to(pulled, outer) * outer  # W^-1
    factors = factors_of(inverse_scale / spread_to(degrees, inverse_scale))
    half = log_determinant(factors)

    # E log |precision| - log |its mean|, over two; the arguments of digamma are those of a gamma a number, if diagonal.
    steps = torch.arange(width, dtype=mass.dtype, device=mass.device) if full else mass.new_zeros(width)
    halves = (degrees[:, None] - steps) / 2
    excess = 0.5 * (halves.digamma().sum(dim=1) + width * (math.log(2) - degrees.log()))
    constant = -width / 2 * math.log(2 * math.pi)
    log_weights = concentration.digamma() - concentration.sum().digamma()
    bias = log_weights + half + excess + constant - width / (2 * strength)
    plain = (concentration / concentration.sum()).log() + half + constant

    # KL of each factor of q to the prior.
    start = torch.full_like(concentration, prior.concentration)
    dirichlet = (
        concentration.sum().lgamma() - concentration.lgamma().sum() - start.sum().lgamma() + start.lgamma().sum()
        + (mass * log_weights).sum()
    )  # fmt: skip
    moved = ((means - prior.mean)[:, None] @ factors).squeeze(1) if full else (means - prior.mean) * factors
    ratio = prior.strength / strength
    normal = 0.5 * (width * (ratio - 1 - ratio.log()) + prior.strength * moved.square().sum(dim=1))
    wishart = _wishart_kl(degrees, halves, half, factors, prior, steps)
    return Components(means, factors, bias, plain, dirichlet + (normal + wishart).sum())


def _wishart_kl(degrees: Tensor, halves: Tensor, half: Tensor, factors: Tensor, prior: Prior, steps: Tensor) -> Tensor:
    """(K,): KL(W(mean precision / degrees, degrees) || W(prior covariance^-1, prior degrees)); `half`: half of the log
    determinant of the mean precision."""
    width = factors.shape[1]
    full = factors.ndim == 3
    if full:
        trace = ((factors.mT @ prior.covariance) * factors.mT).sum(dim=(1, 2))
        logdet = torch.linalg.slogdet(prior.covariance).logabsdet
    else:
        trace = (factors.square() * prior.covariance).sum(dim=1)
        logdet = prior.covariance.log().sum()
    before = (prior.degrees - steps) / 2
    log_ratio = -logdet - 2 * half + width * degrees.log()  # log |prior scale| - log |scale|
    return (
        0.5 * prior.degrees * log_ratio
        + 0.5 * trace - 0.5 * width * degrees
        + (before.lgamma() - halves.lgamma()).sum(dim=1)
        + 0.5 * (degrees - prior.degrees) * halves.digamma().sum(dim=1)
    )  # fmt: skip


def clustered(x: Tensor, start: Tensor, steps: int) -> Tensor:
    """The cluster of each after so many steps of Lloyd's k-means: (n, D), (K, D) first centers -> (n, K) 0 or 1."""
    centers = start
    for _ in range(steps):
        member = nearest_of(x, centers)
        size = member.sum(dim=0)[:, None]
        centers = torch.where(size > 0, member.mT @ x / size.clamp_min(1), centers)
    return nearest_of(x, centers)


def nearest_of(x: Tensor, centers: Tensor) -> Tensor:
    """(n, D) and (K, D) -> (n, K): 1 at the nearest center."""
    place = torch.cdist(x, centers).argmin(dim=1)
    return torch.nn.functional.one_hot(place, len(centers)).to(x.dtype)


def mean_of(parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The mean of each tensor over several tuples of tensors."""
    return [torch.stack(list(each)).mean(dim=0) for each in zip(*parts, strict=True)]
