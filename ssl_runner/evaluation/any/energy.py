"""The energy distance between two clouds of points."""

import torch
from torch import Tensor


def energy_distance(x: Tensor, y: Tensor) -> float:
    """Between two clouds of points, (n, ...) and (m, ...), n, m >= 2, without bias: near 0, also below, if alike."""
    x, y = (z.flatten(1).cpu().double() for z in (x, y))  # not every device has float64

    def within(z: Tensor) -> Tensor:
        return torch.cdist(z, z).sum() / (len(z) * (len(z) - 1))  # none with itself

    return (2 * torch.cdist(x, y).mean() - within(x) - within(y)).item()
