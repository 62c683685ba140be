"""Views by different recipes."""

import torch
from torch import Tensor

from ssl_runner.interfaces import Views


class PerView(Views):
    """Views by two recipes: those of `first`, and then those of `second`.

    Grill et al. 2020 (BYOL), https://arxiv.org/abs/2006.07733, appendix B: one view of each image is always blurred,
    the other rarely, and sometimes solarized. Both recipes must give views of one size.
    """

    def __init__(self, *, first: Views, second: Views) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, x: Tensor) -> Tensor:
        """As the recipes; raises ValueError where they give views of two sizes."""
        one, other = self.first(x), self.second(x)
        if one.shape[1:] != other.shape[1:]:
            raise ValueError(
                f"objective.views.first gives views of {tuple(one.shape[3:])} and objective.views.second of "
                f"{tuple(other.shape[3:])}: set both sizes alike"
            )
        return torch.cat((one, other))
