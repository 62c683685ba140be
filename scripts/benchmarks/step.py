"""A training step of an objective, and the part of it that is its encoder's."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from ssl_runner.assembly import construct
from ssl_runner.config.schema import Config
from ssl_runner.interfaces import Batch, DataSpec, Encoder, Features


class Call(NamedTuple):
    """A call of one of an encoder's methods."""

    method: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


class Step:
    """The step of one config, on made examples and on the CPU."""

    def __init__(self, config: Config, spec: DataSpec) -> None:
        self.spec = replace(spec, size=4096)
        self.model = construct.objective(config, self.spec)
        self.optimizer = construct.optimizer(config, self.model)
        self.calls: list[Call] = []
        self.count = config.batch_size
        self.examples = self.spec.fake(self.count)

    def batch(self) -> Batch:
        label = torch.arange(self.count) % max(self.spec.classes, 1)
        return Batch(self.spec.to_input(self.examples), label, torch.arange(self.count))

    def whole(
        self, steps: int, dtype: torch.dtype = torch.float32, clock: Callable[[], float] = time.monotonic
    ) -> float:
        """Examples/s: split, loss, backward, the optimizer, and what moves afterwards."""
        begun = clock()
        for step in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
                loss = self.model.loss(*self.model.split(self.batch()))
            self.optimizer.zero_grad()
            loss.value.backward()
            self.optimizer.step()
            self.model.after_step([loss.carry], step / steps)
        return self.count * steps / (clock() - begun)

    def encoder(self, steps: int) -> float:
        """Examples/s: what the encoder read in one loss, forward and backward."""
        if not self.calls:
            self.calls = calls_of(self.model.encoder, lambda: self.model.loss(*self.model.split(self.batch())))
        begun = time.monotonic()
        for _ in range(steps):
            self.model.encoder.zero_grad()
            found = [method(*arguments, **keywords) for method, arguments, keywords in self.calls]
            sums = [each.pooled.sum() if isinstance(each, Features) else each.sum() for each in found]
            torch.stack(sums).sum().backward()
        return self.count * steps / (time.monotonic() - begun)


def calls_of(encoder: Encoder, act: Callable[[], object]) -> list[Call]:
    """What `act` gives the encoder to read with gradients; calls that a call makes itself are left out."""
    found: list[Call] = []
    methods = [name for name in ("forward", "map") if name in dir(encoder)]
    inside = False

    def watch(method: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            if inside or not torch.is_grad_enabled():
                return method(*args, **kwargs)
            found.append(Call(method, tuple(each.detach() for each in args), kwargs))
            inside = True
            try:
                return method(*args, **kwargs)
            finally:
                inside = False

        return watched

    for name in methods:
        setattr(encoder, name, watch(getattr(encoder, name)))
    try:
        act()
    finally:
        for name in methods:
            delattr(encoder, name)
    return found
