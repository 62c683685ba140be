"""Exponential moving averages of modules, as targets and teachers."""

import copy
import math
from typing import Any, Generic, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
MomentumSchedule = Literal["constant", "linear", "cosine"]


class EMA(nn.Module, Generic[M]):
    """A copy of a module whose weights are a moving average of the module's; it gets no gradient.

        copy <- momentum copy + (1 - momentum) source

    Tarvainen, Valpola 2017, "Mean teachers are better role models", https://arxiv.org/abs/1703.01780. Only parameters
    are averaged. In training mode BatchNorm uses the statistics of the copy's own batches and keeps running ones of
    them, as in MoCo, BYOL and DINO; in eval mode it uses those.
    """

    module: M

    def __init__(self, source: M) -> None:
        super().__init__()
        self.module = copy.deepcopy(source).requires_grad_(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Any:
        return self.module(x)

    @torch.no_grad()
    def update(self, source: nn.Module, momentum: float) -> None:
        """Move towards `source`, a module of the same layers: one fused call for all parameters."""
        torch._foreach_lerp_(list(self.module.parameters()), list(source.parameters()), 1 - momentum)


def momentum_at(schedule: MomentumSchedule, start: float, progress: float) -> float:
    """The momentum of a copy at a progress in [0, 1].

        constant   start
        linear     from start to 1
        cosine     half a cosine from start to 1: Grill et al. 2020 (BYOL), https://arxiv.org/abs/2006.07733, sec. 3.3

    >>> [round(momentum_at("cosine", 0.99, p), 6) for p in (0, 0.5, 1)]
    [0.99, 0.995, 1.0]
    """
    match schedule:
        case "constant":
            return start
        case "linear":
            return start + (1 - start) * progress
    return 1 - (1 - start) * (1 + math.cos(math.pi * progress)) / 2


def check_momentum(key: str, value: float, schedule: str = "constant") -> None:
    """Raises ValueError unless `value`, the momentum, is in [0, 1), and its schedule is one that there is."""
    if not 0 <= value < 1:
        raise ValueError(f"objective.{key} is {value}; it must lie in [0, 1); 0 copies the weights at each step")
    if schedule not in get_args(MomentumSchedule):
        raise ValueError(
            f"objective.{key}_schedule is {schedule!r}; it must be one of {', '.join(get_args(MomentumSchedule))}"
        )
