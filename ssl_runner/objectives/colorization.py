"""Colorization: predict the colors of an image from its lightness."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_runner.interfaces import LOGGED, Batch, ImageSpec, Loss, MapEncoder, Objective
from ssl_runner.losses.classification import accuracy, weighted_cross_entropy
from ssl_runner.nn.color import WHITE, ab_centers, lab_to_rgb, rgb_to_lab
from ssl_runner.nn.gather import mean_over_ranks
from ssl_runner.results.metrics import BASELINE, Kind

EXTENT = 128.0  # no sRGB color has an a* or b* beyond


class Colors(NamedTuple):
    image: Tensor  # (B, 3, H, W) in [0, 1], for the eye
    ab: Tensor  # (B, 2, h, w) mean a* and b* of each cell: what is asked for


class Colorization(Objective[Tensor, Colors]):
    """Predict the colors of an image, as classes of the a*b* plane, from its lightness.

        x = L*(t) / 100 in every channel,   y = the square of the a*b* plane that holds a cell's mean color
        loss = -w(y) log p(y | x),   w ~ 1 / ((1 - lambda) p(y) + lambda / Q),   E w = 1                  nats per cell

    Zhang, Isola, Efros 2016, "Colorful Image Colorization", https://arxiv.org/abs/1603.08511. p(y) is how frequent a
    color is, smoothed by a Gaussian in the a*b* plane; lambda = 1 leaves all colors the same weight.

    Differs from the paper: p(y) is the mean over the batches so far, moved in `after_step`, not counted beforehand; a
    cell is of one class, not of five neighboring ones to a part each; squares count as colors where an sRGB color
    lies in them (262 of side 10; paper: 313); the decoder is two convolutions between which the grid is resized.
    The encoder has as many channels as the data, so that it is the one that is evaluated.
    """

    encoder: MapEncoder
    logged: ClassVar[Mapping[str, Kind]] = {**LOGGED, "most_frequent": BASELINE}
    prior: Tensor  # (Q,) mean frequency of each color over the batches so far; all 0 before the first
    batches: Tensor  # () their number; the batches of one step count as one
    centers: Tensor  # (Q, 2) a*, b* of each color
    nearest: Tensor  # (2 R + 1, 2 R + 1) int64: the color of each square of the plane, R steps each way from gray
    blur: Tensor  # (Q, Q) smoothing of frequencies, columns sum to 1

    def __init__(
        self,
        encoder: MapEncoder,
        spec: ImageSpec,
        *,
        cell: int,
        step: float,
        uniform: float,
        smoothing: float,
        temperature: float,
        head: int,
    ) -> None:
        super().__init__()
        if spec.channels != 3:
            raise ValueError(
                f"dataset: images have {spec.channels} channel{'s' if spec.channels > 1 else ''}; "
                "objective=colorization needs red, green and blue: choose a dataset in color, or another objective"
            )
        if not 1 <= cell <= min(spec.height, spec.width):
            raise ValueError(
                f"objective.cell is {cell}; it must be at least 1 pixel and at most the image's side, "
                f"{min(spec.height, spec.width)}"
            )
        if not 1 <= step <= 100:
            raise ValueError(f"objective.step is {step}; it must lie in [1, 100] (paper: 10)")
        if not 0 < uniform <= 1:
            raise ValueError(f"objective.uniform is {uniform}; it must lie in (0, 1] (paper: 0.5)")
        for key, value in (("smoothing", smoothing), ("temperature", temperature)):
            if not value > 0:
                raise ValueError(f"objective.{key} is {value}; it must be above 0")
        if head < 1:
            raise ValueError(f"objective.head is {head}; it must be at least 1")
        self.encoder = encoder
        self.grid = (spec.height // cell, spec.width // cell)
        self.step = step
        self.uniform = uniform
        self.temperature = temperature

        centers = ab_centers(step)
        self.reach = math.ceil(EXTENT / step)
        line = torch.arange(-self.reach, self.reach + 1) * step
        blur = torch.exp(-0.5 * (torch.cdist(centers, centers) / smoothing) ** 2)
        self.register_buffer("centers", centers, persistent=False)
        self.register_buffer(
            "nearest",
            torch.cdist(torch.cartesian_prod(line, line), centers).argmin(dim=1).view(len(line), len(line)),
            persistent=False,
        )
        self.register_buffer("blur", blur / blur.sum(dim=0), persistent=False)
        self.register_buffer("prior", torch.zeros(len(centers)))
        self.register_buffer("batches", torch.zeros(()))

        self.before = _convolution(encoder.dim, head)
        self.after = nn.Sequential(_convolution(head, head), nn.Conv2d(head, len(centers), 1))

    def split(self, batch: Batch) -> tuple[Tensor, Colors]:
        """x (B, 3, H, W): the lightness in [0, 1], three times."""
        lab = rgb_to_lab(batch.data)
        x = (lab[:, :1] / WHITE).to(batch.data.dtype).repeat(1, 3, 1, 1)
        return x, Colors(batch.data, F.adaptive_avg_pool2d(lab[:, 1:], self.grid))

    def loss(self, x: Tensor, y: Colors) -> Loss:
        logits = self._logits(x)
        target = self.classes(y.ab)
        count = torch.zeros_like(self.prior).index_add_(0, target.flatten(), torch.ones_like(y.ab[:, 0].flatten()))
        frequency = count / target.numel()
        logs = {"accuracy": accuracy(logits, target), "most_frequent": frequency.max()}
        return Loss(weighted_cross_entropy(logits, target, self.weights()), logs, carry=frequency)

    def after_step(self, carries: Sequence[Tensor], progress: float) -> None:
        """`carries` (Q,) each: the frequency of each color in a batch."""
        self.batches += 1
        self.prior += (mean_over_ranks(torch.stack(list(carries)).mean(dim=0)) - self.prior) / self.batches

    def predict(self, x: Tensor) -> Colors:
        """The annealed mean color of each cell, with probabilities proportional to p^(1 / temperature)."""
        p = (self._logits(x).float() / self.temperature).softmax(dim=1)
        ab = torch.einsum("bqhw,qc->bchw", p, self.centers)
        smooth = F.interpolate(ab, x.shape[2:], mode="bilinear", align_corners=False)
        return Colors(lab_to_rgb(torch.cat((x[:, :1].float() * WHITE, smooth), dim=1)).to(x.dtype), ab)

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.predict(x).image

    def compared(self, image: Tensor) -> Tensor:
        """a* and b* of every pixel, offset to 8-bit range: (B, 3, H, W) -> (B, 2, H, W), gray at 128 / 255."""
        return (rgb_to_lab(image)[:, 1:] + EXTENT) / 255

    def hidden(self, x: Tensor) -> Tensor:
        return torch.ones_like(x[:, 1:], dtype=torch.bool)

    def hides(self) -> Mapping[str, str | int | float]:
        return {"pixels": "a* and b* of all, (value + 128) / 255"}

    def classes(self, ab: Tensor) -> Tensor:
        """(B, 2, h, w) a*, b* -> (B, h, w) int64: the color whose center is nearest to their square."""
        a, b = ((ab / self.step).round().long() + self.reach).clamp(0, 2 * self.reach).unbind(1)
        return self.nearest[a, b]

    def weights(self) -> Tensor:
        """(Q,) weight of each color, with mean 1 under the smoothed prior; all 1 before the first step."""
        smoothed = self.blur @ self.prior
        weight = 1 / ((1 - self.uniform) * smoothed + self.uniform / len(smoothed))
        return torch.where(self.batches > 0, weight / (smoothed * weight).sum(), 1.0)

    def _logits(self, x: Tensor) -> Tensor:
        """(B, Q, h, w): a score for each color in each cell."""
        hidden = self.before(self.encoder.map(x))
        return self.after(F.interpolate(hidden, self.grid, mode="bilinear", align_corners=False))


def _convolution(n_in: int, n_out: int) -> nn.Sequential:
    conv = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))
