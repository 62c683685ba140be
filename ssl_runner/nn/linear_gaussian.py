"""The linear model with normal latent variables: its density and its posterior. B examples, D numbers, L latents."""

import math

import torch
from torch import Tensor


def log_density(x: Tensor, loadings: Tensor, mean: Tensor, deviation: float) -> Tensor:
    """(B, D), (D, L) and (D,) -> (B,): log N(x; mean, W W^T + deviation^2 I), nats.

    By the matrix inversion and determinant lemmas, in L dimensions.
    """
    apart = x - mean
    center, precision = posterior(x, loadings, mean, deviation)
    explained = (apart @ loadings * center).sum(dim=1) / deviation**2
    quadratic = apart.square().sum(dim=1) / deviation**2 - explained
    log_determinant = precision.logdet() + 2 * x.shape[1] * math.log(deviation)
    return -0.5 * (quadratic + log_determinant + x.shape[1] * math.log(2 * math.pi))


def posterior(x: Tensor, loadings: Tensor, mean: Tensor, deviation: float) -> tuple[Tensor, Tensor]:
    """(B, L) and (L, L): the mean and the precision of p(z | x).

        precision = I + W^T W / deviation^2,   mean = precision^-1 W^T (x - mean) / deviation^2

    Bishop 2006, "Pattern Recognition and Machine Learning", equations 12.41 and 12.42.
    """
    eye = torch.eye(loadings.shape[1], dtype=loadings.dtype, device=loadings.device)
    precision = eye + loadings.mT @ loadings / deviation**2
    seen = (x - mean) @ loadings / deviation**2
    return torch.linalg.solve(precision, seen.mT).mT, precision
