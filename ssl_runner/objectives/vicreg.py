"""VICReg: invariance of two views' embeddings, with variance and covariance regularization."""

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, Views
from ssl_runner.losses.distillation import output_std
from ssl_runner.losses.redundancy import vicreg_terms
from ssl_runner.nn.gather import gather
from ssl_runner.nn.mlp import MLP, Norm, check_widths
from ssl_runner.views.pairs import two_views


class VICReg(Objective[Tensor, Tensor]):
    """Make two views' embeddings equal, while each dimension varies over the batch and dimensions are decorrelated.

        x = a view of t,   y = another view of t
        loss = invariance |z_x - z_y|^2 / D + variance max(0, 1 - std(z)) + covariance |off-diagonal of Cov(z)|^2 / D

    z = g(f(.)) encoder and projector, means and sums as `losses.redundancy.vicreg_terms` has them.
    Bardes, Ponce, LeCun 2022, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning",
    https://arxiv.org/abs/2105.04906.
    Differs from the paper: AdamW by default in place of LARS; a narrower projector; both views pass through the network
    in one call, so that BatchNorm's statistics are over both.
    """

    def __init__(
        self,
        encoder: Encoder,
        spec: ImageSpec,
        *,
        views: Views,
        projector: list[int],
        projector_norm: Norm,
        invariance: float,
        variance: float,
        covariance: float,
    ) -> None:
        super().__init__()
        check_widths("projector", projector)
        for key, value in (("invariance", invariance), ("variance", variance), ("covariance", covariance)):
            if value < 0:
                raise ValueError(f"objective.{key} is {value}; it is a weight, 0 or more (paper: 25, 25, 1)")
        self.encoder = encoder
        self.views = views
        self.projector = MLP([encoder.dim, *projector], norm=projector_norm)
        self.invariance = invariance
        self.variance = variance
        self.covariance = covariance

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x, y (B, C, h, w)."""
        return two_views(self.views, batch.data)

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        z_x, z_y = self.projector(self.encoder(torch.cat((x, y))).pooled).chunk(2)
        terms = vicreg_terms(gather(z_x), gather(z_y))
        value = self.invariance * terms.invariance + self.variance * terms.variance + self.covariance * terms.covariance
        logs = {name: term.detach() for name, term in terms._asdict().items()}
        return Loss(value, logs | {"output_std": output_std(z_x)})
