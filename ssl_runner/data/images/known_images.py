"""Common image datasets, in torchvision's folders. n examples, C channels, H height, W width."""

import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from ssl_runner.data.any.download import fetch
from ssl_runner.data.any.splits import hold_out
from ssl_runner.data.images.formats import Parts, read_cifar, read_idx_folder, read_stl10
from ssl_runner.data.images.names import CIFAR10, CIFAR100, CLOTHES, DIGITS, STL10
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName

Name = Literal["mnist", "fashion_mnist", "cifar10", "cifar100", "stl10"]


class _Known(NamedTuple):
    torchvision: str  # its class there
    folder: str  # under the root
    files: tuple[str, ...]  # in the folder, each as it is or with .gz
    archive: str | None  # under the root, may stand in for the folder
    read: Callable[[Path], Parts]  # from the folder
    shape: tuple[int, int, int]  # C, H, W
    names: tuple[str, ...]


_IDX = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
_STL = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin")
_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
_PYTHON = ("train", "test", "meta")
_KNOWN: Mapping[str, _Known] = {
    "mnist": _Known("MNIST", "MNIST/raw", _IDX, None, read_idx_folder, (1, 28, 28), DIGITS),
    "fashion_mnist": _Known("FashionMNIST", "FashionMNIST/raw", _IDX, None, read_idx_folder, (1, 28, 28), CLOTHES),
    "cifar10": _Known(
        "CIFAR10", "cifar-10-batches-py", _BATCHES, "cifar-10-python.tar.gz", read_cifar, (3, 32, 32), CIFAR10
    ),
    "cifar100": _Known(
        "CIFAR100", "cifar-100-python", _PYTHON, "cifar-100-python.tar.gz", read_cifar, (3, 32, 32), CIFAR100
    ),
    "stl10": _Known("STL10", "stl10_binary", _STL, "stl10_binary.tar.gz", read_stl10, (3, 96, 96), STL10),
}


class KnownImages(DataSource):
    """A dataset that torchvision can download, read from torchvision's folders; `val` is held out from train.

    The root may be read-only where the files are there, packed or not. STL-10 is pretrained on its unlabeled part too.
    """

    def __init__(self, *, name: Name, root: str, download: bool, val_fraction: float, split_seed: int) -> None:
        if name not in _KNOWN:
            raise ValueError(f"dataset.name is {name}; it must be one of {', '.join(_KNOWN)}")
        if not 0 < val_fraction < 1:
            raise ValueError(f"dataset.val_fraction is {val_fraction}; it must lie in (0, 1)")
        self.name = name
        self.root = Path(root).expanduser().absolute()
        self.download = download
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self._known = _KNOWN[name]

    @property
    def spec(self) -> ImageSpec:
        channels, height, width = self._known.shape
        names = self._known.names
        return ImageSpec(channels=channels, height=height, width=width, classes=len(names), class_names=names)

    def check(self) -> None:
        if self._missing() and not self._packed():
            if not self.download:
                raise ValueError(f"dataset={self.name} needs {self._missing()[0]}, which is missing; {self._advice()}")
            existing = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
            if not os.access(existing, os.W_OK):
                raise ValueError(
                    f"dataset={self.name} cannot be downloaded to {self.root}: not writable; {self._advice()}"
                )

    def contents(self) -> Contents:
        if self._missing():
            return {}
        paths = {file: self.root / self._known.folder / file for file in self._known.files}
        packed = {file: path.with_name(path.name + ".gz") for file, path in paths.items()}
        return {"root": {file: packed[file] if packed[file].is_file() else path for file, path in paths.items()}}

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        if self._missing():
            try:
                fetch(self._known.torchvision, self.root, archive=self._packed())
            except ValueError as error:
                raise ValueError(f"dataset={self.name} could not be downloaded: {error}; {self._advice()}") from error
        folder = self.root / self._known.folder
        try:
            parts = self._known.read(folder)
            self._fits(parts)
        except (OSError, EOFError, zlib.error, RuntimeError, ValueError) as error:
            raise ValueError(
                f"the files of dataset={self.name} in {folder} are damaged ({error}); "
                "delete that folder and set dataset.download=true, or set dataset.root to undamaged files"
            ) from error
        train, val = hold_out(parts.train, self.val_fraction, self.split_seed)
        if parts.unlabeled is None:
            return {"pretrain": train, "train": train, "val": val, "test": parts.test}
        everything = torch.cat([train.data, parts.unlabeled]).contiguous()
        unknown = torch.full((len(parts.unlabeled),), -1)
        n = len(train.label)
        pretrain = Examples(everything, torch.cat([train.label, unknown]))
        return {"pretrain": pretrain, "train": Examples(everything[:n], train.label), "val": val, "test": parts.test}

    def _missing(self) -> list[Path]:
        paths = [self.root / self._known.folder / file for file in self._known.files]
        return [path for path in paths if not path.is_file() and not path.with_name(path.name + ".gz").is_file()]

    def _packed(self) -> Path | None:
        archive = self._known.archive
        return self.root / archive if archive and (self.root / archive).is_file() else None

    def _advice(self) -> str:
        archive = f" or {self._known.archive}" if self._known.archive else ""
        holds = f"{self._known.folder}/{archive}"
        network = "try again with a network" if self.download else "set dataset.download=true with a network"
        return f"set dataset.root to a folder that holds {holds}, or {network}"

    def _fits(self, parts: Parts) -> None:
        for data, label in (parts.train, parts.test):
            if data.shape[1:] != self._known.shape:
                raise ValueError(f"images are {tuple(data.shape[1:])}, not {self._known.shape}")
            if len(data) != len(label):
                raise ValueError(f"{len(data)} images, {len(label)} labels")
            if not 0 <= int(label.min()) <= int(label.max()) < len(self._known.names):
                raise ValueError(f"labels from {int(label.min())} to {int(label.max())}")
