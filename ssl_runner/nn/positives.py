"""Definitions of positives: views of examples of the same group are positives of each other. V views, B batch."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_runner.interfaces import Encoder
from ssl_runner.nn.gather import gather


class Positives(nn.Module, ABC):
    """Assign each example of a batch to a group."""

    @abstractmethod
    def forward(self, features: Tensor, source: Tensor, label: Tensor) -> Tensor:
        """The encoder's features (V, B, D), the examples' places in the data (B,), labels (B,) -> (B,) int64.

        Numbers below 0 are of groups of one example, which is only like itself.
        """

    def update(self, features: Tensor, progress: float) -> None:
        """Learn from the features of a step, once an optimizer step. `progress` of the budget, in [0, 1]."""


def alone(source: Tensor) -> Tensor:
    """A group for each example: (B,) -> (B,), below 0."""
    return -1 - source


class Augmentation(Positives):
    """Only views of the same example are positives."""

    def forward(self, features: Tensor, source: Tensor, label: Tensor) -> Tensor:
        return alone(source)


class Label(Positives):
    """Views of examples with the same label are positives; an unlabeled example (-1) is a group of its own."""

    def forward(self, features: Tensor, source: Tensor, label: Tensor) -> Tensor:
        return torch.where(label < 0, alone(source), label)


class PseudoLabel(Positives):
    """Views of examples in the same cluster of the encoder's features are positives; by online k-means.

    Clusters are of the mean over views of features scaled to length 1, by Euclidean distance. Each step moves a center
    to the mean of its members, an average over steps that forgets by `momentum`; a cluster that holds under a tenth of
    an even share starts again at a random example. Until `warmup`, a part of the budget, is over an example is only
    like itself: the clusters of an untrained encoder mean little.
    Caron, Bojanowski, Joulin, Douze 2018, "Deep Clustering for Unsupervised Learning of Visual Features",
    https://arxiv.org/abs/1807.05520 (clusters as labels); Sculley 2010, "Web-Scale K-Means Clustering",
    https://doi.org/10.1145/1772690.1772862 (by batches).
    Differs from the papers: clusters are positives rather than classes to predict, and centers forget.
    """

    sums: Tensor  # (K, D) of members, per example of a batch, averaged over steps
    shares: Tensor  # (K,) of examples, likewise
    ready: Tensor  # () bool: whether the warm-up is over

    def __init__(self, encoder: Encoder, *, clusters: int, momentum: float, warmup: float) -> None:
        super().__init__()
        if clusters < 2:
            raise ValueError(f"objective.positives.clusters is {clusters}; it must be at least 2")
        if not 0 <= momentum < 1:
            raise ValueError(f"objective.positives.momentum is {momentum}; it must lie in [0, 1)")
        if not 0 <= warmup <= 1:
            raise ValueError(f"objective.positives.warmup is {warmup}; it must lie in [0, 1]")
        self.momentum = momentum
        self.warmup = warmup
        self.register_buffer("sums", torch.zeros(clusters, encoder.dim))
        self.register_buffer("shares", torch.zeros(clusters))
        self.register_buffer("ready", torch.tensor(False))

    @torch.no_grad()
    def forward(self, features: Tensor, source: Tensor, label: Tensor) -> Tensor:
        return torch.where(self.ready, self._nearest(_points(features)), alone(source))

    @torch.no_grad()
    def update(self, features: Tensor, progress: float) -> None:
        points = gather(_points(features))
        member = F.one_hot(self._nearest(points), len(self.sums)).to(points.dtype)
        self.sums.lerp_(member.T @ points / len(points), 1 - self.momentum)
        self.shares.lerp_(member.mean(dim=0), 1 - self.momentum)
        even = 1 / len(self.sums)
        empty = self.shares < even / 10
        drawn = torch.randint(len(points), (len(self.sums),), device=points.device)
        chosen = points[gather(drawn)[: len(drawn)]]  # the first process draws for all
        self.sums.copy_(torch.where(empty[:, None], chosen * even, self.sums))
        self.shares.masked_fill_(empty, even)
        self.ready.fill_(progress >= self.warmup)

    def _nearest(self, points: Tensor) -> Tensor:
        """(B, D) -> (B,) the nearest center."""
        centers = self.sums / self.shares.clamp_min(1e-12)[:, None]
        return torch.addmm(centers.square().sum(dim=1), points, centers.T, alpha=-2).argmin(dim=1)


def _points(features: Tensor) -> Tensor:
    """(V, B, D) -> (B, D), at least in float32."""
    wide = torch.promote_types(features.dtype, torch.float32)
    return F.normalize(features.to(wide), dim=2).mean(dim=0)
