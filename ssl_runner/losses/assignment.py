"""Soft assignment of examples to prototypes. V views, B batch, K prototypes."""

import torch
from torch import Tensor

from ssl_runner.losses.precision import float32


@torch.no_grad()
@float32
def sinkhorn(scores: Tensor, *, epsilon: float, iterations: int) -> Tensor:
    """Assign examples to prototypes such that prototypes are used equally: (..., B, K) -> (..., B, K), rows sum to 1.

    The Q that maximizes <Q, scores> + epsilon entropy(Q) among those whose rows sum to 1 and whose columns sum to
    B / K, approached by dividing columns and rows by their sums in turn; logarithms keep it from overflowing. After the
    last iteration only the rows' sums are exact.

    Cuturi 2013, https://arxiv.org/abs/1306.0895; Caron et al. 2020 (SwAV), https://arxiv.org/abs/2006.09882,
    section 3.1.

    >>> sinkhorn(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), epsilon=0.05, iterations=3)  # half of each, for balance
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(dim=-2, keepdim=True)
        log_q = log_q - log_q.logsumexp(dim=-1, keepdim=True)
    return log_q.exp()


@float32
def perplexity(p: Tensor) -> Tensor:
    """The effective number of prototypes, from 1 to K: exp of the entropy of the mean of assignments (N, K), ().

    >>> round(perplexity(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])).item(), 4)
    2.0
    """
    return torch.special.entr(p.mean(dim=0)).sum().exp()
