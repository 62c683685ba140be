"""Sharded weights: torch's `fully_shard` (FSDP2)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from ssl_runner.nn.gather import mean_over_ranks, rank, ranks

LISTS = ("blocks", "stages")  # what a ModuleList is called whose parts are gathered one by one


def shard(objective: nn.Module, device: torch.device) -> None:
    """Shard each parameter over processes along its first dimension.

    Blocks of Transformers and stages of convolutional networks, of the encoder and its copies, are gathered only
    while they run; all other weights, those of heads and embeddings, from the start of `loss` to the end of the
    backward pass. So `loss` may read them, and call the encoder by any method. Elsewhere `gathered` gathers them.
    Gradients are averaged over processes.

    Raises ValueError for a zero-dimensional parameter.
    """
    mesh = init_device_mesh(device.type, (ranks(),))
    objective.to(memory_format=torch.contiguous_format)  # slices have no channels-last layout
    for name, part in objective.named_modules():
        if isinstance(part, nn.ModuleList) and name.rpartition(".")[2] in LISTS:
            for unit in part:
                fully_shard(unit, mesh=mesh)
    fully_shard(objective, mesh=mesh)
    register_fsdp_forward_method(objective, "loss")


def unfused(optimizer: torch.optim.Optimizer) -> None:
    """Disable fused kernels where these do not support sharded weights; equal up to rounding."""
    if isinstance(optimizer, torch.optim.SGD | torch.optim.Adagrad):
        for group in optimizer.param_groups:
            group["fused"] = None


@contextmanager
def gathered(objective: nn.Module) -> Iterator[None]:
    """Gather an objective's weights outside of `loss`, in all processes. Does nothing if it is not sharded."""
    if not isinstance(objective, FSDPModule):
        yield
        return
    objective.unshard()
    try:
        yield
    finally:
        objective.reshard()


def whole(tree: Any) -> Any:
    """Nested lists and dicts with every shared tensor made whole, on the CPU, for process 0; all take part.

    The others get empty tensors in their place.
    """

    def gather(value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        full = value.full_tensor()
        return full.new_empty(0) if rank() else full.cpu()

    return tree_map(gather, tree)


def part_of(value: Any, like: Tensor) -> Any:
    """This process' part of `value`, a whole tensor, where `like` is shared and of its shape; else `value`."""
    if not isinstance(value, Tensor) or not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def local(value: Tensor) -> Tensor:
    """This process's part of a sharded tensor; other tensors are returned unchanged."""
    return value.to_local() if isinstance(value, DTensor) else value


def said_by_all(objective: nn.Module, verdict: bool) -> bool:
    """With sharding, whether `verdict` holds in all processes, which must all call this. Otherwise `verdict`."""
    if not isinstance(objective, FSDPModule):
        return verdict
    share = mean_over_ranks(torch.tensor(float(verdict), device=next(objective.parameters()).device))
    return share.item() == 1
