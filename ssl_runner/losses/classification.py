"""Cross-entropy and accuracy of class scores."""

import torch.nn.functional as F
from torch import Tensor

from ssl_runner.losses.precision import float32


@float32
def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """(B, K) scores and (B,) classes -> () nats per example."""
    return F.cross_entropy(logits, target)


def accuracy(logits: Tensor, target: Tensor) -> Tensor:
    """(B, K) scores and (B,) classes -> () part of the examples whose highest score is their class's."""
    return (logits.argmax(dim=1) == target).float().mean()
