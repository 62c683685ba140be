"""MoCo: identify the key of another view among a queue of keys of other images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, Views
from ssl_runner.losses.contrastive import watched
from ssl_runner.losses.distillation import cosine, output_std
from ssl_runner.losses.rules import Rule
from ssl_runner.losses.similarity import cosine_similarity
from ssl_runner.nn.ema import EMA, check_momentum
from ssl_runner.nn.mlp import MLP, check_widths
from ssl_runner.nn.queue import Queue
from ssl_runner.views.pairs import two_views


class MoCo(Objective[Tensor, Tensor]):
    """Distinguish the key of another view of the image from the keys of earlier images.

        x = a view of t, the query,   y = another view of t, the key
        loss = rule(cosine(z_x, z'_y); cosine(z_x, each key in the queue))                      nats per query (InfoNCE)

    z = g(f(.)) encoder and projector, z' their moving average. The keys of a step join the queue after it, and the
    oldest leave. The encoder that is kept is that of the queries, f, as in the authors' evaluation, not its average.
    He, Fan, Wu, Xie, Girshick 2020, "Momentum Contrast for Unsupervised Visual Representation Learning",
    https://arxiv.org/abs/1911.05722, with the head and the temperature of Chen, Fan, Girshick, He 2020 (MoCo v2),
    https://arxiv.org/abs/2003.04297.
    Differs from the paper: AdamW by default in place of SGD; a momentum and a queue for small data; BatchNorm is not
    shuffled. That matters with BatchNorm in the encoder: query and positive are then normalized by the statistics of
    one batch, the queue by those of earlier ones, by which a network can tell them apart without looking at the image
    (accuracy rises while the probe does not). The paper encodes keys in another order, in small groups, one a GPU.
    backbone.norm=group (convnet) and Transformers do not leak. The keys' BatchNorm uses the statistics of the batch.
    """

    def __init__(
        self,
        encoder: Encoder,
        spec: ImageSpec,
        *,
        views: Views,
        loss: Rule,
        projector: list[int],
        queue: int,
        momentum: float,
    ) -> None:
        super().__init__()
        check_widths("projector", projector)
        check_momentum("momentum", momentum)
        if queue < 1:
            raise ValueError(f"objective.queue is {queue}; it must hold at least 1 key (paper: 65536)")
        self.encoder = encoder
        self.views = views
        self.rule = loss
        self.projector = MLP([encoder.dim, *projector], norm="none")
        self.key_encoder = EMA(self.encoder)
        self.key_projector = EMA(self.projector)
        self.queue = Queue(queue, projector[-1])
        self.momentum = momentum

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x, y (B, C, h, w)."""
        return two_views(self.views, batch.data)

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        z = self.projector(self.encoder(x).pooled)
        key = self.key_projector(self.key_encoder(y).pooled)
        sim = torch.cat((cosine(z, key)[:, None], cosine_similarity(z, self.queue.keys)), dim=1)  # (B, 1 + queue)
        pos = torch.zeros_like(sim, dtype=torch.bool)
        pos[:, 0] = True
        value = self.rule(sim, pos, ~pos)  # random keys, which the queue starts with, are negatives as in the paper

        sim = sim.detach()
        logs = watched(sim, self.rule.critic(sim), pos, ~pos) | self.rule.watched() | {"output_std": output_std(z)}
        return Loss(value, logs, F.normalize(key.float(), dim=1))

    def after_step(self, carries: Sequence[Tensor], progress: float) -> None:
        """`carries` (B, D) each: the keys of a batch."""
        self.key_encoder.update(self.encoder, self.momentum)
        self.key_projector.update(self.projector, self.momentum)
        for keys in carries:
            self.queue.push(keys, torch.full((len(keys),), -1, device=keys.device))  # no label is read
