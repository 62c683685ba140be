"""Relative position: predict which of the eight neighbors of a patch another patch is."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_runner.interfaces import Batch, ImageSpec, Loss, MapEncoder, Objective
from ssl_runner.losses.classification import accuracy, cross_entropy
from ssl_runner.nn.mlp import MLP
from ssl_runner.views.augment import crops

NEIGHBORS = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0))
GREEN_MAGENTA = (-1.0, 2.0, -1.0)  # lenses shift an image's green against its red and blue
NOISE = 0.01  # standard deviation of dropped channels, as a part of the kept one's

Color = Literal["keep", "drop", "project"]


class RelativePosition(Objective[Tensor, Tensor]):
    """Predict which of the eight neighbors of a patch another patch of the same image is.

        x = (patch of t, its neighbor y),   y ~ U{0 ... 7},   loss = -log p(y | x)                       nats per pair

    Neighbors are numbered row by row: 0 above to the left, 1 above ... 7 below to the right.
    Doersch, Gupta, Efros 2015, "Unsupervised Visual Representation Learning by Context Prediction",
    https://arxiv.org/abs/1505.05192.

    What could be answered without knowing what is shown is closed by a setting each: `gap` (edges that go on from patch
    to patch), `jitter` (lines that go on beyond the gap), `color` (chromatic aberration, which tells where in the
    picture a patch lies: all but one channel become noise, or the green-magenta axis is projected out). Images of
    other than three channels have no color to drop. The neighbor is drawn first, then a place for both in the image: as
    in the paper's grid, a patch at the border has fewer neighbors, so that a patch which shows that it lies there is
    half an answer.
    An encoder's batch normalization keeps the statistics of patches, and whole images are evaluated with them;
    backbone.norm=group has none.

    Differs from the paper: patches are not shrunk and enlarged again at random; features of a patch are the mean over
    its grid, and a perceptron of one hidden layer, with batch normalization, reads both; dropped channels are noise
    about mid-gray, not about the mean of the data.
    """

    neighbors: Tensor  # (8, 2) int64: how far down and to the right, in patches
    axis: Tensor  # (3, 1, 1) of length 1: green against magenta

    def __init__(
        self,
        encoder: MapEncoder,
        spec: ImageSpec,
        *,
        patch: float,
        gap: float,
        jitter: float,
        color: Color,
        head: int,
    ) -> None:
        super().__init__()
        shorter = min(spec.height, spec.width)
        for key, value in (("gap", gap), ("jitter", jitter)):
            if not value >= 0:
                raise ValueError(f"objective.{key} is {value}; it must be 0 or more, as a fraction of the patch's side")
        if not patch > 0:
            raise ValueError(
                f"objective.patch is {patch}; it must be above 0, as a fraction of the image's shorter side"
            )
        self.side = max(round(patch * shorter), 1)  # pixels, all three
        self.gap = round(gap * self.side)
        self.jitter = round(jitter * self.side)
        needed = 2 * self.side + self.gap + self.jitter
        if needed > shorter:
            raise ValueError(
                f"objective.patch is {patch}, objective.gap {gap}, objective.jitter {jitter}; two patches of "
                f"{self.side} pixels, {self.gap} apart and moved by {self.jitter} need {needed} pixels, and the images "
                f"are of {spec.height} x {spec.width}: set a smaller objective.patch"
            )
        if head < 1:
            raise ValueError(f"objective.head is {head}; it must be at least 1")
        self.color = color
        self.encoder = encoder
        self.head = MLP([2 * encoder.dim, head, len(NEIGHBORS)], norm="batch")
        self.register_buffer("neighbors", torch.tensor(NEIGHBORS), persistent=False)
        self.register_buffer("axis", F.normalize(torch.tensor(GREEN_MAGENTA), dim=0).view(3, 1, 1), persistent=False)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (2, B, C, side, side): the patch, its neighbor; y (B,) int64."""
        image = batch.data
        y = torch.randint(len(NEIGHBORS), (len(image),), device=image.device)
        down, right = self.neighbors[y].unbind(1)
        top, left = self._places(down, image.shape[2]), self._places(right, image.shape[3])
        return self._colors(crops(image, top, left, self.side)), y

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        logits = self._logits(x)
        chance = torch.full((), 1 / len(NEIGHBORS), device=logits.device)
        return Loss(cross_entropy(logits, y), {"accuracy": accuracy(logits, y), "chance": chance})

    def predict(self, x: Tensor) -> Tensor:
        return self._logits(x).argmax(dim=1)

    def tell(self, y: Tensor) -> Sequence[str]:
        """Where view 2 lies."""
        down, right = {-1: "above", 0: "", 1: "below"}, {-1: "left", 0: "", 1: "right"}
        places = [(down[each[0]], right[each[1]]) for each in NEIGHBORS]
        words = [" ".join(filter(None, place)) for place in places]
        return [f"view 2 is {words[place]}" for place in y.tolist()]

    def _logits(self, x: Tensor) -> Tensor:
        patch, neighbor = self.encoder(x.flatten(0, 1)).pooled.chunk(2)
        return self.head(torch.cat([patch, neighbor], dim=1))

    def _places(self, direction: Tensor, length: int) -> Tensor:
        """Draw the positions of patch and neighbor along one axis: directions (B,) of -1, 0, 1 -> (B, 2) pixels."""
        shift = direction * (self.side + self.gap)
        shift = shift + torch.randint(-self.jitter, self.jitter + 1, shift.shape, device=shift.device)
        low, high = (-shift).clamp_min(0), length - self.side - shift.clamp_min(0)
        first = low + (torch.rand(len(shift), device=shift.device) * (high - low + 1)).long()
        first = torch.minimum(first, high)  # in float32 the largest part of n below 1 times n may round to n
        return torch.stack([first, first + shift], dim=1)

    def _colors(self, patches: Tensor) -> Tensor:
        """Drop or project colors of (2, B, 3, side, side) patches, independently."""
        if self.color == "keep" or patches.shape[2] != 3:
            return patches
        if self.color == "project":
            along = (patches * self.axis).sum(dim=2, keepdim=True)
            return (patches - along * self.axis).clamp(0, 1)
        chosen = torch.randint(3, patches.shape[:2], device=patches.device)[:, :, None, None, None]
        kept = torch.arange(3, device=patches.device)[:, None, None] == chosen  # (2, B, 3, 1, 1)
        deviation = patches.std(dim=(3, 4), keepdim=True, correction=0).mul(kept).sum(dim=2, keepdim=True)
        noise = 0.5 + NOISE * deviation * torch.randn_like(patches)
        return torch.where(kept, patches, noise)
