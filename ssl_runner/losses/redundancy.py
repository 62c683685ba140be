"""Redundancy reduction of two embeddings: invariance, variance and covariance. B batch, D width."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_runner.losses.precision import float32

EPS = 1e-5  # BatchNorm's; added to the variance of a dimension that is divided by its deviation


@float32
def cross_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Correlation over the batch of each dimension of `a` with each of `b`: (B, D), (B, D) -> (D, D) in [-1, 1].

    A dimension without variance correlates with none.
    """
    return _standardize(a).T @ _standardize(b) / len(a)


def _standardize(z: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the batch."""
    z = z - z.mean(0)
    return z * (z.square().mean(0) + EPS).rsqrt()


@float32
def barlow_twins(correlation: Tensor, off_diagonal: float) -> Tensor:
    """Distance of a (D, D) cross-correlation from the identity: ().

        sum_i (1 - C_ii)^2 + off_diagonal sum_{i != j} C_ij^2

    Zbontar, Jing, Misra, LeCun, Deny 2021, "Barlow Twins", https://arxiv.org/abs/2103.03230, eq. 1.

    >>> c = torch.tensor([[0.5, 2.0], [3.0, 1.0]])
    >>> round(barlow_twins(c, off_diagonal=0.1).item(), 4)  # 0.25 + 0.1 (4 + 9)
    1.55
    """
    diagonal = correlation.diagonal()
    redundancy = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + off_diagonal * redundancy


class Terms(NamedTuple):
    """VICReg's three terms, () each, unweighted."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


@float32
def vicreg_terms(a: Tensor, b: Tensor) -> Terms:
    """Invariance, variance and covariance of two embeddings, (B, D) each.

        invariance = mean over i, j of (a_ij - b_ij)^2
        variance   = mean over a, b and j of max(0, 1 - sqrt(Var(z_j) + 0.0001))
        covariance = sum over a, b of sum_{j != k} Cov(z_j, z_k)^2 / D                 Var and Cov divided by B - 1

    Bardes, Ponce, LeCun 2022, "VICReg", https://arxiv.org/abs/2105.04906, eq. 1 to 5, in the authors' units: their
    code, for which the weights 25, 25, 1 are, takes the invariance as a mean over dimensions too and the variance as a
    mean over both embeddings, where the equations have sums.
    """
    variance = torch.stack([F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean() for z in (a, b)]).mean()
    covariance = torch.stack([_off_diagonal_power(_covariance(z)) / z.shape[1] for z in (a, b)]).sum()
    return Terms((a - b).square().mean(), variance, covariance)


def _covariance(z: Tensor) -> Tensor:
    """(B, D) -> (D, D)."""
    z = z - z.mean(0)
    return z.T @ z / (len(z) - 1)


def _off_diagonal_power(matrix: Tensor) -> Tensor:
    """Sum of squared off-diagonal entries of a square matrix."""
    return matrix.square().sum() - matrix.diagonal().square().sum()
