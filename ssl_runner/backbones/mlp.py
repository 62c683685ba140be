"""An MLP that is applied to each vector of an example."""

from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from ssl_runner.interfaces import Encoder, Features, VectorSpec


class VectorMLP(Encoder):
    """Linear layers, each with a ReLU after it, applied to every vector: (B, N, D), any N.

    `tokens` are the vectors' features, `pooled` their mean, `layers` that of each layer. Vectors are read as they are.
    Weights: Kaiming, normal; biases zero.
    """

    kind: ClassVar[str] = "a vector encoder (sets of vectors, each by itself)"

    def __init__(self, spec: VectorSpec, *, widths: list[int]) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise ValueError(f"backbone.widths is {list(widths)}; it must list at least one width, each at least 1")
        self.dim = widths[-1]
        self.stages = nn.ModuleList(_stage(n_in, n_out) for n_in, n_out in pairwise([spec.width, *widths]))

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        pooled = []
        for stage in self.stages:
            x = stage(x)
            if layers:
                pooled.append(x.mean(dim=1))
        return Features(x, x.mean(dim=1), tuple(pooled))


def _stage(n_in: int, n_out: int) -> nn.Sequential:
    linear = nn.Linear(n_in, n_out)
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, nn.ReLU())
