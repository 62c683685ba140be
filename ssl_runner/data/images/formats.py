"""Readers of the file formats of common image datasets. n examples, C channels, H height, W width."""

import gzip
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_runner.data.any.archives import check_size
from ssl_runner.data.any.mapped import mapped
from ssl_runner.interfaces import Examples


class Parts(NamedTuple):
    """A dataset as published; data are (n, C, H, W) uint8."""

    train: Examples
    test: Examples
    unlabeled: Tensor | None = None


def read_idx_folder(folder: Path) -> Parts:
    """MNIST and datasets in its format: four files, compressed (.gz) or not."""
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
    Raises ValueError, which names the file, for a damaged one.
    """
    packed = path.with_name(path.name + ".gz")
    file = packed if packed.is_file() else path
    try:
        with gzip.open(file) if file == packed else file.open("rb") as opened:
            magic = opened.read(4)
            if len(magic) < 4 or magic[:3] != b"\x00\x00\x08":
                raise ValueError("it is not an IDX file of bytes")
            header = opened.read(4 * magic[3])
            shape = tuple(int(length) for length in np.frombuffer(header, dtype=">u4"))
            promised = math.prod(shape)
            check_size(promised, file.stat().st_size)
            content = bytearray(opened.read(promised + 1))  # a bytearray, for torch wants to be able to write
        if len(header) < 4 * magic[3] or len(content) != promised:
            raise ValueError(f"it holds {len(content)} bytes or more, and its header announces {shape}")
        return np.frombuffer(content, dtype=np.uint8).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{file.name}: {error}") from error


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
    """STL-10's binaries: images by columns, labels from 1. The unlabeled part (2.8 GB) is a view of its file."""
    train, test = (
        Examples(
            _stl10_images(folder / f"{part}_X.bin").contiguous(),
            torch.from_numpy(np.fromfile(folder / f"{part}_y.bin", dtype=np.uint8)).long() - 1,
        )
        for part in ("train", "test")
    )
    return Parts(train, test, _stl10_images(folder / "unlabeled_X.bin"))


def _stl10_images(path: Path) -> Tensor:
    """(n, 3, 96, 96) uint8, memory-mapped and transposed."""
    stored = mapped(path)
    n, over = divmod(len(stored), 3 * 96 * 96)
    if over:
        raise ValueError(f"{path.name} ends within an image")
    return stored.view(n, 3, 96, 96).transpose(2, 3)
