"""A codebook whose entries follow the vectors that are nearest to them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Codebook(nn.Module):
    """`count` codes of D numbers; each is a moving average of the vectors that it was nearest to.

        share_k <- decay share_k + (1 - decay) (share of vectors nearest to k),   total_k likewise of their sum
        code_k = total_k / share_k

    van den Oord, Vinyals, Kavukcuoglu 2017, "Neural Discrete Representation Learning",
    https://arxiv.org/abs/1711.00937, appendix A.1. A code whose share falls below `least` of an equal one begins again
    at a vector of the batch, as all do at the first step (Dhariwal et al. 2020, https://arxiv.org/abs/2005.00341).
    """

    codes: Tensor  # (K, D)
    share: Tensor  # (K,)
    total: Tensor  # (K, D)
    steps: Tensor  # (1,) int64

    def __init__(self, count: int, width: int, *, decay: float, least: float) -> None:
        super().__init__()
        self.decay = decay
        self.least = least
        self.register_buffer("codes", torch.randn(count, width) / count)
        self.register_buffer("share", torch.full((count,), 1 / count))
        self.register_buffer("total", self.codes / count)
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))

    def nearest(self, z: Tensor) -> Tensor:
        """(..., D) -> (...) int64: the code of each vector."""
        flat = z.reshape(-1, z.shape[-1]).to(self.codes.dtype)
        with torch.autocast(z.device.type, enabled=False):  # distances differ by less than half precision tells apart
            distance = self.codes.square().sum(dim=1) - 2 * flat @ self.codes.mT
        return distance.argmin(dim=1).view(z.shape[:-1])

    def statistics(self, z: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """(n, D) vectors and (n,) their codes -> (K,) and (K, D): share of the vectors of each code, and their sum over
        n. Those of batches of one size average to those of all."""
        member = F.one_hot(chosen, len(self.codes)).to(self.codes.dtype)
        with torch.autocast(z.device.type, enabled=False):
            return member.mean(dim=0), member.mT @ z.to(self.codes.dtype) / len(z)

    @torch.no_grad()
    def update(self, share: Tensor, total: Tensor, spare: Tensor) -> None:
        """`share`, `total`: `statistics` of a step; `spare` (m, D): vectors at which codes begin again, first come."""
        self.share.lerp_(share, 1 - self.decay)
        self.total.lerp_(total, 1 - self.decay)
        equal = 1 / len(self.codes)
        dead = (self.share < self.least * equal) | (self.steps == 0)
        place = (dead.cumsum(dim=0) - 1).clamp_min(0) % len(spare)
        begun = spare.to(self.codes.dtype)[place]
        self.share.copy_(torch.where(dead, equal, self.share))
        self.total.copy_(torch.where(dead[:, None], begun * equal, self.total))
        self.codes.copy_(self.total / self.share[:, None])
        self.steps.add_(1)


def perplexity(share: Tensor) -> Tensor:
    """e^entropy of a distribution (K,): the number of codes that are used, if all of these equally.

    >>> perplexity(torch.tensor([0.5, 0.5, 0.0]))
    tensor(2.)
    """
    return torch.special.entr(share).sum().exp()
