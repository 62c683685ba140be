"""Parts of residual networks: stems, branches with pre-activation, widths."""

from typing import NamedTuple

from torch import Tensor, nn

from ssl_runner.interfaces import ImageSpec
from ssl_runner.nn.published import wants_small_stem

BASE = 16  # channels of the stem with a widening factor of 1
COUNTS = {  # bottlenecks per stage, by the number of layers
    14: (1, 1, 1, 1),
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def check_widening(widening: int) -> None:
    """Raise ValueError for a factor below 1."""
    if widening < 1:
        raise ValueError(f"backbone.widening is {widening}; it must be at least 1; the standard ResNet has 4, VGG 8")


def counts_of(depth: int) -> tuple[int, ...]:
    """Bottlenecks per stage. Raises ValueError for a depth that is not of `COUNTS`."""
    if depth not in COUNTS:
        raise ValueError(f"backbone.depth is {depth}; it must be 14, 26, 50, 101 or 152")
    return COUNTS[depth]


class StemConv(NamedTuple):
    """The first convolution of a residual network, and whether it is the one for small images."""

    conv: nn.Conv2d
    small: bool
    note: str


def stem_conv(spec: ImageSpec, stem: str, width: int) -> StemConv:
    """The first convolution, to `width` channels. `stem`: see `backbones.resnet.ResNet`; raises ValueError."""
    small = wants_small_stem(stem, spec)
    conv = nn.Conv2d(spec.channels, width, 3, padding=1, bias=False)
    if not small:
        conv = nn.Conv2d(spec.channels, width, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    note = (
        f"{'small' if small else 'large'} stem ("
        f"{'3x3 convolution, stride 1, no pooling' if small else '7x7 convolution, stride 2, and pooling'}"
        f"{f'; chosen for images of {spec.height}x{spec.width} pixels' if stem == 'auto' else ''})"
    )
    return StemConv(conv, small, note)


def pool(small: bool) -> list[nn.Module]:
    """What follows the first convolution: nothing for small images, else the paper's max-pooling."""
    return [] if small else [nn.MaxPool2d(3, stride=2, padding=1)]


def initialize(module: nn.Module) -> None:
    """Convolutions as torchvision's networks have them: Kaiming, normal, fan-out."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


def activation(width: int) -> list[nn.Module]:
    """Batch normalization and ReLU, before a convolution."""
    return [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


def bottleneck(n_in: int, n_out: int, stride: int) -> list[nn.Module]:
    """Three convolutions with a quarter of the output's channels between them, each but the first pre-activated.

    The stride is that of the 3 x 3 convolution, as in torchvision: a 1 x 1 one would skip three quarters of the input.
    """
    inner = n_out // 4
    return [
        nn.Conv2d(n_in, inner, 1, bias=False),
        *activation(inner),
        nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False),
        *activation(inner),
        nn.Conv2d(inner, n_out, 1, bias=False),
    ]


class Unrectified(nn.Module):
    """A residual block of torchvision without the ReLU after its sum."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        names = [name for name, part in block.named_children() if isinstance(part, nn.Conv2d)]
        layers: list[nn.Module] = []
        for name in names:
            layers += [
                block.get_submodule(name),
                block.get_submodule(name.replace("conv", "bn")),
                nn.ReLU(inplace=True),
            ]
        shortcut = getattr(block, "downsample", None)
        self.branch = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.shortcut(x)
