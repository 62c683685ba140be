"""Supervised training with cross-entropy on the labels: the upper control."""

from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, Views
from ssl_runner.losses.classification import accuracy, cross_entropy


class Supervised(Objective[Tensor, Tensor]):
    """Predict the label. Not self-supervised: the result of the same network and budget with all labels.

        x = V views of t,   y = its label,   loss = -log p(y | x)                                          nats per view

    The views are those that other objectives take, by default all that `views` draws (two), each an example of its
    label: so what is compared with it differs in the labels, not in the augmentation. `views: null`: t as it is, once.
    """

    def __init__(self, encoder: Encoder, spec: ImageSpec, *, views: Views | None) -> None:
        super().__init__()
        if spec.classes < 2:
            raise ValueError(
                f"objective=supervised needs labels, and this dataset has {spec.classes} classes; "
                "choose a labeled dataset, or a self-supervised objective"
            )
        self.encoder = encoder
        self.views = views
        self.head = nn.Linear(encoder.dim, spec.classes)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (V, B, C, h, w), y (B,) int64."""
        return batch.data[None] if self.views is None else self.views(batch.data), batch.label

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        logits, target = self._logits(x), y.repeat(len(x))
        return Loss(cross_entropy(logits, target), {"accuracy": accuracy(logits, target)})

    def predict(self, x: Tensor) -> Tensor:
        """The most probable class, given all views."""
        return self._logits(x).float().log_softmax(dim=1).unflatten(0, x.shape[:2]).sum(dim=0).argmax(dim=1)

    def _logits(self, x: Tensor) -> Tensor:
        """(V B, K): view by view."""
        return self.head(self.encoder(x.flatten(0, 1)).pooled)
