"""MoCo: identify the key of another view among a queue of keys of other images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, Views
from ssl_runner.losses.contrastive import watched
from ssl_runner.losses.distillation import cosine, output_std
from ssl_runner.losses.rules import Rule
from ssl_runner.losses.similarity import cosine_similarity
from ssl_runner.nn.ema import EMA, MomentumSchedule, check_momentum, momentum_at
from ssl_runner.nn.gather import gather, rank
from ssl_runner.nn.mlp import MLP, LastNorm, Norm, check_widths
from ssl_runner.nn.queue import Queue
from ssl_runner.views.pairs import two_views


class MoCo(Objective[Tensor, Tensor]):
    """Distinguish the key of another view of the image from the keys of earlier images.

        x = a view of t, the query,   y = another view of t, the key
        loss = rule(cosine(z_x, z'_y); cosine(z_x, each key in the queue))                      nats per query (InfoNCE)

    z = g(f(.)) encoder and projector, z' their moving average. The keys of a step join the queue after it, and the
    oldest leave. The encoder that is kept is that of the queries, f, as in the authors' evaluation, not its average.
    `symmetric`: each view is a query once, and the loss is the mean of both. `queue: 0`: the keys of the other images
    of the batch are the negatives, of all processes. `predictor`: an MLP that only queries pass. With both, and
    symmetric, this is MoCo v3: Chen, Xie, He 2021, "An Empirical Study of Training Self-Supervised Vision
    Transformers", https://arxiv.org/abs/2104.02057, algorithm 1, whose loss is 4 temperature times this one.
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
        projector_norm: Norm,
        projector_last_norm: LastNorm,
        predictor: list[int],
        predictor_last_norm: LastNorm,
        symmetric: bool,
        queue: int,
        momentum: float,
        momentum_schedule: MomentumSchedule,
    ) -> None:
        super().__init__()
        check_widths("projector", projector)
        check_momentum("momentum", momentum, momentum_schedule)
        if queue < 0:
            raise ValueError(
                f"objective.queue is {queue}; it must be a number of keys (paper: 65536), or 0: the keys of the batch"
            )
        self.encoder = encoder
        self.views = views
        self.rule = loss
        self.projector = MLP([encoder.dim, *projector], norm=projector_norm, last_norm=projector_last_norm)
        self.predictor = _predictor(projector[-1], predictor, predictor_last_norm) if predictor else nn.Identity()
        self.key_encoder = EMA(self.encoder)
        self.key_projector = EMA(self.projector)
        self.queue = Queue(queue, projector[-1]) if queue else None
        self.symmetric = symmetric
        self.momentum = momentum
        self.momentum_schedule = momentum_schedule

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x, y (B, C, h, w)."""
        return two_views(self.views, batch.data)

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        queries, keyed = (torch.cat((x, y)), torch.cat((y, x))) if self.symmetric else (x, y)
        z = self.predictor(self.projector(self.encoder(queries).pooled))
        key = self.key_projector(self.key_encoder(keyed).pooled)
        sim, pos = self._against_queue(z, key) if self.queue is not None else self._in_batch(z, key, len(x))
        value = self.rule(sim, pos, ~pos)  # random keys, which the queue starts with, are negatives as in the paper

        sim = sim.detach()
        logs = watched(sim, self.rule.critic(sim), pos, ~pos) | self.rule.watched() | {"output_std": output_std(z)}
        return Loss(value, logs, F.normalize(key.float(), dim=1))

    def _against_queue(self, z: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Similarities (n, 1 + queue), of which the first column is of the positives, (n, 1 + queue) bool."""
        assert self.queue is not None
        sim = torch.cat((cosine(z, key)[:, None], cosine_similarity(z, self.queue.keys)), dim=1)
        pos = torch.zeros_like(sim, dtype=torch.bool)
        pos[:, 0] = True
        return sim, pos

    def _in_batch(self, z: Tensor, key: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Similarities (n, keys of one view in all processes), and which are of positives, of the same shape."""
        own = torch.arange(count, device=z.device) + rank() * count
        sims = [
            cosine_similarity(query, gather(keys)) for query, keys in zip(z.split(count), key.split(count), strict=True)
        ]
        pos = torch.arange(sims[0].shape[1], device=z.device) == own[:, None]
        return torch.cat(sims), pos.repeat(len(sims), 1)

    def after_step(self, carries: Sequence[Tensor], progress: float) -> None:
        """`carries` (B, D) each: the keys of a batch."""
        momentum = momentum_at(self.momentum_schedule, self.momentum, progress)
        self.key_encoder.update(self.encoder, momentum)
        self.key_projector.update(self.projector, momentum)
        if self.queue is None:
            return
        for keys in carries:
            self.queue.push(keys, torch.full((len(keys),), -1, device=keys.device))  # no label is read


def _predictor(dim: int, widths: list[int], last_norm: LastNorm) -> MLP:
    check_widths("predictor", widths)
    return MLP([dim, *widths, dim], norm="batch", last_norm=last_norm)
