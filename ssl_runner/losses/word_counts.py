"""Losses on co-occurrence counts of words."""

import torch
from torch import Tensor

from ssl_runner.losses.precision import float32


@float32
def log_count_squares(guess: Tensor, count: Tensor, share: Tensor, *, x_max: float, alpha: float) -> Tensor:
    """GloVe's weighted squares of meetings of words -> (), their sum; X being a count, each meeting adds

        share / X * min(1, (X / x_max)^alpha) * (guess - log X)^2

    and nothing where X is 0. `guess`, `count` and `share` have one shape. Where the shares of each pair's meetings sum
    to its count, this is the sum over all pairs with X > 0 in Pennington, Socher, Manning 2014,
    https://aclanthology.org/D14-1162, equation 8.
    """
    known = torch.where(count > 0, count, 1)
    weight = torch.where(count > 0, share / known * (known / x_max).clamp_max(1) ** alpha, 0)
    return (weight * (guess - known.log()).square()).sum()
