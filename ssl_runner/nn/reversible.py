"""Reversible residual branches, whose activations are recomputed in the backward pass rather than kept."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


class ReversibleChain(nn.Module):
    """Branches F_1 ... F_n, each of which changes one half of the channels by the other:

        (a, b) -> (b, a + F_i(b)),   so that   (b, c) -> (c - F_i(b), b)   gives the input back

    Two in a row are a reversible block of Gomez et al. 2017, https://arxiv.org/abs/1707.04585. With `recompute` only
    the outputs of the chain and its first b are kept for the backward pass, whatever n is: each branch runs again on
    its input, which is computed from its output. The gradients are those of the plain form up to rounding. In the
    second pass a branch draws the same random numbers, in the same precision (autocast), and BatchNorm uses its batch's
    statistics without updating the running ones, which the first pass did. The halves are kept in float32 at least: in
    bfloat16 the rounding of each sum would add up on the way back.

    No second derivatives.
    """

    def __init__(self, branches: Sequence[nn.Module], *, recompute: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.recompute = recompute

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, ...) twice -> the same. The outputs must not be changed in place."""
        a, b = (half.to(torch.promote_types(half.dtype, torch.float32)) for half in (a, b))
        if self.recompute and torch.is_grad_enabled():
            weights = [weight for weight in self.parameters() if weight.requires_grad]
            return _Recomputed.apply(self.branches, a, b, *weights)
        for branch in self.branches:
            a, b = b, a + branch(b)
        return a, b


class _Recomputed(torch.autograd.Function):
    """A chain that keeps its outputs, and the input of its first branch.

    Weights are inputs, so that their gradients are accumulated as usual, which distributed training relies on.
    """

    @staticmethod
    def forward(ctx: Any, branches: nn.ModuleList, a: Tensor, b: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        ctx.branches, ctx.weights = branches, weights
        ctx.precision = _Precision.of(a.device)
        ctx.draws, first = [], b
        for branch in branches:
            before = _Draws.of(a.device)
            a, b = b, a + branch(b)
            ctx.draws.append(None if before.same(_Draws.of(a.device)) else before)  # most branches draw nothing
        # Channels that were padded with zeros are normalized to exactly zero, where ReLU has no derivative but passes
        # none on. Computed back they would be zero up to rounding, and half of them would pass it on.
        ctx.save_for_backward(a, b, first)
        return a, b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_a: Tensor, grad_b: Tensor) -> Any:
        a, b, first = ctx.saved_tensors
        grads: dict[Tensor, Tensor] = {}
        for place in reversed(range(len(ctx.branches))):
            branch, draws = ctx.branches[place], ctx.draws[place]
            seen = (a if place else first).detach().requires_grad_()
            with torch.enable_grad(), ctx.precision.again(), _again(draws), statistics_kept(branch):
                change = branch(seen.view_as(seen))  # hooks on a module's input may not be on a leaf
            own = [weight for weight in branch.parameters() if weight.requires_grad]
            through, *found = torch.autograd.grad(
                change, [seen, *own], grad_b.to(change.dtype), allow_unused=True, materialize_grads=True
            )
            for weight, grad in zip(own, found, strict=True):
                grads[weight] = grads[weight] + grad if weight in grads else grad
            a, b = b - change.detach(), a
            grad_a, grad_b = grad_b, grad_a + through
        return None, grad_a, grad_b, *(grads[weight] for weight in ctx.weights)


@dataclass(frozen=True)
class _Precision:
    """Autocast as it was in the first pass."""

    device: str
    enabled: bool
    dtype: torch.dtype

    @classmethod
    def of(cls, device: torch.device) -> "_Precision":
        return cls(device.type, torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type))

    def again(self) -> torch.autocast:
        # Without the cache: it may hold weights that the first pass cast without a gradient.
        return torch.autocast(self.device, dtype=self.dtype, enabled=self.enabled, cache_enabled=False)


@dataclass(frozen=True)
class _Draws:
    """The states of the random generators of the CPU and of a GPU. They are on the host: reading them waits for no
    device."""

    cpu: Tensor
    gpu: Tensor | None
    device: torch.device

    @classmethod
    def of(cls, device: torch.device) -> "_Draws":
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None, device)

    def same(self, other: "_Draws") -> bool:
        if self.gpu is not None and other.gpu is not None and not torch.equal(self.gpu, other.gpu):
            return False
        return torch.equal(self.cpu, other.cpu)


@contextmanager
def _again(draws: _Draws | None) -> Iterator[None]:
    """Draw the same random numbers as at `draws`; the generators are left as they were."""
    if draws is None:
        yield
        return
    with torch.random.fork_rng(devices=[] if draws.gpu is None else [draws.device]):
        torch.set_rng_state(draws.cpu)
        if draws.gpu is not None:
            torch.cuda.set_rng_state(draws.gpu, draws.device)
        yield


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Leave running statistics of BatchNorm as they are; in training a batch is normalized by its own as usual."""
    tracking = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    for part in tracking:
        part.track_running_stats = False
    try:
        yield
    finally:
        for part in tracking:
            part.track_running_stats = True
