"""LeJEPA: predict the mean embedding of an image's large crops from every crop, with embeddings held to be normal."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, Views
from ssl_runner.losses.distillation import output_std
from ssl_runner.losses.normality import sigreg
from ssl_runner.nn.gather import gather
from ssl_runner.nn.mlp import MLP, check_widths
from ssl_runner.views.crops import multi_crop
from ssl_runner.views.mismatch import mismatch, misplaced


class Large(NamedTuple):
    crops: Tensor  # (V', B, C, H, W)
    directions: Tensor  # (D, slices): on which embeddings are projected; their length does not matter


class LeJEPA(Objective[Tensor, Large]):
    """Bring all crops' embeddings to the mean of the large crops', while they are isotropic normal over the batch.

        x = small crops of t,   y = large crops of t,   m = mean over v in y of z_v
        loss = (1 - trade_off) mean over v in x and y of |z_v - m|^2 / D + trade_off mean over v of sigreg(z_v)

    z = g(f(.)) encoder and projector, sigreg as in `losses.normality`, on `slices` random directions a step. Nothing
    else keeps the embeddings apart: no teacher, no constant target, no predictor.
    Balestriero, LeCun 2025, "LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics",
    https://arxiv.org/abs/2511.08544, sections 4 and 5.
    Differs from the paper: a narrower projector and fewer slices; fewer small crops; plain mean features in place of a
    class token. On several devices the embeddings of all are tested, by each device on directions of its own.
    """

    def __init__(
        self,
        encoder: Encoder,
        spec: ImageSpec,
        *,
        views: Views,
        small_views: Views,
        projector: list[int],
        trade_off: float,
        slices: int,
    ) -> None:
        super().__init__()
        check_widths("projector", projector)
        if not 0 <= trade_off <= 1:
            raise ValueError(f"objective.trade_off is {trade_off}; it must lie in [0, 1] (paper: 0.05)")
        if slices < 1:
            raise ValueError(f"objective.slices is {slices}; it must be at least 1 direction (paper: 1024)")
        self.encoder = encoder
        self.views = views
        self.small_views = small_views
        self.projector = MLP([encoder.dim, *projector], norm="batch")
        self.width = projector[-1]
        self.trade_off = trade_off
        self.slices = slices

    def split(self, batch: Batch) -> tuple[Tensor, Large]:
        """x (V, B, C, h, w)."""
        x, crops = multi_crop(self.small_views, self.views, batch.data, self.encoder)
        return x, Large(crops, torch.randn(self.width, self.slices, device=x.device))

    def shuffle(self, x: Tensor, y: Large) -> tuple[Tensor, Large]:
        return misplaced(x), y._replace(crops=mismatch(y.crops))

    def loss(self, x: Tensor, y: Large) -> Loss:
        large, count = y.crops.shape[:2]
        features = [self.encoder(crops.flatten(0, 1)).pooled for crops in (y.crops, x)]  # a call for each size
        z = self.projector(torch.cat(features)).unflatten(0, (-1, count))  # (V' + V, B, D)
        z = z.to(y.directions.dtype)
        prediction = (z - z[:large].mean(dim=0)).square().mean()
        normality = sigreg(gather(z.transpose(0, 1)).transpose(0, 1), y.directions)
        value = (1 - self.trade_off) * prediction + self.trade_off * normality
        logs = {"prediction": prediction.detach(), "sigreg": normality.detach(), "output_std": output_std(z[0])}
        return Loss(value, logs)
