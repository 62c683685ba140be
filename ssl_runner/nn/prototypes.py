"""Learned prototypes for embeddings."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Prototypes(nn.Module):
    """Cosine of each embedding with each of `count` learned prototypes: (..., D) -> (..., count), in float32.

    A linear layer whose input and rows are scaled to length 1 when they are read; DINO's last layer, weight-normalized
    with a gain of 1, is the same.
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        if count < 2:
            raise ValueError(f"objective.prototypes is {count}; there must be at least 2")
        self.weight = nn.Parameter(F.normalize(torch.randn(count, dim), dim=1))

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):  # scores are divided by small temperatures
            return F.linear(F.normalize(z.to(self.weight.dtype), dim=-1), F.normalize(self.weight, dim=-1))
