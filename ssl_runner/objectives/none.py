"""No objective: the encoder stays as it came."""

from typing import ClassVar

from torch import Tensor

from ssl_runner.interfaces import Batch, DataSpec, Encoder, Loss, Objective


class Nothing(Objective[Tensor, Tensor]):
    """Pretrain nothing, so that an encoder with weights from elsewhere is evaluated by the protocol of all others.

    x = t,   y = t,   loss = 0
    """

    trains: ClassVar[bool] = False

    def __init__(self, encoder: Encoder, spec: DataSpec) -> None:
        super().__init__()
        self.encoder = encoder

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.data, batch.data

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        return Loss(x.new_zeros((), dtype=self.encoder(x).pooled.dtype))
