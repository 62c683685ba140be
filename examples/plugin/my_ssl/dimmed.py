"""Views of images in another light."""

import torch
from torch import Tensor

from ssl_runner.interfaces import Views


class Dimmed(Views):
    """Multiply each view of an image by a factor of its own, uniform in [darkest, 1]."""

    def __init__(self, *, views: int, darkest: float) -> None:
        super().__init__()
        if views < 1:
            raise ValueError(f"objective.views.views is {views}; it must be at least 1")
        if not 0 <= darkest <= 1:
            raise ValueError(f"objective.views.darkest is {darkest}; it must lie in [0, 1]")
        self.views = views
        self.darkest = darkest

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (V, B, C, H, W), in [0, 1]."""
        factor = torch.rand(self.views, len(x), 1, 1, 1, device=x.device)
        return x * (self.darkest + (1 - self.darkest) * factor)
