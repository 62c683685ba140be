"""Shuffle and Learn: predict whether three frames of a clip are in order."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_runner.interfaces import Batch, ClipEncoder, Loss, Objective, VideoSpec
from ssl_runner.losses.classification import accuracy, cross_entropy
from ssl_runner.nn.frames import Seen, motion, seen, take
from ssl_runner.nn.mlp import MLP

STILL = 1e-6  # added to the motion between two frames, so that a clip without any has frames to choose from


class SequenceOrder(Objective[Tensor, Tensor]):
    """Predict whether the middle one of three frames was filmed between the other two.

        x = t[b, m, d] or t[d, m, b],   b < d
        y = 1: b < m < d,   y = 0: m <= b - gap or m >= d + gap,   loss = -log p(y | x)               nats per example

    First and last frame say nothing of y, for they are drawn before it: pairs at most `span` frames apart, as likely
    as there is motion between them (mean absolute difference of successive frames). Each frame is encoded by itself,
    as a clip of one; the head reads the three in their order. x is inverted as often as not: what is asked is what
    lies between, not the arrow of time. `frames_seen: one` is the control that shows one frame of x three times.

    Misra, Zitnick, Hebert 2016, "Shuffle and Learn: Unsupervised Learning using Temporal Order Verification",
    https://arxiv.org/abs/1603.08561, section 3; `span` and `gap` are its tau_max and tau_min.
    Differs from the paper: motion is read from the differences of frames, not from optical flow; the head is a
    perceptron of one hidden layer, for ours reads means over space; frames are not cropped.
    """

    pairs: Tensor  # (P, 2) int64: first and last frames that leave one between them and one outside

    def __init__(
        self,
        encoder: ClipEncoder,
        spec: VideoSpec,
        *,
        span: int,
        gap: int,
        positive: float,
        frames_seen: Seen,
        head: int,
    ) -> None:
        super().__init__()
        if span < 2:
            raise ValueError(f"objective.span is {span}; it must be at least 2 frames, since one lies between")
        if gap < 1:
            raise ValueError(f"objective.gap is {gap}; it must be at least 1 frame")
        if spec.frames < 3 + gap:
            raise ValueError(
                f"dataset.frames is {spec.frames}; with objective.gap {gap}, objective=sequence_order needs at least "
                f"{3 + gap}"
            )
        if not 0 < positive < 1:
            raise ValueError(f"objective.positive is {positive}; it must lie in (0, 1), as a fraction of the examples")
        if head < 1:
            raise ValueError(f"objective.head is {head}; it must be at least 1")
        self.encoder = encoder
        self.gap = gap
        self.positive = positive
        self.frames_seen: Seen = frames_seen
        first, last = torch.triu_indices(spec.frames, spec.frames, offset=2)
        outside = (first >= gap) | (last + gap < spec.frames)
        chosen = outside & (last - first <= span)
        self.register_buffer("pairs", torch.stack([first, last], dim=1)[chosen], persistent=False)
        self.head = MLP([3 * encoder.dim, head, 2], norm="batch")

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (B, 3, C, H, W), y (B,) int64: 1 in order."""
        first, last = self._ends(batch.data)
        y = (torch.rand(first.shape, device=first.device) < self.positive).long()
        between = first + 1 + _draw(last - first - 1)
        before = (first - self.gap + 1).clamp_min(0)  # how many frames lie far enough before the first
        after = (batch.data.shape[1] - self.gap - last).clamp_min(0)
        other = _draw(before + after)
        other = torch.where(other < before, other, last + self.gap + other - before)
        places = torch.stack([first, torch.where(y == 1, between, other), last], dim=1)
        inverted = torch.rand(first.shape, device=first.device) < 0.5
        places = torch.where(inverted[:, None], places.flip(1), places)
        return seen(take(batch.data, places), self.frames_seen), y

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        logits = self._logits(x)
        chance = torch.full((), max(self.positive, 1 - self.positive), device=logits.device)
        return Loss(cross_entropy(logits, y), {"accuracy": accuracy(logits, y), "chance": chance})

    def predict(self, x: Tensor) -> Tensor:
        return self._logits(x).argmax(dim=1)

    def tell(self, y: Tensor) -> Sequence[str]:
        return ["in order" if each else "out of order" for each in y.tolist()]

    def _ends(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Draw first and last frames, (B,) each, with probability proportional to the motion between them."""
        moved = F.pad(motion(clips).float().cumsum(dim=1), (1, 0))  # since the clip's first frame
        first, last = self.pairs.unbind(1)
        rate = (moved[:, last] - moved[:, first]).clamp_min(0) / (last - first) + STILL
        # The least of exponential waiting times: a draw by rate that no device has to wait for.
        pair = (torch.empty_like(rate).exponential_() / rate).argmin(dim=1)
        return first[pair], last[pair]

    def _logits(self, x: Tensor) -> Tensor:
        frames = self.encoder(x.flatten(0, 1)[:, None]).pooled
        return self.head(frames.view(len(x), -1))


def _draw(count: Tensor) -> Tensor:
    """(B,) int64 numbers, each at least 1 -> (B,) int64, each from 0 to one below its number."""
    drawn = (torch.rand(count.shape, device=count.device) * count).long()
    return torch.minimum(drawn, count - 1)  # in float32 the largest part of n below 1 times n may round to n
