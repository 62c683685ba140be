"""Residual networks of torchvision with convolutions over time."""

from typing import Literal

from torch import Tensor, nn

from ssl_runner.interfaces import ClipEncoder, Features, VideoSpec
from ssl_runner.nn.normalize import Normalize

Convolution = Literal["3d", "2plus1d"]
BETWEEN = 45  # channels between the two convolutions of the stem of R(2+1)D


class VideoResNet(ClipEncoder):
    """A residual network of 18 layers over space and time, without its classifier, randomly initialized.

    Tran, Wang, Torresani, Ray, LeCun, Paluri 2018, "A Closer Look at Spatiotemporal Convolutions for Action
    Recognition", https://arxiv.org/abs/1711.11248. `convolution`:
      3d       3 x 3 x 3 convolutions (R3D);
      2plus1d  each as a convolution over space and then one over time, with as many weights in all (R(2+1)D).
    Frames and clips may be of any size; the grid is 1/16 of the frame's height and width and 1/8 of the clip's length,
    rounded up. `pooled` is the mean over the grid; `layers` that of each of the four stages. Initialization is
    torchvision's: convolutions Kaiming, normal, fan-out.
    """

    def __init__(self, spec: VideoSpec, *, convolution: Convolution) -> None:
        super().__init__()
        from torchvision.models.video import resnet  # not at the top: it takes seconds, and validation imports this

        match convolution:
            case "3d":
                stem = _convolution(spec.channels, 64, (3, 7, 7), (1, 2, 2))
                maker: type[nn.Module] = resnet.Conv3DSimple
            case "2plus1d":
                stem = nn.Sequential(
                    *_convolution(spec.channels, BETWEEN, (1, 7, 7), (1, 2, 2)),
                    *_convolution(BETWEEN, 64, (3, 1, 1), (1, 1, 1)),
                )
                maker = resnet.Conv2Plus1D
            case _:
                raise ValueError(f"backbone.convolution is {convolution!r}; it must be 3d or 2plus1d")
        # its initialization is of all layers, the stem's among them
        net = resnet.VideoResNet(resnet.BasicBlock, [maker] * 4, [2, 2, 2, 2], lambda: stem)
        self.dim = net.fc.in_features
        self.normalize = Normalize(spec.channels)
        self.stem = net.stem
        self.stages = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])

    def map(self, x: Tensor) -> Tensor:
        x = self._stem(x)
        for stage in self.stages:
            x = stage(x)
        return x

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        x = self._stem(x)
        pooled = []
        for stage in self.stages:
            x = stage(x)
            if layers:
                pooled.append(x.mean((2, 3, 4)))
        return Features(x.flatten(2).mT, x.mean((2, 3, 4)), tuple(pooled))

    def _stem(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, 64, T, h, w)."""
        return self.stem(self.normalize(x.flatten(0, 1)).unflatten(0, x.shape[:2]).transpose(1, 2))


def _convolution(n_in: int, n_out: int, size: tuple[int, int, int], stride: tuple[int, int, int]) -> nn.Sequential:
    time, down, across = size
    conv = nn.Conv3d(n_in, n_out, size, stride, (time // 2, down // 2, across // 2), bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(n_out), nn.ReLU(inplace=True))
