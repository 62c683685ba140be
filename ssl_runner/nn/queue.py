"""A first-in, first-out memory of embeddings."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.nn.gather import gather


class Queue(nn.Module):
    """Keep the last `size` keys as negatives for later batches.

    He, Fan, Wu, Xie, Girshick 2020, "Momentum Contrast for Unsupervised Visual Representation Learning",
    https://arxiv.org/abs/1911.05722, algorithm 1. Until they are overwritten the places hold random unit vectors, drawn
    by the constructor, labeled -1; `filled` tells them apart.
    Differs from the paper: the size need not be a multiple of the batch's.
    """

    keys: Tensor  # (size, D)
    labels: Tensor  # (size,) int64; -1 where unlabeled
    pointer: Tensor  # () int64: the place that is overwritten next
    pushed: Tensor  # () int64: keys pushed so far

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"the size of the queue is {size}; it must be at least 1 key")
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("labels", torch.full((size,), -1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.long))

    @property
    def filled(self) -> Tensor:
        """(size,) bool: which slots hold keys."""
        return torch.arange(len(self.keys), device=self.keys.device) < self.pushed

    @torch.no_grad()
    def push(self, keys: Tensor, labels: Tensor) -> None:
        """Overwrite the oldest keys by those of all ranks, (B, D) and (B,) of this rank; the host does not wait."""
        keys, labels = gather(keys.detach()), gather(labels)
        size, count = len(self.keys), len(keys)
        places = (self.pointer + torch.arange(count, device=keys.device))[-size:] % size
        self.keys.index_copy_(0, places, keys[-size:].to(self.keys.dtype))
        self.labels.index_copy_(0, places, labels[-size:])
        self.pointer.copy_((self.pointer + count) % size)
        self.pushed.add_(count)
