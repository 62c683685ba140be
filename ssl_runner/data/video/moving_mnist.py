"""Moving MNIST, optionally with the official test clips."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from ssl_runner.data.video.moving_digits import DigitSettings, MovingDigits
from ssl_runner.interfaces import Contents, Examples, SplitName, VideoSpec

SHAPE = (20, 10_000, 64, 64)  # frames, clips, height, width
OFFICIAL = {  # how its clips were made: setting -> (value, as the command line has it)
    "side": (64, "64"),
    "digit_side": (28, "28"),
    "digits": (2, "2"),
    "dim": (1.0, "1"),
    "overlap": ("brightest", "brightest"),
    "motion": ("straight", "straight"),
    "speeds": ([3.6], "[3.6]"),
    "color": (False, "false"),
}


class MovingMNIST(MovingDigits):
    """`MovingDigits` whose test may be the published file `official`: its first `test_clips` clips, `frames` of each.

    The file has no labels; with it the dataset is unlabeled, without masks of test. Training clips must then be
    generated in the same way: two digits of full size and brightness, combined by the maximum, move by a tenth of their
    range (3.6 pixels) per frame in any direction. There they pause at a wall for a frame before they turn; here they
    turn within the frame.
    """

    def __init__(self, *, official: str | None, **digits: Unpack[DigitSettings]) -> None:
        super().__init__(**digits)
        self.official = None if official is None else Path(official).expanduser().absolute()
        if self.official is None:
            return
        self.speeds = list(self.speeds)
        wrong = [f"dataset.{name}={text}" for name, (value, text) in OFFICIAL.items() if getattr(self, name) != value]
        if wrong:
            raise ValueError(
                "dataset.official is of two digits of 28 pixels, both of full brightness, that move "
                "straight, 3.6 pixels a frame, over gray frames of 64 pixels; to train on the "
                f"distribution of the test clips set {' '.join(wrong)}"
            )
        if self.frames > SHAPE[0]:
            raise ValueError(f"dataset.frames is {self.frames}; the clips of dataset.official have {SHAPE[0]}")
        if self.clips["test"] > SHAPE[1]:
            raise ValueError(f"dataset.test_clips is {self.clips['test']}; dataset.official has {SHAPE[1]} clips")

    @property
    def spec(self) -> VideoSpec:
        spec = super().spec
        return spec if self.official is None else replace(spec, classes=0, class_names=())

    def check(self) -> None:
        super().check()
        if self.official is not None:
            self._open(self.official)

    def contents(self) -> Contents:
        own = {} if self.official is None else {"official": {"": self.official}}
        return {**super().contents(), **own}

    def load(self) -> Mapping[SplitName, Examples]:
        splits = dict(super().load())
        if self.official is None:
            return splits
        chosen = self._open(self.official)[: self.frames, : self.clips["test"]]
        data = torch.from_numpy(np.ascontiguousarray(chosen.swapaxes(0, 1))[:, :, None])
        unlabeled = {part: Examples(each.data, torch.full_like(each.label, -1)) for part, each in splits.items()}
        return {**unlabeled, "test": Examples(data, torch.full((len(data),), -1))}

    def masks(self, split: SplitName) -> Tensor:
        if split == "test" and self.official is not None:
            raise ValueError("the clips of dataset.official have no masks; set dataset.official=null")
        return super().masks(split)

    @staticmethod
    def _open(file: Path) -> np.ndarray:
        try:
            found = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(
                f"dataset.official {file} cannot be read ({error}); it must be mnist_test_seq.npy"
            ) from error
        if not isinstance(found, np.ndarray) or found.shape != SHAPE or found.dtype != np.uint8:
            what = f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else "an archive"
            raise ValueError(f"dataset.official {file} contains {what}; it must be uint8 of {SHAPE}")
        return found
