"""Distributed training: rank and size of this process, and the process group."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist

from ssl_runner.config.errors import ConfigError

PATIENCE = timedelta(hours=6)  # for the others, as while one downloads; whoever started them sees sooner that one died


class LostError(ConfigError):
    """Another process of the run is gone."""


class World(NamedTuple):
    """Rank and size in distributed training; by default a single process."""

    rank: int = 0  # of this process among all
    size: int = 1  # processes, one a device
    local_rank: int = 0  # of this process among those on this machine
    local_size: int = 1


def world() -> World:
    """Rank and size from the environment variables of torchrun, which `commands.launch` sets too."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if not all(os.environ.get(name, "").isdigit() for name in names):
        return World()
    return World(*(int(os.environ[name]) for name in names))


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Initialize the process group, until `leave` at the latest. Without effect for a single process."""
    if world().size > 1:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        leave()


def leave() -> None:
    """Leave the process group: collective operations become the identity. Does not wait for other processes."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def meet() -> None:
    """A barrier of all processes. Returns at once for a single process."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(torch.zeros(1))
