"""BYOL: predict a momentum network's embedding of one view from the other view."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, DataSpec, Encoder, Loss, Objective, Views
from ssl_runner.losses.distillation import cosine, output_std
from ssl_runner.nn.ema import EMA, MomentumSchedule, check_momentum, momentum_at
from ssl_runner.nn.mlp import MLP, LastNorm, Norm, check_widths
from ssl_runner.views.pairs import two_views


class BYOL(Objective[Tensor, Tensor]):
    """Predict the embedding of another view by a moving average of the network; there are no negatives.

        x = a view of t,   y = another view of t
        loss = |q(z_x) - z'_y|^2 + |q(z_y) - z'_x|^2,   vectors scaled to length 1                per example, in [0, 8]

    z = g(f(.)) encoder and projector, z' their moving average, q the predictor. The encoder that is kept is f, as in
    the paper (section 3.1 there), not its average.
    Grill, Strub, Altche, Tallec, Richemond et al. 2020, "BYOL Your Own Latent: A New Approach to Self-Supervised
    Learning", https://arxiv.org/abs/2006.07733.
    Differs from the paper: AdamW by default in place of LARS; both views pass through the network in one call, so that
    BatchNorm's statistics are over both; both are drawn by the same recipe (objective/views=byol: each by its own). As
    in the paper the target's BatchNorm uses the statistics of the batch.
    """

    def __init__(
        self,
        encoder: Encoder,
        spec: DataSpec,
        *,
        views: Views,
        projector: list[int],
        projector_norm: Norm,
        projector_last_norm: LastNorm,
        predictor: list[int],
        momentum: float,
        momentum_schedule: MomentumSchedule,
    ) -> None:
        super().__init__()
        check_widths("projector", projector)
        check_momentum("momentum", momentum, momentum_schedule)
        self.encoder = encoder
        self.views = views
        self.projector = MLP([encoder.dim, *projector], norm=projector_norm, last_norm=projector_last_norm)
        self.predictor = MLP([projector[-1], *predictor, projector[-1]], norm="batch")
        self.target_encoder = EMA(self.encoder)
        self.target_projector = EMA(self.projector)
        self.momentum = momentum
        self.momentum_schedule = momentum_schedule

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x, y (B, C, h, w), or those of other data."""
        return two_views(self.views, batch.data)

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        seen = torch.cat((x, y))
        z = self.projector(self.encoder(seen).pooled)
        target = self.target_projector(self.target_encoder(seen).pooled)
        similarity = cosine(self.predictor(z), target.roll(len(x), dims=0)).mean()
        logs = {"similarity": similarity.detach(), "output_std": output_std(z)}
        return Loss(4 - 4 * similarity, logs)  # each of two terms is 2 - 2 cosine

    def after_step(self, carries: Sequence[None], progress: float) -> None:
        momentum = momentum_at(self.momentum_schedule, self.momentum, progress)
        self.target_encoder.update(self.encoder, momentum)
        self.target_projector.update(self.projector, momentum)
