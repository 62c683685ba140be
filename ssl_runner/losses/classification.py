"""Cross-entropy and accuracy of class scores."""

import torch.nn.functional as F
from torch import Tensor

from ssl_runner.losses.precision import float32


@float32
def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """(B, K) scores and (B,) classes -> () nats per example."""
    return F.cross_entropy(logits, target)


@float32
def weighted_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """(B, K, ...) scores, (B, ...) classes, (K,) weights -> () weighted nats per prediction.

    Unlike torch's, the sum is divided by the number of terms, not by their weights, so that batches have equal weight.
    """
    return (F.cross_entropy(logits, target, reduction="none") * weight[target]).mean()


def accuracy(logits: Tensor, target: Tensor) -> Tensor:
    """(B, K, ...) scores and (B, ...) classes -> () part of the classes asked for that have the highest score."""
    return (logits.argmax(dim=1) == target).float().mean()
