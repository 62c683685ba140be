"""Odd-one-out: identify the one of several short clips whose frames are out of order."""

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, ClipEncoder, Loss, Objective, VideoSpec
from ssl_runner.losses.classification import accuracy, cross_entropy
from ssl_runner.nn.frames import Seen, check_ordered, seen, take
from ssl_runner.nn.mlp import MLP

LONGEST = 7  # frames of a short clip: it has 5,040 orders


class OddOneOut(Objective[Tensor, Tensor]):
    """Predict which of several short clips, all from one clip, has its frames in a wrong order.

        x = N short clips, each of frames drawn from t, in order but for the one at place y;   y ~ U{0 ... N - 1}
        loss = -log p(y | x)                                                                          nats per example

    The wrong order is drawn from all but the right one and its reverse, in which much of what moves could be filmed
    too. The clips are encoded one by one; the head reads all in their order. `frames_seen: one` is the control in which
    each short clip shows one of its frames all the time.

    Fernando, Bilen, Gavves, Gould 2017, "Self-Supervised Video Representation Learning With Odd-One-Out Networks",
    https://arxiv.org/abs/1611.06646, with the fusion of streams by concatenation.
    Differs from the paper: the encoder reads frames, not the differences of frames or images that sum them up; a
    perceptron of one hidden layer, with batch normalization, reads all.
    """

    orders: Tensor  # (P, F) int64: the wrong orders

    def __init__(
        self,
        encoder: ClipEncoder,
        spec: VideoSpec,
        *,
        clips: int,
        frames: int,
        frames_seen: Seen,
        head: int,
    ) -> None:
        super().__init__()
        if clips < 2:
            raise ValueError(f"objective.clips is {clips}; it must be at least 2, one of them the odd one")
        if not 3 <= frames <= LONGEST:
            raise ValueError(f"objective.frames is {frames}; it must be from 3 to {LONGEST}")
        if frames > spec.frames:
            raise ValueError(f"objective.frames is {frames}, and dataset.frames {spec.frames}; it must not be more")
        if head < 1:
            raise ValueError(f"objective.head is {head}; it must be at least 1")
        check_ordered(encoder)
        self.encoder = encoder
        self.clips = clips
        self.frames = frames
        self.frames_seen: Seen = frames_seen
        right = tuple(range(frames))
        wrong = [order for order in permutations(right) if order not in (right, right[::-1])]
        self.register_buffer("orders", torch.tensor(wrong), persistent=False)
        self.head = MLP([clips * encoder.dim, head, clips], norm="batch")

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (N, B, F, C, H, W), y (B,) int64 places."""
        count, device = len(batch.data), batch.data.device
        shuffled = torch.rand(self.clips, count, batch.data.shape[1], device=device).argsort(dim=2)
        places = shuffled[..., : self.frames].sort(dim=2).values  # (N, B, F)
        y = torch.randint(self.clips, (count,), device=device)
        wrong = self.orders[torch.randint(len(self.orders), (count,), device=device)].expand_as(places)
        odd = y == torch.arange(self.clips, device=device)[:, None]  # (N, B)
        places = torch.where(odd[..., None], places.gather(2, wrong), places)
        x = take(batch.data, places)
        return seen(x.flatten(0, 1), self.frames_seen).view_as(x), y

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        logits = self._logits(x)
        chance = torch.full((), 1 / self.clips, device=logits.device)
        return Loss(cross_entropy(logits, y), {"accuracy": accuracy(logits, y), "chance": chance})

    def predict(self, x: Tensor) -> Tensor:
        return self._logits(x).argmax(dim=1)

    def tell(self, y: Tensor) -> Sequence[str]:
        return [f"clip {place + 1} is out of order" for place in y.tolist()]

    def _logits(self, x: Tensor) -> Tensor:
        clips = self.encoder(x.flatten(0, 1)).pooled.unflatten(0, x.shape[:2])
        return self.head(clips.transpose(0, 1).flatten(1))
