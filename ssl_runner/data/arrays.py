"""A user's own images as arrays in one .npz file. n examples, C channels, H height, W width."""

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ssl_runner.data.archives import check_size
from ssl_runner.data.splits import hold_out
from ssl_runner.interfaces import DataSource, Examples, ImageSpec, SplitName

DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, NotImplementedError)


class _Contents(NamedTuple):
    images: int  # of train
    parts: list[str]  # of "train", "val", "test": those that are there
    shape: tuple[int, ...]  # of one image, as stored
    axis: int | None  # of the channels in it; None: grey without a channel axis
    labels: Mapping[str, np.ndarray]  # part -> (n,); empty: unlabelled
    names: tuple[str, ...]


class Arrays(DataSource):
    """`x_train` and `x_test`, perhaps `x_val`; with `y_...` of each or of none; perhaps `label_names`.

    Images are uint8, (n, H, W), (n, H, W, C) or (n, C, H, W) with C 1 or 3: the channel axis is the one that is 1 or 3
    long, and refused where both may be it. Labels are integers from 0. Without `x_val`, val is held out of train.
    Other arrays in the file are ignored; pickled ones are never read.
    """

    def __init__(self, *, path: str, val_fraction: float, split_seed: int) -> None:
        if not 0 < val_fraction < 1:
            raise ValueError(f"dataset.val_fraction is {val_fraction}; it must lie in (0, 1)")
        self.path = Path(path).expanduser().absolute()
        self.val_fraction = val_fraction
        self.split_seed = split_seed

    @property
    def spec(self) -> ImageSpec:
        found = self._contents()
        channels, height, width = _channels_first(found.shape, found.axis)
        classes = 1 + max((int(y.max()) for y in found.labels.values()), default=-1)
        classes = len(found.names) if found.labels and found.names else classes
        return ImageSpec(
            channels=channels,
            height=height,
            width=width,
            classes=classes,
            class_names=found.names if classes else (),
        )

    def check(self) -> None:
        self._contents()

    def count(self) -> int:
        found = self._contents()
        return found.images if "val" in found.parts else found.images - round(self.val_fraction * found.images)

    def load(self) -> Mapping[SplitName, Examples]:
        found = self._contents()
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                splits = {part: self._examples(arrays[f"x_{part}"], found, part) for part in found.parts}
        except DAMAGE as error:
            raise ValueError(f"dataset.path {self.path} is damaged: {error}") from error
        train = splits["train"]
        if "val" not in splits:
            train, splits["val"] = hold_out(train, self.val_fraction, self.split_seed)
        return {"pretrain": train, "train": train, "val": splits["val"], "test": splits["test"]}

    def _examples(self, x: np.ndarray, found: _Contents, part: str) -> Examples:
        data = torch.from_numpy(x)
        data = data.unsqueeze(1) if found.axis is None else data.movedim(1 + found.axis, 1)
        y = found.labels.get(part)
        label = torch.full((len(x),), -1) if y is None else torch.from_numpy(y.astype(np.int64))
        return Examples(data.contiguous(), label)

    def _contents(self) -> _Contents:
        """Headers, labels and names; no image. Raises ValueError for all that `load` could not use."""
        if not self.path.is_file():
            raise ValueError(f"dataset.path {self.path} is not there; it must be a .npz file with x_train and x_test")
        try:
            with zipfile.ZipFile(self.path) as archive:
                check_size(sum(each.file_size for each in archive.infolist()), self.path.stat().st_size)
                names = {name.removesuffix(".npy") for name in archive.namelist()}
                names = {name for name in names if name.startswith(("x_", "y_")) or name == "label_names"}
                headers = {name: _header(archive, name) for name in sorted(names)}
            with np.load(self.path, allow_pickle=False) as arrays:
                small = {name: arrays[name] for name in sorted(names) if not name.startswith("x_")}
        except DAMAGE as error:
            raise ValueError(f"dataset.path {self.path} is not a whole .npz file of plain arrays: {error}") from error
        try:
            return _understood({name: each for name, each in headers.items() if name.startswith("x_")}, small)
        except ValueError as error:
            raise ValueError(f"dataset.path {self.path}: {error}") from error


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, of which no value is read."""
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    about = archive.getinfo(f"{name}.npy")
    if (
        not dtype.hasobject and dtype.itemsize * math.prod(shape) > about.file_size
    ):  # it would be allocated before it is read
        raise ValueError(f"{name} is cut: its header promises {shape}")
    return shape, dtype


def _understood(headers: Mapping[str, tuple[tuple[int, ...], np.dtype]], small: Mapping[str, np.ndarray]) -> _Contents:
    for needed in ("x_train", "x_test"):
        if needed not in headers:
            raise ValueError(f"there is no {needed} in it, only {', '.join([*headers, *small]) or 'nothing'}")
    parts = [part for part in ("train", "val", "test") if f"x_{part}" in headers]
    shape = headers["x_train"][0][1:]
    for part in parts:
        (n, *rest), dtype = headers[f"x_{part}"]
        if dtype != np.uint8:
            raise ValueError(f"x_{part} is {dtype}; images must be uint8, from 0 to 255")
        if n == 0:
            raise ValueError(f"x_{part} is empty")
        if tuple(rest) != shape:
            raise ValueError(f"images of x_{part} are {tuple(rest)}, those of x_train {shape}; they must be alike")
    labels = {
        part: _labels(small[f"y_{part}"], headers[f"x_{part}"][0][0], part) for part in parts if f"y_{part}" in small
    }
    if labels and len(labels) < len(parts):
        lacking = ", ".join(f"y_{part}" for part in parts if part not in labels)
        raise ValueError(f"there is no {lacking}; give labels of every part or of none")
    names = tuple(str(name) for name in small["label_names"]) if "label_names" in small else ()
    highest = max((int(y.max()) for y in labels.values()), default=-1)
    if names and highest >= len(names):
        raise ValueError(f"there are labels up to {highest}, and {len(names)} label_names")
    return _Contents(headers["x_train"][0][0], parts, shape, _channel_axis(shape), labels, names)


def _labels(y: np.ndarray, n: int, part: str) -> np.ndarray:
    """(n,) of what is (n,) or (n, 1)."""
    if y.dtype.kind not in "iu":
        raise ValueError(f"y_{part} is {y.dtype}; labels must be integers")
    if y.shape not in ((n,), (n, 1)):
        raise ValueError(f"y_{part} is {y.shape} where x_{part} has {n} images; it must be ({n},)")
    if y.min() < 0:
        raise ValueError(f"y_{part} goes down to {y.min()}; labels must count from 0")
    return y.reshape(n)


def _channel_axis(shape: tuple[int, ...]) -> int | None:
    """Of an image (H, W), (H, W, C) or (C, H, W)."""
    if len(shape) == 2:
        return None
    axes = [axis for axis in (0, 2) if len(shape) == 3 and shape[axis] in (1, 3)]
    if not axes:
        raise ValueError(f"images are {shape}; they must be (H, W), (H, W, C) or (C, H, W) with C 1 or 3")
    if len(axes) == 2:
        raise ValueError(f"images are {shape}: either end may be the channels; make them larger, or grey (H, W)")
    return axes[0]


def _channels_first(shape: tuple[int, ...], axis: int | None) -> tuple[int, int, int]:
    if axis is None:
        return 1, shape[0], shape[1]
    height, width = (length for place, length in enumerate(shape) if place != axis)
    return shape[axis], height, width
