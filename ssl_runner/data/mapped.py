"""Files of bytes as tensors that stay on disk until they are read."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def mapped(path: Path, shape: Sequence[int]) -> Tensor:
    """A file of as many bytes as `shape` holds, memory-mapped: uint8. Nothing is written back to it.

    A change to the tensor stays in memory. Linux refuses that of a file larger than memory: there the tensor is
    read-only, and a change to it ends the process. Raises OSError or ValueError where the file is not there or shorter.
    """
    try:
        return torch.from_numpy(np.memmap(path, dtype=np.uint8, mode="c", shape=tuple(shape)))
    except OSError:
        stored = np.memmap(path, dtype=np.uint8, mode="r", shape=tuple(shape))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(stored)
