"""Learned prototypes for embeddings."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Prototypes(nn.Module):
    """Cosine of each embedding with each of `count` learned prototypes: (..., D) -> (..., count), in float32.

    A linear layer whose input and rows are scaled to length 1 when they are read; DINO's last layer, weight-normalized
    with a gain of 1, is the same. `scaled_on_reading=False`: rows are read as they are, and `rescale` gives them length
    1 after each step, as in SwAV.
    """

    def __init__(self, dim: int, count: int, *, scaled_on_reading: bool = True) -> None:
        super().__init__()
        self.scaled_on_reading = scaled_on_reading
        if count < 2:
            raise ValueError(f"objective.prototypes is {count}; there must be at least 2")
        self.weight = nn.Parameter(F.normalize(torch.randn(count, dim), dim=1))

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):  # scores are divided by small temperatures
            rows = F.normalize(self.weight, dim=-1) if self.scaled_on_reading else self.weight
            return F.linear(F.normalize(z.to(self.weight.dtype), dim=-1), rows)

    @torch.no_grad()
    def rescale(self) -> None:
        """Scale the rows to length 1."""
        self.weight.copy_(F.normalize(self.weight, dim=-1))


def check_share(key: str, value: float) -> None:
    """Raises ValueError, naming the key, unless `value` is a fraction of the budget."""
    if not 0 <= value <= 1:
        raise ValueError(f"objective.{key} is {value}; it is a fraction of the budget and must lie in [0, 1]")
