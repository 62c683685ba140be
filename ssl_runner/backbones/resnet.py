"""Residual networks of torchvision, with a stem that depends on the resolution."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ssl_runner.backbones.library import check_stem, write_torchvision
from ssl_runner.interfaces import Features, ImageSpec, MapEncoder
from ssl_runner.nn.normalize import Normalize

Stem = Literal["auto", "small", "large"]
SMALL = 64  # pixels; the longest shorter side to which `stem: auto` gives the small stem


PARTS = ("stem.0.", "stem.1.", "stages.0.", "stages.1.", "stages.2.", "stages.3.")
SPELLINGS = (  # of torchvision, and of `nn.Sequential(*children)` of its network, as lightly's examples build backbones
    dict(zip(PARTS, ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4."), strict=True)),
    dict(zip(PARTS, ("0.", "1.", "4.", "5.", "6.", "7."), strict=True)),
)


class ResNet(MapEncoder):
    """A residual network of 18, 34 or 50 layers without its classifier, randomly initialized.

    He et al. 2015, https://arxiv.org/abs/1512.03385. `stem`:
      large  the paper's: 7 x 7 convolution and 3 x 3 max-pooling, both of stride 2; the grid is 1/32 of the image;
      small  3 x 3 convolution of stride 1, no pooling, as SimCLR has it for CIFAR (https://arxiv.org/abs/2002.05709,
             appendix B.9); the grid is 1/8 of the image;
      auto   small where the shorter side of the dataset's images is at most 64 pixels, else large.
    `pooled` is the mean over the grid; `layers` that of each of the four stages. `note` says which stem it is.
    Initialization is torchvision's: convolutions Kaiming, normal, fan-out.
    """

    spellings = SPELLINGS
    library: Literal["torchvision"] = "torchvision"

    def __init__(self, spec: ImageSpec, *, depth: Literal[18, 34, 50], stem: Stem) -> None:
        super().__init__()
        from torchvision.models import resnet  # not at the top: it takes seconds, and validation imports this module

        match depth:
            case 18:
                net = resnet.ResNet(resnet.BasicBlock, [2, 2, 2, 2])
            case 34:
                net = resnet.ResNet(resnet.BasicBlock, [3, 4, 6, 3])
            case 50:
                net = resnet.ResNet(resnet.Bottleneck, [3, 4, 6, 3])
            case _:
                raise ValueError(f"backbone.depth is {depth}; it must be 18, 34 or 50")
        if stem not in ("auto", "small", "large"):
            raise ValueError(f"backbone.stem is {stem!r}; it must be auto, small or large")
        side = min(spec.height, spec.width)
        small = side <= SMALL if stem == "auto" else stem == "small"
        conv = nn.Conv2d(spec.channels, 64, 3, padding=1, bias=False)
        if not small:
            conv = nn.Conv2d(spec.channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        self.note = (
            f"{'small' if small else 'large'} stem ("
            f"{'3x3 convolution, stride 1, no pooling' if small else '7x7 convolution, stride 2, and pooling'}"
            f"{f'; chosen for images of {spec.height}x{spec.width} pixels' if stem == 'auto' else ''})"
        )
        self.architecture = f"resnet{depth}"
        self.dim = net.fc.in_features
        self.normalize = Normalize(spec.channels)
        self.stem = nn.Sequential(conv, net.bn1, net.relu, *([] if small else [net.maxpool]))
        self.stages = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])

    def map(self, x: Tensor) -> Tensor:
        x = self.stem(self.normalize(x))
        for stage in self.stages:
            x = stage(x)
        return x

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        x = self.stem(self.normalize(x))
        pooled = []
        for stage in self.stages:
            x = stage(x)
            if layers:
                pooled.append(x.mean((2, 3)))
        return Features(x.flatten(2).mT, x.mean((2, 3)), tuple(pooled))

    def save_for_library(self, folder: Path) -> None:
        """Write `model.safetensors`, which `torchvision.models.resnet18(num_classes=512)` (34 likewise; 50: 2048) loads
        strictly, and `config.json`: the architecture, and the statistics that its input is normalized with.

        Its last layer is the identity, so that the network gives `pooled`. Raises ValueError for a small stem, which
        torchvision's networks do not have, and for other than 3 channels.
        """
        conv, norm, *rest = self.stem
        check_stem(self.library, len(rest) < 2)
        parts = {"conv1": conv, "bn1": norm} | {f"layer{n}": stage for n, stage in enumerate(self.stages, 1)}
        state = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
        state |= {"fc.weight": torch.eye(self.dim), "fc.bias": torch.zeros(self.dim)}
        about = {"architecture": self.architecture, "num_classes": self.dim, "settings": {}}
        write_torchvision(folder, state, self.normalize, about)
