"""RotNet: predict the rotation of an image in quarter turns."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective
from ssl_runner.losses.classification import accuracy, cross_entropy


class Rotation(Objective[Tensor, Tensor]):
    """Predict by how many quarter turns an image was turned.

        x = turn(t, y),   y ~ U{0, 1, 2, 3},   loss = -log p(y | x)                                       nats per image

    Gidaris, Singh, Komodakis 2018, "Unsupervised Representation Learning by Predicting Image Rotations",
    https://arxiv.org/abs/1803.07728.
    `turns: all` shows each image in all four ways in a step, as in the paper: x and y are then four times the batch.
    Differs from the paper: by default each image is turned once a step.
    """

    def __init__(self, encoder: Encoder, spec: ImageSpec, *, turns: Literal["one", "all"]) -> None:
        super().__init__()
        if spec.height != spec.width:
            raise ValueError(
                f"dataset: images are {spec.height} x {spec.width}; objective=rotation needs square ones, "
                "since a quarter turn changes the shape of all others"
            )
        self.encoder = encoder
        self.all_turns = turns == "all"
        self.head = nn.Linear(encoder.dim, 4)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W), y (B,) int64 quarter turns, counterclockwise; (4 B, ...) of all turns."""
        turned = torch.stack([torch.rot90(batch.data, k, dims=(2, 3)) for k in range(4)])
        if self.all_turns:
            return turned.flatten(0, 1), torch.arange(4, device=turned.device).repeat_interleave(len(batch.data))
        turns = torch.randint(4, (len(batch.data),), device=batch.data.device)
        return turned[turns, torch.arange(len(turns), device=turns.device)], turns

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        logits = self.head(self.encoder(x).pooled)
        chance = torch.full((), 1 / 4, device=logits.device)
        return Loss(cross_entropy(logits, y), {"accuracy": accuracy(logits, y), "chance": chance})

    def predict(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).pooled).argmax(dim=1)

    def tell(self, y: Tensor) -> Sequence[str]:
        return [f"{90 * turns} degrees" for turns in y.tolist()]
