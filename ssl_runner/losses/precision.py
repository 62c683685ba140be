"""Compute losses in float32, even if the network runs in bfloat16."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def wide(x: Tensor) -> Tensor:
    """Convert half precision to float32; other values stay."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def float32(function: Callable[P, R]) -> Callable[P, R]:
    """Call `function` outside autocast, with its half-precision tensor arguments as float32.

    A bfloat16 has 8 bits of mantissa: similarities that differ by less than 0.4 % would be one number. float64 stays.
    """

    def widen(value: Any) -> Any:
        return wide(value) if isinstance(value, Tensor) else value

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next((a.device.type for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            call: Any = function  # the arguments keep their number and names
            return call(*map(widen, args), **{name: widen(value) for name, value in kwargs.items()})

    return wrapped
