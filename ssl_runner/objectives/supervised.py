"""Cross-entropy on the labels: the upper control."""

from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective
from ssl_runner.losses.classification import accuracy, cross_entropy


class Supervised(Objective[Tensor, Tensor]):
    """Predict the label. Not self-supervised: what the same network and budget reach with every label.

    x = t,   y = its label,   loss = -log p(y | x)                                                        nats per image
    """

    def __init__(self, encoder: Encoder, spec: ImageSpec) -> None:
        super().__init__()
        if spec.classes < 2:
            raise ValueError(
                f"objective=supervised needs labels, and this dataset has {spec.classes} classes; "
                "choose a labelled dataset, or a self-supervised objective"
            )
        self.encoder = encoder
        self.head = nn.Linear(encoder.dim, spec.classes)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W), y (B,) int64."""
        return batch.data, batch.label

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        logits = self.head(self.encoder(x).pooled)
        return Loss(cross_entropy(logits, y), {"accuracy": accuracy(logits, y)})

    def predict(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).pooled).argmax(dim=1)
