"""Barlow Twins: make two views' embeddings invariant and their dimensions decorrelated."""

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, Views
from ssl_runner.losses.distillation import output_std
from ssl_runner.losses.redundancy import barlow_twins, cross_correlation
from ssl_runner.nn.gather import gather
from ssl_runner.nn.mlp import MLP, Norm, check_widths
from ssl_runner.views.pairs import two_views


class BarlowTwins(Objective[Tensor, Tensor]):
    """Make the cross-correlation of two views' embeddings the identity.

        x = a view of t,   y = another view of t,   C = correlation over the batch of z_x with z_y, (D, D)
        loss = sum_i (1 - C_ii)^2 + off_diagonal sum_{i != j} C_ij^2                                           per batch

    z = g(f(.)) encoder and projector.
    Zbontar, Jing, Misra, LeCun, Deny 2021, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction",
    https://arxiv.org/abs/2103.03230.
    Differs from the paper: AdamW by default in place of LARS; a narrower projector; both views pass through the network
    in one call, so that its BatchNorm's statistics are over both (those of C are of each view alone, as in the paper).
    """

    def __init__(
        self,
        encoder: Encoder,
        spec: ImageSpec,
        *,
        views: Views,
        projector: list[int],
        projector_norm: Norm,
        off_diagonal: float,
    ) -> None:
        super().__init__()
        check_widths("projector", projector)
        if not off_diagonal > 0:
            raise ValueError(f"objective.off_diagonal is {off_diagonal}; it must be above 0 (paper: 0.005)")
        self.encoder = encoder
        self.views = views
        self.projector = MLP([encoder.dim, *projector], norm=projector_norm)
        self.off_diagonal = off_diagonal

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x, y (B, C, h, w)."""
        return two_views(self.views, batch.data)

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        z_x, z_y = self.projector(self.encoder(torch.cat((x, y))).pooled).chunk(2)
        correlation = cross_correlation(gather(z_x), gather(z_y))
        with torch.no_grad():
            diagonal, width = correlation.diagonal(), len(correlation)
            rest = (correlation.square().sum() - diagonal.square().sum()) / max(width * (width - 1), 1)
            logs = {"diagonal": diagonal.mean(), "off_diagonal": rest.sqrt(), "output_std": output_std(z_x)}
        return Loss(barlow_twins(correlation, self.off_diagonal), logs)
