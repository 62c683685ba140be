"""What networks have in common that run stages one after another."""

from torch import Tensor, nn

from ssl_runner.interfaces import Features, MapEncoder
from ssl_runner.nn.normalize import Normalize


class Staged(MapEncoder):
    """`normalize`, `stem`, then `stages`, the last of which gives the map. `pooled` is the mean over the grid; `layers`
    that of each stage."""

    normalize: Normalize
    stem: nn.Module
    stages: nn.ModuleList

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
