"""Reversible residual networks (RevNet)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_runner.interfaces import Features, ImageSpec, MapEncoder
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.published import Stem
from ssl_runner.nn.residual import BASE, activation, bottleneck, check_widening, counts_of, initialize, pool, stem_conv
from ssl_runner.nn.reversible import ReversibleChain


class RevNet(MapEncoder):
    """A network of reversible bottlenecks: memory for the backward pass does not grow with the depth of its stages.

    Gomez, Ren, Urtasun, Grosse 2017, https://arxiv.org/abs/1707.04585, in the form of Kolesnikov, Zhai, Beyer 2019,
    https://arxiv.org/abs/1901.09005: each bottleneck (pre-activated, without a shortcut of its own) reads half of the
    channels and is added to the other half, and the halves change places. Between stages the grid is halved by average
    pooling, and channels are doubled by zeros, on the outer side of each half. The stem is a convolution alone, to as
    many channels as the first stage has: 64, 128, 256 and 512 x `widening` channels in all; 4 is the standard width.
    `stem`, `last_relu` and the initialization: as in `resnet_v2.ResNetV2`. `layers` are the means of the first three
    stages, and `pooled`.
    `recompute`: see `nn.reversible.ReversibleChain`. Without it activations are kept: faster, with more memory.
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        depth: Literal[14, 26, 50, 101, 152],
        widening: int,
        stem: Stem,
        last_relu: bool,
        recompute: bool,
    ) -> None:
        super().__init__()
        counts = counts_of(depth)
        check_widening(widening)
        width = 4 * BASE * widening
        conv, small, self.note = stem_conv(spec, stem, width)
        self.normalize = Normalize(spec.channels)
        self.stem = nn.Sequential(conv, *pool(small))
        halves = [width * 2**stage // 2 for stage in range(4)]
        self.stages = nn.ModuleList(
            ReversibleChain([_branch(half) for _ in range(count)], recompute=recompute)
            for count, half in zip(counts, halves, strict=True)
        )
        self.dim = 2 * halves[-1]
        self.last = nn.Sequential(*(activation(self.dim) if last_relu else [nn.BatchNorm2d(self.dim)]))
        initialize(self.stages)

    def map(self, x: Tensor) -> Tensor:
        return self._run(x, None)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        pooled: list[Tensor] = []
        x = self._run(x, pooled if layers else None)
        return Features(x.flatten(2).mT, x.mean((2, 3)), (*pooled, x.mean((2, 3))) if layers else ())

    def _run(self, x: Tensor, pooled: list[Tensor] | None) -> Tensor:
        """The map; `pooled` gets the means of all stages but the last."""
        a, b = self.stem(self.normalize(x)).chunk(2, dim=1)
        for place, stage in enumerate(self.stages):
            if place:
                if pooled is not None:
                    pooled.append(torch.cat([a.mean((2, 3)), b.mean((2, 3))], dim=1))
                a, b = _doubled(a, b)
            a, b = stage(a, b)
        return self.last(torch.cat([a, b], dim=1))


def _branch(width: int) -> nn.Sequential:
    return nn.Sequential(*activation(width), *bottleneck(width, width, 1))


def _doubled(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) twice -> (B, 2 C, H / 2, W / 2) twice, sides rounded up."""
    added = a.shape[1]
    a, b = (F.avg_pool2d(half, 2, ceil_mode=True, count_include_pad=False) for half in (a, b))
    return F.pad(a, (0, 0, 0, 0, added, 0)), F.pad(b, (0, 0, 0, 0, 0, added))
