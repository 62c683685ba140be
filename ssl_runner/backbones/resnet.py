"""Residual networks of torchvision, with a stem that depends on the resolution."""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ssl_runner.backbones.library import check_stem, write_torchvision
from ssl_runner.backbones.staged import Staged
from ssl_runner.interfaces import ImageSpec
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.published import Stem
from ssl_runner.nn.residual import BASE, Unrectified, check_widening, initialize, pool, stem_conv
from ssl_runner.nn.residual import COUNTS as BOTTLENECKS

COUNTS = {**BOTTLENECKS, 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # blocks per stage, by the number of layers
STANDARD = 4  # widening factor of torchvision's networks

PARTS = ("stem.0.", "stem.1.", "stages.0.", "stages.1.", "stages.2.", "stages.3.")
SPELLINGS = (  # of torchvision, and of `nn.Sequential(*children)` of its network, as lightly's examples build backbones
    dict(zip(PARTS, ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4."), strict=True)),
    dict(zip(PARTS, ("0.", "1.", "4.", "5.", "6.", "7."), strict=True)),
)


class ResNet(Staged):
    """A residual network of torchvision's blocks without its classifier, randomly initialized.

    He et al. 2015, https://arxiv.org/abs/1512.03385. 18 and 34 layers are of blocks of two 3 x 3 convolutions,
    all others of bottlenecks. `stem`:
      large  the paper's: 7 x 7 convolution and 3 x 3 max-pooling, both of stride 2; the grid is 1/32 of the image;
      small  3 x 3 convolution of stride 1, no pooling, as SimCLR has it for CIFAR (https://arxiv.org/abs/2002.05709,
             appendix B.9); the grid is 1/8 of the image;
      auto   small where the shorter side of the dataset's images is at most 64 pixels, else large.
    `widening`: as in Kolesnikov, Zhai, Beyer 2019, https://arxiv.org/abs/1901.09005: all layers are so many times as
    wide as with 16 channels after the stem; 4 is the standard network. Without `last_relu` there is no ReLU after the
    last block, whose output is averaged; the same paper marks that by (-).
    `pooled` is the mean over the grid; `layers` that of each of the four stages. `note` says which stem it is.
    Initialization is torchvision's: convolutions Kaiming, normal, fan-out.
    """

    spellings = SPELLINGS
    library: Literal["torchvision"] = "torchvision"
    stem: nn.Sequential

    def __init__(
        self,
        spec: ImageSpec,
        *,
        depth: Literal[14, 18, 26, 34, 50, 101, 152],
        widening: int,
        stem: Stem,
        last_relu: bool,
    ) -> None:
        super().__init__()
        check_widening(widening)
        norm, stages, self.dim = _parts(depth, widening)
        conv, small, self.note = stem_conv(spec, stem, BASE * widening)
        self.normalize = Normalize(spec.channels)
        self.stem = nn.Sequential(conv, norm, nn.ReLU(inplace=True), *pool(small))
        if not last_relu:
            stages[-1][-1] = Unrectified(stages[-1][-1])
        self.stages = nn.ModuleList(stages)
        self.small, self.architecture = small, f"resnet{depth}"
        self.others = {  # settings of which torchvision has no network: what is so here -> why
            f"backbone.depth={depth}": depth in (14, 26) and "has no such network",
            f"backbone.widening={widening}": widening != STANDARD and f"has {STANDARD} alone",
            "backbone.last_relu=false": not last_relu and "has a ReLU there",
        }

    def save_for_library(self, folder: Path) -> None:
        """Write `model.safetensors`, which `torchvision.models.resnet18(num_classes=512)` (34 likewise; others: 2048)
        loads strictly, and `config.json`: the architecture, and the statistics that its input is normalized with.

        Its last layer is the identity, so that the network gives `pooled`. Raises ValueError for what torchvision's
        networks do not have: a small stem, other depths and widths, no last ReLU, other than 3 channels.
        """
        conv, norm, *_ = self.stem
        check_stem(self.library, self.small)
        for setting, problem in self.others.items():
            if problem:
                raise ValueError(f"this network has {setting}, and torchvision {problem}")
        parts = {"conv1": conv, "bn1": norm} | {f"layer{n}": stage for n, stage in enumerate(self.stages, 1)}
        state = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
        state |= {"fc.weight": torch.eye(self.dim), "fc.bias": torch.zeros(self.dim)}
        about = {"architecture": self.architecture, "num_classes": self.dim, "settings": {}}
        write_torchvision(folder, state, self.normalize, about)


def _parts(depth: int, widening: int) -> tuple[nn.Module, list[nn.Sequential], int]:
    """Batch normalization of the stem, four stages, and the channels of the last. Raises ValueError."""
    from torchvision.models import resnet  # not at the top: it takes seconds, and validation imports this module

    if depth not in COUNTS:
        raise ValueError(f"backbone.depth is {depth}; it must be 14, 18, 26, 34, 50, 101 or 152")
    block: Any = resnet.BasicBlock if depth in (18, 34) else resnet.Bottleneck
    if widening == STANDARD:  # torchvision's own, which draws the weights that it always drew
        net = resnet.ResNet(block, list(COUNTS[depth]))
        return net.bn1, [net.layer1, net.layer2, net.layer3, net.layer4], net.fc.in_features
    n_in, stages = BASE * widening, []
    for place, count in enumerate(COUNTS[depth]):
        width, stride = BASE * widening * 2**place, 2 if place else 1
        n_out = width * block.expansion
        changes = stride > 1 or n_in != n_out
        conv = nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False)
        shortcut = nn.Sequential(conv, nn.BatchNorm2d(n_out)) if changes else None
        first = block(n_in, width, stride, shortcut)
        stages.append(nn.Sequential(first, *(block(n_out, width) for _ in range(count - 1))))
        initialize(stages[-1])
        n_in = n_out
    return nn.BatchNorm2d(BASE * widening), stages, n_in
