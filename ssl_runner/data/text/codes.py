"""The codes of images, as a dataset of texts: a code a word. n images, h x w cells, K codes."""

import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_runner.data.text.tokens import SPECIAL, word_tokenizer
from ssl_runner.interfaces import Contents, DataSource, Examples, SpecialTokens, SplitName, TextSpec

FILE = "codes.npz"  # as `ssl-export format=codes` writes it
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
FIRST = len(SPECIAL)  # the id of code 0
DECODER = "decoder."  # arrays of the decoder
DAMAGE = (zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError)


class RunCodes(DataSource):
    """The grids of codes that a finished run of `vq` gives its train, val and test images, row by row.

    A text is [CLS] code ... code [SEP], h w codes, whose ids follow those of special tokens; its label is the image's.
    A language model of them is a prior over codes: van den Oord, Vinyals, Kavukcuoglu 2017,
    https://arxiv.org/abs/1711.00937, section 3.2. `run`: a run's folder, in which `ssl-export run=... format=codes` has
    written them, or the file.
    """

    def __init__(self, *, run: str) -> None:
        self.run = Path(run).expanduser().absolute()

    @property
    def spec(self) -> TextSpec:
        arrays = self._arrays
        count, train, names = int(arrays["count"]), arrays["x_train"], tuple(map(str, arrays["label_names"]))
        used = np.bincount(train.flatten(), minlength=count)
        return TextSpec(
            length=int(np.prod(train.shape[1:])) + 2,
            vocabulary=FIRST + count,
            example="document",
            tokenizer=word_tokenizer([f"c{code}" for code in range(count)]),
            counts=(0, 0, len(train), len(train), 0, 0, *used.tolist()),  # [CLS] and [SEP] in each
            classes=max(len(names), int(arrays["y_train"].max(initial=-1)) + 1),
            class_names=names,
            size=len(train),
        )

    def check(self) -> None:
        _ = self._arrays

    def contents(self) -> Contents:
        return {"run": {FILE: file_of(self.run, "dataset.run")}}

    def count(self) -> int:
        return len(self._arrays["x_train"])

    def load(self) -> Mapping[SplitName, Examples]:
        special = SpecialTokens()
        splits: dict[SplitName, Examples] = {}
        for split in SPLITS:
            codes = torch.from_numpy(self._arrays[f"x_{split}"]).flatten(1) + FIRST
            begin, end = (torch.full((len(codes), 1), each) for each in (special.cls, special.sep))
            rows = torch.cat([begin, codes, end], dim=1).int()
            splits[split] = Examples(rows, torch.from_numpy(self._arrays[f"y_{split}"]).long())
        return splits | {"pretrain": splits["train"]}

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        return read(file_of(self.run, "dataset.run"))


def file_of(run: Path, key: str) -> Path:
    """The file of a run's folder, or itself. Raises ValueError, with the setting `key`, where there is none."""
    if run.is_file():
        return run
    for path in (run / "export" / "codes" / FILE, run / FILE):
        if path.is_file():
            return path
    raise ValueError(
        f"{key} is {str(run)!r}, where no codes were written; write them with ssl-export run={run} format=codes"
    )


def read(file: Path) -> dict[str, Any]:
    """The arrays of a file of codes. Raises ValueError for one that is damaged."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays_of:
            arrays = dict(arrays_of.items())
        count = int(arrays["count"])
        for split in SPLITS:
            x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
            if x.ndim != 3 or x.dtype.kind != "i" or y.shape != (len(x),) or not (x.min() >= 0 and x.max() < count):
                raise ValueError(
                    f"x_{split} and y_{split} must be (n, h, w) codes from 0 to {count - 1} and (n,) labels"
                )
    except DAMAGE as error:
        raise ValueError(
            f"{str(file)!r} cannot be read as codes ({error}); write it again with ssl-export format=codes"
        ) from error
    return arrays


def decoder_in(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """What makes images of the codes of a file, for `nn.code_decoder.CodeDecoder`."""
    return {
        name.removeprefix(DECODER): torch.from_numpy(each) for name, each in arrays.items() if name.startswith(DECODER)
    }


def write(
    file: Path, splits: Mapping[SplitName, Examples], names: tuple[str, ...], count: int, decoder: Mapping[str, Tensor]
) -> None:
    """`splits`: (n, h, w) codes of `count`, and labels, of train, val and test; `names`: of the classes; `decoder`:
    what makes images of codes."""
    arrays: dict[str, Any] = {"label_names": np.array(names, dtype=np.str_), "count": np.array(count)}
    for split in SPLITS:
        arrays |= {f"x_{split}": splits[split].data.numpy(), f"y_{split}": splits[split].label.numpy()}
    arrays |= {f"{DECODER}{name}": each.cpu().numpy() for name, each in decoder.items()}
    np.savez(file, **arrays)
