"""What encoders around networks of libraries share: settings of weights, channels, stems. C channels of images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import ImageSpec

Stem = Literal["auto", "small", "large"]
SMALL = 64  # pixels; the longest shorter side to which `stem: auto` gives the small stem


class WeightSettings(TypedDict):
    """Keys of every backbone that a library provides; the fields of `Origin`."""

    weights: str
    source: str | None
    license: str | None
    prefix: str | None
    matched: float
    mean: list[float] | None
    std: list[float] | None


def named_weights(node: Mapping[str, Any]) -> dict[str, Path]:
    """The file or folder that `weights` of a config names, if it names one, as `Encoder.places` has it."""
    weights = node["weights"]
    return {} if weights in ("none", "pretrained") else {"weights": Path(weights).expanduser()}


def missing_library(option: str, package: str, extra: str) -> ValueError:
    """The refusal of a backbone whose library is not installed."""
    return ValueError(f"backbone={option} needs the package {package}: pip install 'ssl-runner[{extra}]'")


def wants_small_stem(stem: str, spec: ImageSpec) -> bool:
    """Whether `stem` asks for the small one at this resolution. Raises ValueError for any other value."""
    if stem not in ("auto", "small", "large"):
        raise ValueError(f"backbone.stem is {stem!r}; it must be auto, small or large")
    return min(spec.height, spec.width) <= SMALL if stem == "auto" else stem == "small"


def shrink_stem(net: nn.Module, conv: str, pool: str | None) -> str:
    """Give `net` a stem for small images, in place; returns what it is now, "" where none is known for such a network.

    `conv`, `pool`: names of the first convolution and of the pooling after it. With pooling the stem is replaced as in
    SimCLR (https://arxiv.org/abs/2002.05709, appendix B.9): 3 x 3, stride 1, no pooling. Without, a first convolution
    of stride 2 gets stride 1, and keeps its shape.
    """
    first = net.get_submodule(conv)
    if not isinstance(first, nn.Conv2d):
        return ""
    if pool is not None and first.kernel_size == (7, 7):
        small = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=first.bias is not None)
        nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
        net.set_submodule(conv, small)
        net.set_submodule(pool, nn.Identity())
        return "small stem (3x3 convolution, stride 1, no pooling)"
    if first.stride != (2, 2) or first.kernel_size > (3, 3):
        return ""
    first.stride = (1, 1)
    if pool is None:
        return "small stem (first convolution of stride 1)"
    net.set_submodule(pool, nn.Identity())
    return "small stem (first convolution of stride 1, no pooling)"


def without_idle(net: nn.Module, used: set[nn.Module]) -> None:
    """Remove parts with weights that are not among `used`, such as heads, in place: no gradient would reach them."""
    for name, part in list(net.named_modules()):
        if name and part not in used and next(part.parameters(recurse=False), None) is not None:
            net.set_submodule(name, nn.Identity())


def called(net: nn.Module, run: Any) -> set[nn.Module]:
    """The parts of `net` that `run()` calls, in eval mode, without gradients; modes are as before afterwards."""
    used: set[nn.Module] = set()
    training = [part for part in net.modules() if part.training]
    hooks = [part.register_forward_pre_hook(lambda each, _: used.add(each)) for part in net.modules()]
    net.eval()
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
        for part in training:
            part.training = True
    return used


def adapt_channels(state: Mapping[str, Tensor], name: str, channels: int) -> dict[str, Tensor]:
    """`state` with the first convolution `name` (O, I, h, w) reading `channels` channels.

    One channel: the sum over all, which is what a gray image repeated in all channels gives. More: the channels
    repeated in turn, scaled so that their sum stays. As timm does it.
    """
    weight = state.get(name)
    if weight is None or weight.ndim != 4 or weight.shape[1] == channels:
        return dict(state)
    had = weight.shape[1]
    if channels == 1:
        new = weight.sum(1, keepdim=True)
    else:
        new = weight[:, [place % had for place in range(channels)]] * (had / channels)
    return dict(state) | {name: new}


def adapt_statistics(values: Sequence[float], channels: int) -> Tensor:
    """(channels,): statistics for the channels that images have; for one the mean of all, for more all in turn."""
    given = torch.tensor(list(values), dtype=torch.float32)
    if len(given) == channels:
        return given
    return given.mean()[None] if channels == 1 else given[torch.arange(channels) % len(given)]
