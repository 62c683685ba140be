"""Distances of one network's output from another's. B batch, V views, D width, K outputs."""

import math

import torch
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


@float32
def cross_view_entropy(target: Tensor, log_p: Tensor) -> Tensor:
    """Cross-entropy of each view's output with the target of each other view: (V', B, K), (V, B, K) -> () nats.

        loss = - mean over i, v <= V', w != v of sum_k target_vik log p_wik

    `target`: probabilities for the first V' of the V views, of which log_p holds the logarithms of probabilities.
    Caron et al. 2021 (DINO), https://arxiv.org/abs/2104.14294, eq. 3, and SwAV's for several crops (Caron et al. 2020,
    https://arxiv.org/abs/2006.09882, section 3.2), as means. All pairs are one matrix product: no (V', V, B, K).
    """
    views, batch = len(target), target.shape[1]
    pairs = target.flatten(1) @ log_p.flatten(1).T / batch  # (V', V)
    return -(pairs.sum() - pairs.diagonal().sum()) / (views * (len(log_p) - 1))


@float32
def masked_entropy(target: Tensor, log_p: Tensor, masked: Tensor) -> Tensor:
    """Cross-entropy with targets at masked places: (B, N, K), (B, N, K), (B, N) bool -> () nats.

        loss = - mean over i of mean over masked n of sum_k target_ink log p_ink

    An example without any costs nothing, and counts. Zhou et al. 2022 (iBOT), https://arxiv.org/abs/2111.07832.
    """
    costs = -(target * log_p).sum(dim=-1) * masked
    return (costs.sum(dim=1) / masked.sum(dim=1).clamp_min(1)).mean()


@float32
def entropy(p: Tensor) -> Tensor:
    """Mean entropy of probabilities (..., K), in nats: ()."""
    return torch.special.entr(p).sum(dim=-1).mean()


def warmed(ends: tuple[float, float], progress: float, warmup: float) -> float:
    """A teacher's temperature at a progress in [0, 1]: linear from the first to the last over the part `warmup`.

    >>> [round(warmed((0.04, 0.07), progress, 0.5), 3) for progress in (0, 0.25, 0.5, 1)]
    [0.04, 0.055, 0.07, 0.07]
    """
    first, last = ends
    return first + (last - first) * (min(progress / warmup, 1.0) if warmup > 0 else 1.0)
