"""The processes that train together: which of them this is, and how they meet."""

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
    """By default a process by itself."""

    rank: int = 0  # of this process among all
    size: int = 1  # processes, one a device
    local_rank: int = 0  # of this process among those on this machine
    local_size: int = 1


def world() -> World:
    """As torchrun says by its environment variables, or `commands.launch` by the same."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if not all(os.environ.get(name, "").isdigit() for name in names):
        return World()
    return World(*(int(os.environ[name]) for name in names))


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Have the processes know each other, until `leave` at the latest. Alone: nothing."""
    if world().size > 1:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        leave()


def leave() -> None:
    """From here on each process is by itself: what gathers is the identity. Needs no other process."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def meet() -> None:
    """Wait until all processes are here. Alone: at once."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(torch.zeros(1))
