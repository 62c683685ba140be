"""Reconstruction errors of pixels, as negative log-likelihoods."""

import torch.nn.functional as F
from torch import Tensor

from ssl_runner.losses.precision import float32


@float32
def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error of each value, (...) and (...) -> (...).

    Up to scale and a constant, the Gaussian's -log p with a fixed variance.
    """
    return (prediction - target).square()


@float32
def bernoulli_nll(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each pixel value in [0, 1] read as a probability, in nats, (...) and (...) -> (...)."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


@float32
def absolute_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Absolute error of each value, (...) and (...) -> (...): the Laplacian's -log p, likewise."""
    return (prediction - target).abs()
