"""VGG with batch normalization."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ssl_runner.backbones.library import write_torchvision
from ssl_runner.backbones.staged import Staged
from ssl_runner.interfaces import ImageSpec
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.residual import check_widening, initialize

COUNTS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions a block
STANDARD = 8  # widening factor of the paper's network
HALVINGS = 5


class VGG(Staged):
    """Five blocks of 3 x 3 convolutions and 2 x 2 max-pooling, then fully connected layers; no shortcuts.

    Simonyan, Zisserman 2014, https://arxiv.org/abs/1409.1556, with a batch normalization before each ReLU. Widths as in
    Kolesnikov, Zhai, Beyer 2019, https://arxiv.org/abs/1901.09005: the blocks have 8, 16, 32, 64 and 64 x `widening`
    channels, the fully connected layers 512 x `widening`, as many as a ResNet's features; 8 is the standard network.
    `connected`: the number of fully connected layers (paper: 2); with 0 the features are those of the last block.
    `depth` counts three, with a classifier, whatever `connected` is, so that names are those of the paper.
    `layers`: the mean over the grid after each block's pooling, and after each fully connected layer.
    Convolutions: Kaiming, normal, fan-out.

    Differs from the paper: fully connected layers are 1 x 1 convolutions, so that images of any size are read; that is
    the same where the last grid is a single cell, as of 32 pixels. Sides are rounded up by pooling.
    """

    library: Literal["torchvision"] = "torchvision"

    def __init__(self, spec: ImageSpec, *, depth: Literal[11, 13, 16, 19], widening: int, connected: int) -> None:
        super().__init__()
        if depth not in COUNTS:
            raise ValueError(f"backbone.depth is {depth}; it must be 11, 13, 16 or 19")
        check_widening(widening)
        if connected < 0:
            raise ValueError(f"backbone.connected is {connected}; it must be 0 or more")
        self.spec, self.depth, self.widening, self.connected = spec, depth, widening, connected
        width = 8 * widening
        self.normalize = Normalize(spec.channels)
        self.stem = nn.Identity()
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        stages = []
        n_in = spec.channels
        for count, n_out in zip(COUNTS[depth], widths, strict=True):
            layers = [part for n in range(count) for part in _layer(n_in if n == 0 else n_out, n_out, 3)]
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True)))
            n_in = n_out
        for _ in range(connected):
            stages.append(nn.Sequential(*_layer(n_in, 64 * width, 1)))
            n_in = 64 * width
        self.dim = n_in
        self.stages = nn.ModuleList(stages)
        initialize(self.stages)

    def save_for_library(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json`: weights of `features`, a part of `torchvision.models.vgg19_bn`
        (11, 13 and 16 likewise), whose mean over the grid is `pooled`.

        Raises ValueError for networks that torchvision does not have: of other widths, with fully connected layers,
        which are shaped otherwise there, of other than 3 channels; and for images whose sides torchvision's pooling
        would round down.
        """
        sides = (self.spec.height, self.spec.width)
        wrong = {
            f"has backbone.connected={self.connected}, and `features` of torchvision's end before such layers": (
                self.connected > 0
            ),
            f"has backbone.widening={self.widening}, and torchvision's have {STANDARD}": self.widening != STANDARD,
            f"reads images of {sides[0]} x {sides[1]}, and torchvision's pooling gives the same for sides that are "
            f"multiples of {2**HALVINGS} alone": any(side % 2**HALVINGS for side in sides),
        }
        for problem, found in wrong.items():
            if found:
                raise ValueError(f"this network {problem}")
        about = {"architecture": f"vgg{self.depth}_bn", "settings": {}, "part": "features"}
        write_torchvision(folder, dict(self._torchvision_state()), self.normalize, about)

    def _torchvision_state(self) -> Iterator[tuple[str, Tensor]]:
        """Weights by the names of torchvision's `features`, whose parts are numbered; its biases are zero."""
        parts = [part for stage in self.stages for part in stage.children()]
        for place, part in enumerate(parts):
            yield from ((f"{place}.{name}", value) for name, value in part.state_dict().items())
            if isinstance(part, nn.Conv2d):
                yield f"{place}.bias", torch.zeros(part.out_channels)


def _layer(n_in: int, n_out: int, side: int) -> list[nn.Module]:
    """A convolution has no bias: the batch normalization would subtract it again."""
    conv = nn.Conv2d(n_in, n_out, side, padding=side // 2, bias=False)
    return [conv, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
