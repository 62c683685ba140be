"""Views of one image are found again among the views of all others (SimCLR and its family)."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, Views
from ssl_runner.losses.contrastive import cosine_similarity
from ssl_runner.nn.mlp import MLP
from ssl_runner.views.mismatch import mismatch


class ContrastiveViews(Objective[Tensor, Tensor]):
    """Tell, by a contrastive rule, which views come from one image.

        x = V random views of each image,   y = the image each came from
        loss = rule(cosine(g(f(x_i)), g(f(x_j))))                                   nats per positive pair (InfoNCE)

    Chen, Kornblith, Norouzi, Hinton 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
    https://arxiv.org/abs/2002.05709, with InfoNCE and two views.
    Differs from the paper: AdamW by default in place of LARS, and batches of hundreds in place of thousands.
    """

    collapse: ClassVar[str] = (
        "negatives are pushed away too weakly: lower objective.loss.temperature, or raise batch_size"
    )

    def __init__(
        self, encoder: Encoder, spec: ImageSpec, *, views: Views, loss: nn.Module, projector: list[int]
    ) -> None:
        super().__init__()
        if not projector or min(projector) < 1:
            raise ValueError(
                f"objective.projector is {projector}; it needs the widths of the head's layers, as [128, 64]"
            )
        self.encoder = encoder
        self.views = views
        self.rule = loss
        self.projector = MLP([encoder.dim, *projector], norm="batch")

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (V, B, C, h, w), y (V, B) int64."""
        count = len(batch.data)
        if count < 2:
            raise ValueError(
                "batch_size is 1; a contrastive rule needs other images as negatives: set batch_size=2 or more"
            )
        x = self.views(batch.data)
        return x, torch.arange(count, device=x.device).expand(len(x), count)

    def shuffle(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return mismatch(x), y

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        z = self.projector(self.encoder(x.flatten(0, 1)).pooled)
        source = y.reshape(-1)
        same = source[:, None] == source[None, :]
        pos = same & ~torch.eye(len(source), dtype=torch.bool, device=same.device)
        sim = cosine_similarity(z, z)
        value = self.rule(sim, pos, ~same)

        with torch.no_grad():
            candidates = y.numel() - len(y) + 1  # one positive and every negative
            nearest = sim.masked_fill(same & ~pos, float("-inf")).argmax(dim=1)
            logs = {
                "accuracy": (source[nearest] == source).float().mean(),
                "information_bound": math.log(candidates) - value,  # nats; van den Oord 2018, eq. 5
                "positive_similarity": (sim * pos).sum() / pos.sum(),
                "negative_similarity": (sim * ~same).sum() / (~same).sum(),
            }
        return Loss(value, logs)
