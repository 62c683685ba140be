"""RotNet: predict the rotation of an image in quarter turns."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective
from ssl_runner.losses.classification import accuracy, cross_entropy


class Rotation(Objective[Tensor, Tensor]):
    """Predict by how many quarter turns an image was turned.

        x = turn(t, y),   y ~ U{0, 1, 2, 3},   loss = -log p(y | x)                                       nats per image

    Gidaris, Singh, Komodakis 2018, "Unsupervised Representation Learning by Predicting Image Rotations",
    https://arxiv.org/abs/1803.07728.
    Differs from the paper: each image is turned once a step, not in all four ways.
    """

    def __init__(self, encoder: Encoder, spec: ImageSpec) -> None:
        super().__init__()
        if spec.height != spec.width:
            raise ValueError(
                f"dataset: images are {spec.height} x {spec.width}; objective=rotation needs square ones, "
                "since a quarter turn changes the shape of all others"
            )
        self.encoder = encoder
        self.head = nn.Linear(encoder.dim, 4)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W), y (B,) int64 quarter turns, counterclockwise."""
        turns = torch.randint(4, (len(batch.data),), device=batch.data.device)
        turned = torch.stack([torch.rot90(batch.data, k, dims=(2, 3)) for k in range(4)])
        return turned[turns, torch.arange(len(turns), device=turns.device)], turns

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        logits = self.head(self.encoder(x).pooled)
        chance = torch.full((), 1 / 4, device=logits.device)
        return Loss(cross_entropy(logits, y), {"accuracy": accuracy(logits, y), "chance": chance})

    def predict(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).pooled).argmax(dim=1)

    def tell(self, y: Tensor) -> Sequence[str]:
        return [f"{90 * turns} degrees" for turns in y.tolist()]
