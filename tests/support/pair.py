"""Two processes of one group, forked from a process that has imported what they need: they start in 0.1 s, not 4."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch.multiprocessing as mp

from ssl_runner.commands.sweep import WORK


def fork_server() -> multiprocessing.context.ForkServerContext:
    """The context of processes that are forked from one with the imports of a run done; pytest's process has one."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([WORK.preload])
    return context


def in_two_processes(work: Callable[[int, int, str], None], folder: Path) -> None:
    """Call `work(rank, port, folder)` in each; `port` is free for their group. Raises what they raise."""
    fork_server()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.start_processes(work, args=(port, str(folder)), nprocs=2, start_method="forkserver")
