"""NNCLR: identify, by the nearest neighbor of one view's embedding, the other view among those of the batch."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_runner.interfaces import Batch, DataSpec, Encoder, Loss, Objective, Views
from ssl_runner.losses.contrastive import info_nce, watched
from ssl_runner.losses.distillation import output_std
from ssl_runner.losses.similarity import cosine_similarity
from ssl_runner.nn.gather import gather, rank
from ssl_runner.nn.mlp import MLP, check_widths
from ssl_runner.nn.queue import Queue
from ssl_runner.views.pairs import two_views


class NNCLR(Objective[Tensor, Tensor]):
    """Take as a positive what is most like it among embeddings of earlier images, in place of the view itself.

        x = a view of t,   y = another view of t
        loss = mean of InfoNCE(cosine(n(z_x), q(z_y)) / temperature) and of that of y and x             nats per example

    z = g(f(.)) encoder and projector, q the predictor, n(.) the nearest of the last `queue` embeddings of first views;
    negatives are the q of the batch's other images. No gradient reaches n.
    Dwibedi, Aytar, Tompson, Sermanet, Zisserman 2021, "With a Little Help from My Friends: Nearest-Neighbor Contrastive
    Learning of Visual Representations", https://arxiv.org/abs/2104.14548, section 3.2.
    Differs from the paper: AdamW by default in place of LARS; a narrower projector of two layers and no BatchNorm after
    the last; a queue for small data, which must be well below the number of images; both views pass through the network
    in one call, so that BatchNorm's statistics are over both.
    """

    collapse: ClassVar[str] = (
        "neighbors are all alike, or the repulsion of negatives is too weak: lower objective.temperature, or raise "
        "objective.queue or batch_size"
    )

    def __init__(
        self,
        encoder: Encoder,
        spec: DataSpec,
        *,
        views: Views,
        projector: list[int],
        predictor: list[int],
        temperature: float,
        queue: int,
    ) -> None:
        super().__init__()
        check_widths("projector", projector)
        if not temperature > 0:
            raise ValueError(f"objective.temperature is {temperature}; it must be above 0 (paper: 0.1)")
        if queue < 1:
            raise ValueError(f"objective.queue is {queue}; it must hold at least 1 embedding (paper: 98304)")
        self.encoder = encoder
        self.views = views
        self.projector = MLP([encoder.dim, *projector], norm="batch")
        self.predictor = MLP([projector[-1], *predictor, projector[-1]], norm="batch")
        self.queue = Queue(queue, projector[-1])
        self.temperature = temperature

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x, y (B, C, h, w), or those of other data."""
        return two_views(self.views, batch.data)

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        z = self.projector(self.encoder(torch.cat((x, y))).pooled)
        similarity = cosine_similarity(z.detach(), self.queue.keys)
        nearest = self.queue.keys[similarity.argmax(dim=1)]
        guess = self.predictor(z)

        first = rank() * len(x)
        terms, logs = [], {}
        for own, other in zip(nearest.chunk(2), guess.chunk(2)[::-1], strict=True):
            sim = cosine_similarity(own, gather(other)) / self.temperature
            pos = torch.zeros_like(sim, dtype=torch.bool)
            pos.diagonal(first).fill_(True)
            terms.append(info_nce(sim, pos, ~pos))
            logs = watched(sim.detach() * self.temperature, sim.detach(), pos, ~pos)
        logs |= {"neighbor_similarity": similarity.amax(dim=1).mean(), "output_std": output_std(z)}
        return Loss(torch.stack(terms).mean(), logs, F.normalize(z.detach()[: len(x)].float(), dim=1))

    def after_step(self, carries: Sequence[Tensor], progress: float) -> None:
        """`carries` (B, D) each: the embeddings of a batch's first views."""
        for keys in carries:
            self.queue.push(keys, torch.full((len(keys),), -1, device=keys.device))  # no label is read
