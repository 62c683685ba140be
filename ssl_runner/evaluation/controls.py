"""Encoders that learn nothing, to compare with."""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from ssl_runner.interfaces import Encoder, Features, ImageSpec

MOST = 32  # pixels: larger images are averaged down to this side


class Pixels(Encoder):
    """The image itself: `pooled` is (B, C * h * w), the pixels, channel by channel; `tokens` is (B, h * w, C).

    A side above 32 pixels is averaged down to 32 (each output pixel the mean of its share of the input). It has no
    blocks: whichever layer is asked for, `subject.extract` gives the pixels.
    """

    kind: ClassVar[str] = "the pixels themselves"

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.size = (min(spec.height, MOST), min(spec.width, MOST))
        self.dim = spec.channels * self.size[0] * self.size[1]

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        if x.shape[2:] != self.size:
            x = F.adaptive_avg_pool2d(x, self.size)
        return Features(x.flatten(2).mT, x.flatten(1))
