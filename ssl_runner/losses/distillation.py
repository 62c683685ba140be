"""How far one network's output is from another's. B batch, V views, D width, K outputs."""

import math

import torch.nn.functional as F
from torch import Tensor

from ssl_runner.losses.precision import float32


@float32
def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of each row of (B, D) with the same row of (B, D): (B,)."""
    return F.cosine_similarity(a, b, dim=1)


@float32
def output_std(z: Tensor) -> Tensor:
    """Standard deviation of the directions of (B, D) outputs, as a multiple of that of evenly spread ones: ().

        sqrt(D) mean over j of std over i of z_ij / |z_i|

    1 where directions are spread over the whole sphere, 0 where all outputs are one: collapse. Chen, He 2021 (SimSiam),
    https://arxiv.org/abs/2011.10566, figure 2. Without gradient.

    >>> z = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    >>> round(output_std(z).item(), 6)
    1.0
    """
    z = F.normalize(z.detach(), dim=1)
    return math.sqrt(z.shape[1]) * z.std(dim=0, correction=0).mean()
