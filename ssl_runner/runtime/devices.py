"""The device of this process, and its peak memory."""

import resource

import torch

from ssl_runner.config.errors import ConfigError
from ssl_runner.runtime.distributed import world


def device_of(accelerator: str) -> torch.device:
    """The device of this process. Raises ConfigError for one that does not exist."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if (accelerator == "gpu" and not cuda and not mps) or (accelerator == "mps" and not mps):
        raise ConfigError([f"trainer.accelerator is {accelerator}, which this machine does not have; set auto or cpu"])
    if accelerator == "cpu" or not (cuda or mps):
        return torch.device("cpu")
    return torch.device("cuda", world().local_rank) if cuda and accelerator != "mps" else torch.device("mps")


def device_name(device: torch.device) -> str:
    """The name of a device in results."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory in megabytes: of the GPU if there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
