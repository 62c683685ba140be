"""Distances of predicted features from those of another network."""

import torch.nn.functional as F
from torch import Tensor

from ssl_runner.losses.precision import float32


@float32
def standardized(tokens: Tensor) -> Tensor:
    """(..., D) -> (..., D): each token less its mean and over its deviation, so that no scale can be made small."""
    return F.layer_norm(tokens, tokens.shape[-1:])


@float32
def smooth_error(found: Tensor, target: Tensor) -> Tensor:
    """Mean over all values of d^2 / 2 where |d| < 1, else |d| - 1/2, d their difference: ()."""
    return F.smooth_l1_loss(found, target)


@float32
def absolute_error(found: Tensor, target: Tensor) -> Tensor:
    """Mean over all values of |d|, d their difference: ()."""
    return F.l1_loss(found, target)
