"""Memory-mapped files of numbers as tensors."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def mapped(path: Path, shape: Sequence[int] | None = None, dtype: Any = np.uint8) -> Tensor:
    """A file of numbers of a NumPy type, memory-mapped; without a `shape` all of it: (N,). Nothing is written back.

    A change to the tensor stays in memory. Linux refuses that of a file larger than memory: there the tensor is
    read-only, and a change to it ends the process. Raises OSError or ValueError where the file is not there, is shorter
    or ends within a number.
    """
    if shape is None and not path.stat().st_size:
        return torch.from_numpy(np.empty(0, dtype=dtype))
    whole = None if shape is None else tuple(shape)
    try:
        return torch.from_numpy(np.memmap(path, dtype=dtype, mode="c", shape=whole))
    except OSError:
        stored = np.memmap(path, dtype=dtype, mode="r", shape=whole)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(stored)
