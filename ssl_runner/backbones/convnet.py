"""A small convolutional network for CPUs."""

import math
from typing import Literal

from torch import nn

from ssl_runner.backbones.staged import Staged
from ssl_runner.interfaces import ImageSpec
from ssl_runner.nn.normalize import Normalize

Norm = Literal["batch", "group", "none"]


class ConvNet(Staged):
    """Stages of a 3 x 3 convolution, 2 x 2 max-pooling, normalization and ReLU, one per width.

    Each stage halves the resolution (rounded up). `pooled` is the mean over the grid; `layers` that of each stage.
    Convolutions: Kaiming, normal, fan-out. Pooling before normalization leaves a quarter of the values to normalize;
    where the learned scale is positive the order changes nothing but the statistics.
    """

    def __init__(self, spec: ImageSpec, *, widths: list[int], norm: Norm) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise ValueError(f"backbone.widths is {list(widths)}; it must list at least one width, each at least 1")
        self.dim = widths[-1]
        self.normalize = Normalize(spec.channels)
        self.stem = nn.Identity()
        pairs = zip([spec.channels, *widths[:-1]], widths, strict=True)
        self.stages = nn.ModuleList(_stage(n_in, n_out, norm) for n_in, n_out in pairs)


def _stage(n_in: int, n_out: int, norm: Norm) -> nn.Sequential:
    conv = nn.Conv2d(n_in, n_out, 3, padding=1, bias=norm == "none")
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, nn.MaxPool2d(2, ceil_mode=True), _norm(norm, n_out), nn.ReLU(inplace=True))


def _norm(norm: Norm, width: int) -> nn.Module:
    match norm:
        case "batch":
            return nn.BatchNorm2d(width)
        case "group":
            return nn.GroupNorm(math.gcd(width, 8), width)
        case "none":
            return nn.Identity()
    raise ValueError(f"backbone.norm is {norm!r}; it must be batch, group or none")
