"""MLP heads: projectors and predictors."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

Norm = Literal["batch", "layer", "none"]
LastNorm = Literal["none", "batch", "affine"]
Activation = Literal["relu", "gelu"]


class MLP(nn.Module):
    """Linear layers with a normalization and a ReLU, or GELU, between them: (B, widths[0]) -> (B, widths[-1]).

    `norm` follows every layer but the last; `last_norm` adds a batch normalization after the last one: without scale
    and shift ("batch"), as the projector of SimSiam has it, or with both ("affine"). Linear layers before a batch
    normalization have no bias: it would be subtracted again. Weights: Kaiming, normal, fan-in; biases: zero.
    """

    def __init__(
        self, widths: Sequence[int], *, norm: Norm, last_norm: LastNorm = "none", activation: Activation = "relu"
    ) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"the widths of an MLP are {list(widths)}; at least two are needed, each at least 1")
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths[:-1]):
            between = nn.ReLU() if activation == "relu" else nn.GELU()
            layers += [_linear(n_in, n_out, bias=norm != "batch", gain="relu"), *_norm(norm, n_out), between]
        layers.append(_linear(widths[-2], widths[-1], bias=last_norm == "none", gain="linear"))
        if last_norm != "none":
            layers.append(nn.BatchNorm1d(widths[-1], affine=last_norm == "affine"))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def check_widths(key: str, widths: Sequence[int]) -> None:
    """Raises ValueError, naming the key, unless `widths` lists at least one layer, each at least 1 wide."""
    if not widths or min(widths) < 1:
        raise ValueError(
            f"objective.{key} is {list(widths)}; it must list the widths of the head's layers, the output "
            "last, such as [256, 128]"
        )


def _linear(n_in: int, n_out: int, *, bias: bool, gain: Literal["relu", "linear"]) -> nn.Linear:
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity=gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _norm(norm: Norm, width: int) -> list[nn.Module]:
    match norm:
        case "batch":
            return [nn.BatchNorm1d(width)]
        case "layer":
            return [nn.LayerNorm(width)]
        case "none":
            return []
    raise ValueError(f"the norm of an MLP is {norm!r}; it must be batch, layer or none")
