"""Parameter groups, LARS, and schedules as functions of progress in [0, 1]."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def decay_groups(groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Split each parameter group into one with weight decay and one without (biases, norms: one dimension)."""
    split = []
    for group in groups:
        parameters: list[nn.Parameter] = list(group["params"])
        rest = {key: value for key, value in group.items() if key != "params"}
        for chosen, extra in (
            ([p for p in parameters if p.ndim > 1], {}),
            ([p for p in parameters if p.ndim <= 1], {"weight_decay": 0.0}),
        ):
            if chosen:
                split.append({"params": chosen, "lr_scale": 1.0, **rest, **extra})
    return split


def scaled_groups(groups: Iterable[dict[str, Any]], scales: Mapping[nn.Parameter, float]) -> list[dict[str, Any]]:
    """Split each parameter group by the factors of its parameters' learning rates; those without one have 1."""
    split = []
    for group in groups:
        rest = {key: value for key, value in group.items() if key != "params"}
        found: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            found.setdefault(scales.get(parameter, 1.0), []).append(parameter)
        for scale, chosen in found.items():
            split.append(rest | {"params": chosen, "lr_scale": rest.get("lr_scale", 1.0) * scale})
    return split


@torch.no_grad()
def lay_out(optimizer: Optimizer) -> None:
    """Give the state of an optimizer the memory layout of its parameters.

    Fused kernels take that for granted. A checkpoint written where weights were shared out has no channels-last
    layout, whole weights have. Adagrad has no fused kernel for GPUs before torch 2.12; without one it counts its steps
    on the host, and would wait for the device if the count were there.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter).copy_(value)
    if isinstance(optimizer, torch.optim.Adagrad):
        for group in optimizer.param_groups:
            if any(parameter.device.type != "cpu" for parameter in group["params"]):
                group["fused"] = None
                for parameter in group["params"]:
                    optimizer.state[parameter]["step"] = optimizer.state[parameter]["step"].cpu()


class LARS(Optimizer):
    """SGD with momentum whose gradient, layer by layer, is scaled to the size of the layer's weights.

        g' = g + weight_decay w,   r = trust |w| / |g'|  (1 for biases, norms, and where either norm is 0)
        m <- momentum m + lr r g',   w <- w - m

    So |lr r g'| = lr trust |w| is what a step adds to m; where gradients keep their direction m grows to 1 / (1 -
    momentum) times that. `clip`: r is min(trust |w| / |g'| / lr, 1), so that lr is the greatest rate of a layer,
    and steps of layers with small gradients are those of SGD (as LARC in libraries, and solo-learn).

    You, Gitman, Ginsburg 2017, https://arxiv.org/abs/1708.03888.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        trust: float,
        clip: bool,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay), ("trust", trust)):
            if value < 0:
                raise ValueError(f"optimizer.{name} is {value}; it must not be negative")
        if not 0 <= momentum < 1:
            raise ValueError(f"optimizer.momentum is {momentum}; it must lie in [0, 1)")
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "clip": clip}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure=None):  # type: ignore[override]  # torch's own signature is overloaded
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                gradient = p.grad.add(p, alpha=group["weight_decay"])
                if p.ndim > 1:
                    weight, slope = p.norm(), gradient.norm()
                    ratio = group["trust"] * weight / slope
                    if group.get("clip") and group["lr"] > 0:  # a checkpoint may be older than this setting
                        ratio = (ratio / group["lr"]).clamp_max(1)
                    gradient = gradient * torch.where((weight > 0) & (slope > 0), ratio, torch.ones_like(ratio))
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].mul_(group["momentum"]).add_(gradient, alpha=group["lr"])
                p.sub_(state["momentum"])
        return loss


class Schedule(Protocol):
    """The factor of the peak learning rate at a progress in [0, 1]."""

    def __call__(self, progress: float) -> float: ...


class Constant(Schedule):
    """1 throughout."""

    def __call__(self, progress: float) -> float:
        return 1.0


class Linear(Schedule):
    """Linear from 1 to `final`."""

    def __init__(self, *, final: float) -> None:
        if not 0 <= final <= 1:
            raise ValueError(f"schedule.final is {final}; it is a fraction of the peak and must lie in [0, 1]")
        self.final = final

    def __call__(self, progress: float) -> float:
        return 1 - (1 - self.final) * min(progress, 1.0)


class WarmupCosine(Schedule):
    """Linear from 0 over `warmup` of the budget, then half a cosine from 1 to `final`.

    Loshchilov, Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts.
    """

    def __init__(self, *, warmup: float, final: float) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"schedule.warmup is {warmup}; it is a fraction of the budget and must lie in [0, 1)")
        if not 0 <= final <= 1:
            raise ValueError(f"schedule.final is {final}; it is a fraction of the peak and must lie in [0, 1]")
        self.warmup = warmup
        self.final = final

    def __call__(self, progress: float) -> float:
        if progress < self.warmup:
            return progress / self.warmup
        phase = (progress - self.warmup) / (1 - self.warmup)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(phase, 1.0)))
