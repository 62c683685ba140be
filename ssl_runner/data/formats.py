"""Readers of the files in which the usual image sets come. n examples, C channels, H height, W width."""

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_runner.interfaces import Examples


class Parts(NamedTuple):
    """A set as published; data are (n, C, H, W) uint8."""

    train: Examples
    test: Examples
    unlabelled: Tensor | None = None


def read_idx_folder(folder: Path) -> Parts:
    """MNIST and its likes: four files, each packed (.gz) or not."""
    train, test = (
        Examples(
            torch.from_numpy(read_idx(folder / f"{part}-images-idx3-ubyte")).unsqueeze(1),
            torch.from_numpy(read_idx(folder / f"{part}-labels-idx1-ubyte")).long(),
        )
        for part in ("train", "t10k")
    )
    return Parts(train, test)


def read_idx(path: Path) -> np.ndarray:
    """An array of bytes in the IDX format, from `path`.gz where there is one (its checksum is verified), or `path`.

    The format: two zero bytes, 8 for unsigned bytes, the number of axes; each axis's length, big-endian; the values.
    Raises ValueError, OSError, EOFError or zlib.error for damaged files.
    """
    packed = path.with_name(path.name + ".gz")
    content = gzip.decompress(packed.read_bytes()) if packed.is_file() else path.read_bytes()
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path.name} is not an IDX file of bytes")
    start = 4 + 4 * content[3]
    shape = tuple(int(length) for length in np.frombuffer(content[4:start], dtype=">u4"))
    values = np.frombuffer(
        bytearray(content[start:]), dtype=np.uint8
    )  # a bytearray, for torch wants to be able to write
    if values.size != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path.name} holds {values.size} bytes where its header promises {shape}")
    return values.reshape(shape)


def read_cifar(folder: Path) -> Parts:
    """CIFAR's pickles, through torchvision, which verifies their checksums before it unpickles them."""
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = CIFAR10 if folder.name == CIFAR10.base_folder else CIFAR100
    train, test = (
        Examples(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
        for part in (kind(folder.parent, train=True), kind(folder.parent, train=False))
    )
    return Parts(train, test)


def read_stl10(folder: Path) -> Parts:
    """STL-10's binaries: images by columns, labels from 1. The unlabelled part (2.8 GB) is a view of its file."""
    train, test = (
        Examples(
            _stl10_images(folder / f"{part}_X.bin").contiguous(),
            torch.from_numpy(np.fromfile(folder / f"{part}_y.bin", dtype=np.uint8)).long() - 1,
        )
        for part in ("train", "test")
    )
    return Parts(train, test, _stl10_images(folder / "unlabeled_X.bin"))


def _stl10_images(path: Path) -> Tensor:
    """(n, 3, 96, 96) uint8, memory-mapped and turned."""
    stored = np.memmap(path, dtype=np.uint8, mode="c")
    n, over = divmod(stored.size, 3 * 96 * 96)
    if over:
        raise ValueError(f"{path.name} ends within an image")
    return torch.from_numpy(stored).reshape(n, 3, 96, 96).transpose(2, 3)
