"""Arrow of time: predict the playing direction of a clip."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, ClipEncoder, Loss, Objective, VideoSpec
from ssl_runner.losses.classification import accuracy, cross_entropy
from ssl_runner.nn.frames import Seen, check_ordered, seen


class ArrowOfTime(Objective[Tensor, Tensor]):
    """Predict whether a clip is played forwards or backwards.

        x = t or t reversed,   y = 1: reversed, as often as not,   loss = -log p(y | x)               nats per clip

    It can be learned only if motion is asymmetric in time: things fall, slow down, break. For symmetric motion accuracy
    stays at one half, as with `frames_seen: one`, the control that repeats one frame of the clip. In films it can also
    be learned from artifacts of cameras and codecs, as the paper describes.

    Wei, Lim, Zisserman, Freeman 2018, "Learning and Using the Arrow of Time",
    https://dspace.mit.edu/handle/1721.1/137537.
    Differs from the paper: the encoder reads frames, not optical flow, and the whole clip at once, where theirs joins
    the maps of several segments; black borders are not removed nor is the camera's motion steadied.
    """

    def __init__(self, encoder: ClipEncoder, spec: VideoSpec, *, frames_seen: Seen) -> None:
        super().__init__()
        if spec.frames < 2:
            raise ValueError(f"dataset.frames is {spec.frames}; objective=arrow_of_time needs at least 2")
        check_ordered(encoder)
        self.encoder = encoder
        self.frames_seen: Seen = frames_seen
        self.head = nn.Linear(encoder.dim, 2)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (B, T, C, H, W), y (B,) int64: 1 backwards."""
        y = torch.randint(2, (len(batch.data),), device=batch.data.device)
        x = torch.where(y[:, None, None, None, None] == 1, batch.data.flip(1), batch.data)
        return seen(x, self.frames_seen), y

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        logits = self.head(self.encoder(x).pooled)
        chance = torch.full((), 0.5, device=logits.device)
        return Loss(cross_entropy(logits, y), {"accuracy": accuracy(logits, y), "chance": chance})

    def predict(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).pooled).argmax(dim=1)

    def tell(self, y: Tensor) -> Sequence[str]:
        return ["backwards" if each else "forwards" for each in y.tolist()]
