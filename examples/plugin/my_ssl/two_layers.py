"""A network of two convolutions."""

from torch import Tensor, nn

from ssl_runner.interfaces import Features, ImageSpec, MapEncoder
from ssl_runner.nn.normalize import Normalize


class TwoLayers(MapEncoder):
    """Two 4 x 4 convolutions of stride 2, each with batch normalization and ReLU.

    `pooled` is the mean over the grid; `layers` that of each convolution.
    """

    def __init__(self, spec: ImageSpec, *, width: int) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"backbone.width is {width}; it must be at least 1")
        self.dim = 2 * width
        self.normalize = Normalize(spec.channels)
        self.first = _layer(spec.channels, width)
        self.second = _layer(width, 2 * width)

    def map(self, x: Tensor) -> Tensor:
        return self.second(self.first(self.normalize(x)))

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        first = self.first(self.normalize(x))
        second = self.second(first)
        pooled = second.mean((2, 3))
        return Features(second.flatten(2).mT, pooled, (first.mean((2, 3)), pooled) if layers else ())


def _layer(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 4, stride=2, padding=1), nn.BatchNorm2d(n_out), nn.ReLU())
