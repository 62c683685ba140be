"""Work as a guest in somebody else's process, as a notebook: with settings of our own, and leaving it as it was."""

import logging
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ssl_runner.runtime.malloc import return_freed_memory

_one = threading.RLock()  # torch's generators and Hydra's state are those of the process


@contextmanager
def guest() -> Iterator[None]:
    """Gradients, default type and default device of torch are inside those of a fresh process; afterwards these, other
    settings of torch, the state of all generators, the environment, warnings and loggers are as they were. One guest at
    a time: another thread waits.
    """
    import numpy as np
    import torch

    with _one, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")  # of tqdm, in a notebook
        environment, drawn = dict(os.environ), (random.getstate(), np.random.get_state())
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
        lightning = logging.getLogger("pytorch_lightning")
        level = lightning.level
        settings = _settings()
        before = [read() for read, _ in settings]
        try:
            with torch.random.fork_rng(devices=list(devices)), torch.enable_grad():
                torch.set_default_dtype(torch.float32)
                if torch.get_default_device().type != "cpu":
                    torch.set_default_device(None)
                yield
        finally:
            for (read, change), value in zip(settings, before, strict=True):
                if read() != value:
                    change(value)
            lightning.setLevel(level)
            random.setstate(drawn[0])
            np.random.set_state(drawn[1])
            _restore(environment)
            if sys.platform.startswith("linux"):
                return_freed_memory()


def _settings() -> list[tuple[Callable[[], Any], Callable[[Any], object]]]:
    """Settings of torch that a run, or a library that it uses, may change: how each is read and set."""
    import torch

    cudnn: Any = torch.backends.cudnn
    return [
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_default_device, torch.set_default_device),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        (lambda: cudnn.benchmark, lambda value: setattr(cudnn, "benchmark", value)),
        (lambda: cudnn.deterministic, lambda value: setattr(cudnn, "deterministic", value)),
    ]


def _restore(environment: dict[str, str]) -> None:
    """Set only what differs: other threads may read the environment."""
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
