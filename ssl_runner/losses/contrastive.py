"""Contrastive rules. All have one form, so that views, similarity, rule and negatives are orthogonal choices.

`sim` (N, M) similarities of N anchors to M candidates; `pos`, `neg` (N, M) bool: which candidates are positives and
negatives of which anchor (neither: ignored, as an anchor's similarity to itself).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ssl_runner.losses.precision import float32


@float32
def cosine_similarity(a: Tensor, b: Tensor) -> Tensor:
    """(N, D), (M, D) -> (N, M) cosines."""
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


@float32
def info_nce(sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
    r"""Score each positive against all negatives of its anchor; nats per positive pair.

        loss = mean over pairs (i, j) of  -log( e^{s_ij} / (e^{s_ij} + sum_{k in neg(i)} e^{s_ik}) )

    van den Oord, Li, Vinyals 2018, https://arxiv.org/abs/1807.03748, eq. 4. With cosines over tau, two views, and all
    other views as negatives it is NT-Xent (Chen et al. 2020, https://arxiv.org/abs/2002.05709, eq. 1).

    Every anchor needs a negative.

    >>> import torch
    >>> sim = torch.tensor([[2.0, 1.0, 0.0]])
    >>> pos, neg = torch.tensor([[True, False, False]]), torch.tensor([[False, True, True]])
    >>> round(info_nce(sim, pos, neg).item(), 4)  # log(1 + e^-1 + e^-2)
    0.4076
    """
    negatives = sim.masked_fill(~neg, float("-inf")).logsumexp(dim=1, keepdim=True)
    pairs = F.softplus(negatives - sim)  # log(e^s + e^n) - s
    return (pairs * pos).sum() / pos.sum()


class InfoNCE(nn.Module):
    """`info_nce` of similarities divided by a temperature. Nats per positive pair."""

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"objective.loss.temperature is {temperature}; it must be above 0 (SimCLR: 0.1 to 0.5)")
        self.temperature = temperature

    def forward(self, sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        return info_nce(sim / self.temperature, pos, neg)
