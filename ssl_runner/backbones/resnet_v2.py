"""Residual networks with pre-activation (ResNet v2)."""

from typing import Literal

from torch import Tensor, nn

from ssl_runner.backbones.staged import Staged
from ssl_runner.interfaces import ImageSpec
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.published import Stem
from ssl_runner.nn.residual import BASE, activation, bottleneck, check_widening, counts_of, initialize, pool, stem_conv


class ResNetV2(Staged):
    """A residual network of bottlenecks whose batch normalizations and ReLUs are before the convolutions.

    He et al. 2016, "Identity Mappings in Deep Residual Networks", https://arxiv.org/abs/1603.05027. Widths as in
    Kolesnikov, Zhai, Beyer 2019, https://arxiv.org/abs/1901.09005: the stem has 16 x `widening` channels, the stages
    64, 128, 256 and 512 x `widening`; 4 is the standard network. `stem`: as in `resnet.ResNet`.
    `pooled` is the mean over the grid of the last stage after a batch normalization and, with `last_relu`, a ReLU; the
    paper marks networks without it by (-). `layers` are the means of the first three stages, before normalization, and
    `pooled`. Convolutions: Kaiming, normal, fan-out.
    """

    def __init__(
        self, spec: ImageSpec, *, depth: Literal[14, 26, 50, 101, 152], widening: int, stem: Stem, last_relu: bool
    ) -> None:
        super().__init__()
        counts = counts_of(depth)
        check_widening(widening)
        width = BASE * widening
        conv, small, self.note = stem_conv(spec, stem, width)
        self.normalize = Normalize(spec.channels)
        self.stem = nn.Sequential(conv, *pool(small))
        widths = [4 * width, 8 * width, 16 * width, 32 * width]
        stages = []
        for count, n_in, n_out in zip(counts, [width, *widths[:-1]], widths, strict=True):
            stride = 1 if n_in == width else 2
            blocks = [_Block(n_in, n_out, stride), *(_Block(n_out, n_out, 1) for _ in range(count - 1))]
            stages.append(nn.Sequential(*blocks))
        self.dim = widths[-1]
        last = activation(self.dim) if last_relu else [nn.BatchNorm2d(self.dim)]
        stages[-1].extend(last)
        self.stages = nn.ModuleList(stages)
        initialize(self.stages)


class _Block(nn.Module):
    """A bottleneck. Where shapes change, the shortcut is a 1 x 1 convolution of the activated input."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.activation = nn.Sequential(*activation(n_in))
        self.branch = nn.Sequential(*bottleneck(n_in, n_out, stride))
        changes = stride > 1 or n_in != n_out
        self.shortcut = nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = self.activation(x)
        return self.branch(active) + (x if self.shortcut is None else self.shortcut(active))
