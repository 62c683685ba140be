"""The features of a finished run, as a dataset of vectors. n examples, D width."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ssl_runner.interfaces import Contents, DataSource, Examples, SplitName, VectorSpec

FILE = "features.npz"  # as `ssl-export format=features` writes it
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
DAMAGE = (zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError)


class _Header(NamedTuple):
    width: int
    train: int  # examples
    classes: int
    names: tuple[str, ...]


class RunFeatures(DataSource):
    """`pooled` of the frozen encoder of a run for the train, val and test examples of its data, with their labels.

    Each is one vector, (n, 1, D). `run`: a run's folder, in which `ssl-export run=... format=features` has written
    them, or the file. `standardize`: numbers have mean 0 and standard deviation 1 on train.
    """

    def __init__(self, *, run: str, standardize: bool) -> None:
        self.run = Path(run).expanduser().absolute()
        self.standardize = standardize
        self._header: _Header | None = None

    @property
    def spec(self) -> VectorSpec:
        head = self._read_header()
        return VectorSpec(count=1, width=head.width, classes=head.classes, class_names=head.names, size=head.train)

    def check(self) -> None:
        self._read_header()

    def contents(self) -> Contents:
        return {"run": {FILE: self._file()}}

    def count(self) -> int:
        return self._read_header().train

    def load(self) -> Mapping[SplitName, Examples]:
        arrays = self._arrays()
        found = {split: torch.from_numpy(arrays[f"x_{split}"]).float() for split in SPLITS}
        if self.standardize:
            mean, std = found["train"].mean(dim=0), found["train"].std(dim=0)
            std = torch.where(std > 0, std, 1)
            found = {split: (values - mean) / std for split, values in found.items()}
        splits: dict[SplitName, Examples] = {
            split: Examples(found[split][:, None], torch.from_numpy(arrays[f"y_{split}"]).long()) for split in SPLITS
        }
        return splits | {"pretrain": splits["train"]}

    def _file(self) -> Path:
        """Raises ValueError where there is none."""
        if self.run.is_file():
            return self.run
        places = [self.run / "export" / "features" / FILE, self.run / FILE]
        for path in places:
            if path.is_file():
                return path
        raise ValueError(
            f"dataset.run is {str(self.run)!r}, where no features were written; write them with "
            f"ssl-export run={self.run} format=features"
        )

    def _arrays(self) -> dict[str, Any]:
        file = self._file()
        try:
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays_of:
                arrays = dict(arrays_of.items())
            for split in SPLITS:
                x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
                if x.ndim != 2 or y.shape != (len(x),) or not np.isfinite(x).all():
                    raise ValueError(f"x_{split} and y_{split} must be (n, D) finite numbers and (n,) labels")
        except DAMAGE as error:
            raise ValueError(
                f"{str(file)!r} cannot be read as features ({error}); write it again with ssl-export format=features"
            ) from error
        return arrays

    def _read_header(self) -> _Header:
        if self._header is None:
            arrays = self._arrays()
            x, names = arrays["x_train"], tuple(map(str, arrays.get("label_names", ())))
            classes = max(len(names), int(arrays["y_train"].max(initial=-1)) + 1)
            self._header = _Header(x.shape[1], len(x), classes, names)
        return self._header


def write(file: Path, splits: Mapping[SplitName, Examples], names: tuple[str, ...]) -> None:
    """`splits`: (n, D) features and labels of train, val and test; `names`: of the classes."""
    arrays: dict[str, Any] = {"label_names": np.array(names, dtype=np.str_)}
    for split in SPLITS:
        arrays |= {f"x_{split}": splits[split].data.numpy(), f"y_{split}": splits[split].label.numpy()}
    np.savez(file, **arrays)
