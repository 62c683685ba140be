"""Gather and average tensors over the processes of a distributed run."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def ranks() -> int:
    """The number of processes of a distributed run; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among them, counted from 0."""
    return dist.get_rank() if ranks() > 1 else 0


def gather(x: Tensor) -> Tensor:
    """Concatenate every rank's `x` (B, ...), of one shape, in order of rank: (ranks * B, ...). One process: `x` itself.

    Gradients flow back to the rank a row came from, summed over all ranks' losses. DDP then takes the mean over ranks:
    a loss that is a mean over each rank's own anchors, against candidates of all ranks, has the gradient of the same
    loss on one rank with the whole batch.
    """
    return _Gather.apply(x) if ranks() > 1 else x


def mean_over_ranks(x: Tensor) -> Tensor:
    """The mean of every rank's `x`, without gradient. One process: `x`, detached."""
    x = x.detach()
    if ranks() > 1:
        x = x.clone()
        dist.all_reduce(x)
        x = x / ranks()
    return x


def divisor(weight: Tensor) -> Tensor:
    """What a rank divides its weighted sum by, that the mean over ranks be the weighted mean of all they hold: ().

    `weight` (): the sum of this rank's weights, without gradient. Ranks need not weigh the same: of texts of unequal
    length one has more words than the other. A mean of nothing is 0: all weights count as 1 at least.
    """
    if ranks() == 1:
        return weight.clamp_min(1)
    return mean_over_ranks(weight if weight.is_floating_point() else weight.float()).clamp_min(1 / ranks())


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(ranks())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous().clone()
        dist.all_reduce(grad)
        return grad[rank() * ctx.rows : (rank() + 1) * ctx.rows]
