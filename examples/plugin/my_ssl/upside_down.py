"""Was the image turned upside down?"""

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective
from ssl_runner.losses.classification import accuracy, cross_entropy


class UpsideDown(Objective[Tensor, Tensor]):
    """Predict whether an image was turned upside down.

        x = turn(t, y),   y ~ Bernoulli(probability),   loss = -log p(y | x)                              nats per image

    Differs from rotation (Gidaris, Singh, Komodakis 2018, https://arxiv.org/abs/1803.07728): two turns instead of four.
    """

    def __init__(self, encoder: Encoder, spec: ImageSpec, *, probability: float) -> None:
        super().__init__()
        if not 0 < probability < 1:
            raise ValueError(f"objective.probability is {probability}; it must lie in (0, 1)")
        self.encoder = encoder
        self.probability = probability
        self.head = nn.Linear(encoder.dim, 2)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        y = (torch.rand(len(batch.data), device=batch.data.device) < self.probability).long()
        return torch.where(y[:, None, None, None] == 1, batch.data.flip(2, 3), batch.data), y

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        logits = self.head(self.encoder(x).pooled)
        return Loss(cross_entropy(logits, y), {"accuracy": accuracy(logits, y)})

    def predict(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).pooled).argmax(dim=1)
