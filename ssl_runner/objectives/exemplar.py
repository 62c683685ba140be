"""Exemplar: classify distorted views by their example, each example being a class."""

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, Views
from ssl_runner.losses.classification import accuracy, cross_entropy

REHEARSAL = 2  # classes while the number of examples is not known: before any data are read


class Exemplar(Objective[Tensor, Tensor]):
    """Predict which training example a distorted view is of, with as many classes as examples.

        x = V distorted views of t,   y = t's place in the data,   loss = -log p(y | x)                   nats per view

    Dosovitskiy, Springenberg, Riedmiller, Brox 2014, "Discriminative Unsupervised Feature Learning with Convolutional
    Neural Networks", https://arxiv.org/abs/1406.6909, eq. 1.
    Held-out examples have no class: `val/loss` and `val/accuracy` mean nothing here, and are at chance or below.
    Differs from the paper: classes are whole images, not patches of 32 pixels chosen where there is contrast; views are
    drawn anew each step, not 100 times beforehand; there are as many classes as examples (paper: up to 32,000, best
    about 8,000). Where that is too many for one layer, the triplet form (Doersch, Zisserman 2017,
    https://arxiv.org/abs/1708.07860) needs none: objective=exemplar_triplet.
    """

    def __init__(self, encoder: Encoder, spec: ImageSpec, *, views: Views, most: int) -> None:
        super().__init__()
        if most < 2:
            raise ValueError(f"objective.most is {most}; it must be at least 2")
        if spec.size > most:
            raise ValueError(
                f"objective.most is {most}; objective=exemplar has a class for each of {spec.size} examples: raise it, "
                "or use the variant without classes, objective=exemplar_triplet"
            )
        self.encoder = encoder
        self.views = views
        self.head = nn.Linear(encoder.dim, spec.size or REHEARSAL)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (V, B, C, h, w), y (B,) int64."""
        return self.views(batch.data), batch.index

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        logits = self._logits(x)
        # A held-out split may be longer than the one that is trained on: its places are wrapped into the classes.
        target = (y % self.head.out_features).repeat(len(x))
        chance = torch.full((), 1 / self.head.out_features, device=y.device)
        return Loss(cross_entropy(logits, target), {"accuracy": accuracy(logits, target), "chance": chance})

    def predict(self, x: Tensor) -> Tensor:
        """The most probable example, given all views."""
        return self._logits(x).float().log_softmax(dim=1).unflatten(0, x.shape[:2]).sum(dim=0).argmax(dim=1)

    def _logits(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x.flatten(0, 1)).pooled)
