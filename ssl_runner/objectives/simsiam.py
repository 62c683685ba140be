"""SimSiam: predict one view's embedding from the other's, with stop-gradient on the target."""

from typing import Any, Literal

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, Views
from ssl_runner.losses.distillation import cosine, output_std
from ssl_runner.nn.mlp import MLP, LastNorm, check_widths
from ssl_runner.views.pairs import two_views


class SimSiam(Objective[Tensor, Tensor]):
    """Predict the network's own embedding of another view, with stop-gradient; no negatives, no second network.

        x = a view of t,   y = another view of t
        loss = -(cosine(h(z_x), z_y) + cosine(h(z_y), z_x)) / 2,   z_y, z_x constant               per image, in [-1, 1]

    z = g(f(.)) encoder and projector, h the predictor. `predictor_rate: constant` keeps its learning rate at the peak
    while that of the others follows the schedule, as in the paper (a gain of 0.4 points there).
    Chen, He 2021, "Exploring Simple Siamese Representation Learning", https://arxiv.org/abs/2011.10566.
    Differs from the paper: AdamW by default in place of SGD; both views pass through the network in one call, so that
    BatchNorm's statistics are over both.
    """

    def __init__(
        self,
        encoder: Encoder,
        spec: ImageSpec,
        *,
        views: Views,
        projector: list[int],
        projector_last_norm: LastNorm,
        predictor: list[int],
        predictor_rate: Literal["scheduled", "constant"],
    ) -> None:
        super().__init__()
        check_widths("projector", projector)
        self.encoder = encoder
        self.views = views
        self.projector = MLP([encoder.dim, *projector], norm="batch", last_norm=projector_last_norm)
        self.predictor = MLP([projector[-1], *predictor, projector[-1]], norm="batch")
        self.predictor_rate = predictor_rate

    def groups(self) -> list[dict[str, Any]]:
        """The predictor by itself where its learning rate is constant."""
        if self.predictor_rate == "scheduled":
            return super().groups()
        rest = [p for part in (self.encoder, self.projector) for p in part.parameters() if p.requires_grad]
        return [{"params": rest}, {"params": list(self.predictor.parameters()), "scheduled": False}]

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x, y (B, C, h, w)."""
        return two_views(self.views, batch.data)

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        z = self.projector(self.encoder(torch.cat((x, y))).pooled)
        similarity = cosine(self.predictor(z), z.detach().roll(len(x), dims=0)).mean()
        return Loss(-similarity, {"similarity": similarity.detach(), "output_std": output_std(z)})
