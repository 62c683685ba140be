"""A user's own images as arrays in one .npz file. n examples, C channels, H height, W width."""

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ssl_runner.data.any.archives import check_size
from ssl_runner.data.any.labels import in_order, say_if_alone, some
from ssl_runner.data.any.splits import hold_out, rest_of
from ssl_runner.data.images.decode import check_range
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName

MEND = "np.unique(y, return_inverse=True)[1] numbers them"
SHAPES = "(n, H, W), (n, H, W, C) or (n, C, H, W)"
ARRAYS = ("x_train", "x_val", "x_test", "y_train", "y_val", "y_test", "label_names")
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, NotImplementedError)


class _Contents(NamedTuple):
    parts: list[str]  # of "train", "val", "test": those that are there
    train: int  # images of train
    shape: tuple[int, ...]  # of one image, as stored
    axis: int | None  # of the channels in it; None: gray without a channel axis
    labels: Mapping[str, np.ndarray]  # part -> (n,) int64; empty: unlabeled
    classes: int
    names: tuple[str, ...]  # of the classes; empty: they are called by their numbers


class Arrays(DataSource):
    """`x_train` and `x_test`, optionally `x_val`; `y_...` for all or none of them; optionally `label_names`.

    Images are uint8, (n, H, W), (n, H, W, C) or (n, C, H, W) with C 1 or 3: the channel axis is the one that is 1 or 3
    long, and refused where both may be it. Labels are strings, or integers that are not negative: where they do not
    count from 0 they are numbered, strings by the alphabet or in the order of `label_names`. Without `x_val`, val is
    held out of train. Other arrays in the file are ignored; pickled ones are never read.
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
        return ImageSpec(
            channels=channels,
            height=height,
            width=width,
            classes=found.classes,
            class_names=found.names,
            size=found.train if "val" in found.parts else rest_of(found.train, self.val_fraction),
        )

    def check(self) -> None:
        found = self._contents()
        if found.classes == 1:
            say_if_alone(found.names or ("0",), "omit the labels (y_...) if they carry no information")

    def contents(self) -> Contents:
        return {"path": {"": self.path}}

    def count(self) -> int:
        found = self._contents()
        return found.train if "val" in found.parts else found.train - round(self.val_fraction * found.train)

    def load(self) -> Mapping[SplitName, Examples]:
        found = self._contents()
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                splits = {part: self._examples(arrays[f"x_{part}"], found, part) for part in found.parts}
        except DAMAGE as error:
            raise ValueError(f"dataset.path {self.path} is damaged: {error}") from error
        brightest = max(int(part.data.max()) for part in splits.values())
        check_range(f"{self.path} (dataset.path)", None, deep=0, highest=0, brightest=brightest)
        train = splits["train"]
        if "val" not in splits:
            train, splits["val"] = hold_out(train, self.val_fraction, self.split_seed)
        return {"pretrain": train, "train": train, "val": splits["val"], "test": splits["test"]}

    def _examples(self, x: np.ndarray, found: _Contents, part: str) -> Examples:
        data = torch.from_numpy(x)
        data = data.unsqueeze(1) if found.axis is None else data.movedim(1 + found.axis, 1)
        y = found.labels.get(part)
        label = torch.full((len(x),), -1) if y is None else torch.from_numpy(y)
        return Examples(data.contiguous(), label)

    def _contents(self) -> _Contents:
        """Headers, labels and names, without images. Raises ValueError for everything that `load` could not use."""
        if not self.path.is_file():
            what = "is a folder" if self.path.is_dir() else "is not there"
            raise ValueError(f"dataset.path {self.path} {what}; it must be a .npz file with x_train and x_test")
        try:
            with zipfile.ZipFile(self.path) as archive:
                check_size(sum(each.file_size for each in archive.infolist()), self.path.stat().st_size)
                there = sorted({name.removesuffix(".npy") for name in archive.namelist()})
                read = [name for name in there if name in ARRAYS]
                headers = {name: _header(archive, name) for name in read}
        except DAMAGE as error:
            raise ValueError(
                f"dataset.path {self.path} is not a complete .npz file of plain arrays: {error}"
            ) from error
        try:
            images = _images(headers, there)
            with np.load(self.path, allow_pickle=False) as arrays:
                small = {name: arrays[name] for name in read if not name.startswith("x_")}
        except DAMAGE as error:
            raise ValueError(f"dataset.path {self.path}: {error}") from error
        try:
            return _understood(images, small)
        except ValueError as error:
            raise ValueError(f"dataset.path {self.path}: {error}") from error


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, without reading its values."""
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    about = archive.getinfo(f"{name}.npy")
    if (
        not dtype.hasobject and dtype.itemsize * math.prod(shape) > about.file_size
    ):  # it would be allocated before it is read
        raise ValueError(f"{name} is truncated: its header announces {shape}")
    return shape, dtype


class _Images(NamedTuple):
    sizes: dict[str, int]  # part -> images
    shape: tuple[int, ...]  # of one, as stored


def _images(headers: Mapping[str, tuple[tuple[int, ...], np.dtype]], there: list[str]) -> _Images:
    for needed in ("x_train", "x_test"):
        if needed not in headers:
            raise ValueError(f"there is no {needed} in it, only {some(there, 20) or 'nothing'}")
    for name, (_, dtype) in headers.items():
        if dtype.hasobject:
            raise ValueError(
                f"{name} is object: Python objects are not read, since they can execute code; save it as "
                f"numbers or strings ({name}.astype(str))"
            )
    sizes = {}
    shape = headers["x_train"][0][1:]
    for part in ("train", "val", "test"):
        if f"x_{part}" not in headers:
            continue
        whole, dtype = headers[f"x_{part}"]
        _check_images(f"x_{part}", whole, dtype, shape)
        sizes[part] = whole[0]
    return _Images(sizes, shape)


def _check_images(name: str, whole: tuple[int, ...], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """`whole`: the shape of the array; `shape`: of an image of x_train."""
    if not whole:
        raise ValueError(f"{name} is of shape (); it must be {SHAPES}")
    if dtype != np.uint8:
        raise ValueError(f"{name} is {dtype}; images must be uint8, from 0 to 255")
    if whole[0] == 0:
        raise ValueError(f"{name} is empty")
    if whole[1:] != shape:
        raise ValueError(f"images of {name} are {whole[1:]}, those of x_train {shape}; they must be the same")


def _understood(images: _Images, small: Mapping[str, np.ndarray]) -> _Contents:
    sizes, shape = images
    axis = _channel_axis(shape)
    given = {part: _labels(small[f"y_{part}"], n, part) for part, n in sizes.items() if f"y_{part}" in small}
    if given and len(given) < len(sizes):
        lacking = ", ".join(f"y_{part}" for part in sizes if part not in given)
        raise ValueError(f"there is no {lacking}; give labels for all splits or for none")
    named = _label_names(small["label_names"]) if "label_names" in small else ()
    if not given:
        return _Contents(list(sizes), sizes["train"], shape, axis, {}, 0, ())
    if len({y.dtype.kind for y in given.values()}) > 1:
        raise ValueError("labels are strings in one split and integers in another; they must be of one type")
    labels, names = _by_text(given, named) if given["train"].dtype.kind == "U" else _by_number(given, named)
    classes = len(names) if names else 1 + max(int(y.max()) for y in labels.values())
    if "val" not in sizes and len(np.unique(labels["train"])) == sizes["train"] > 1:
        raise ValueError("every label of y_train is unique: labels must name classes, not number the images")
    return _Contents(list(sizes), sizes["train"], shape, axis, labels, classes, names)


def _labels(y: np.ndarray, n: int, part: str) -> np.ndarray:
    """(n,) of what is (n,) or (n, 1): int64, none below 0, or strings, none empty."""
    if y.dtype.kind not in "biuUS":
        raise ValueError(f"y_{part} is {y.dtype}; labels must be integers (y.astype(int)) or strings")
    if y.shape not in ((n,), (n, 1)):
        one_hot = ": y.argmax(1) makes labels of one-hot rows" if y.ndim == 2 and len(y) == n else ""
        raise ValueError(f"y_{part} is {y.shape} and x_{part} has {n} images; it must be ({n},){one_hot}")
    y = y.reshape(n)
    if y.dtype.kind in "US":
        y = np.array([_text(label, f"y_{part}") for label in y.tolist()])
        if not all(y):
            raise ValueError(f"y_{part}[{int(np.flatnonzero(y == '')[0])}] is empty; label all images, or none")
        return y
    if y.min() < 0:
        raise ValueError(
            f"y_{part} goes down to {y.min()}; labels must not be negative: leave out unlabeled images; {MEND}"
        )
    if int(y.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"y_{part} goes up to {y.max()}, which may be -1 in another type; else {MEND}")
    return y.astype(np.int64)


def _text(label: str | bytes, name: str) -> str:
    try:
        return (label.decode() if isinstance(label, bytes) else label).strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} holds {label!r}, which is not UTF-8") from error


def _label_names(names: np.ndarray) -> tuple[str, ...]:
    if names.ndim != 1:
        raise ValueError(f"label_names is of shape {names.shape}; it must be (classes,)")
    if names.dtype.kind not in "iuUS":
        raise ValueError(f"label_names is {names.dtype}; names must be strings")
    return tuple(_text(name, "label_names") if names.dtype.kind in "US" else str(name) for name in names.tolist())


def _by_text(given: Mapping[str, np.ndarray], named: tuple[str, ...]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Class numbers of labels that are strings, and the names of classes."""
    if len(set(named)) < len(named):
        raise ValueError("label_names contains a name twice, and labels are strings: give each class its own name")
    names = named or in_order(given["train"].tolist())
    number = {name: place for place, name in enumerate(names)}
    where = "label_names" if named else "y_train"
    for part, y in given.items():
        if strange := sorted(set(y.tolist()) - set(number)):
            raise ValueError(f"y_{part} has labels that {where} does not have: {some(strange)}")
    return {part: np.array([number[name] for name in y.tolist()]) for part, y in given.items()}, names


def _by_number(
    given: Mapping[str, np.ndarray], named: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Labels from 0 of labels that are integers, and the classes' names: empty where they count from 0 as they are."""
    highest = max(int(y.max()) for y in given.values())
    if named:
        if highest >= len(named):
            raise ValueError(f"there are labels up to {highest}, and {len(named)} label_names")
        return dict(given), named
    values = np.unique(np.concatenate(list(given.values())))
    if len(values) == highest + 1:
        return dict(given), ()
    for part, y in given.items():
        if strange := np.setdiff1d(y, given["train"]).tolist():
            raise ValueError(
                f"y_{part} has labels that y_train does not have: "
                f"{some([str(label) for label in strange])}; labels that do not count from 0 are numbered "
                "in the order of train"
            )
    return {part: np.searchsorted(values, y) for part, y in given.items()}, tuple(map(str, values.tolist()))


def _channel_axis(shape: tuple[int, ...]) -> int | None:
    """Of an image (H, W), (H, W, C) or (C, H, W)."""
    if len(shape) in (2, 3) and 0 in shape:
        raise ValueError(f"images are {shape}: they have no pixels")
    if len(shape) == 2:
        return None
    axes = [axis for axis in (0, 2) if len(shape) == 3 and shape[axis] in (1, 3)]
    if not axes:
        raise ValueError(f"images are {shape}; they must be (H, W), (H, W, C) or (C, H, W) with C 1 or 3")
    if len(axes) == 2:
        raise ValueError(
            f"images are {shape}: the first or the last axis may be the channels; use larger images, or "
            "gray ones (H, W)"
        )
    return axes[0]


def _channels_first(shape: tuple[int, ...], axis: int | None) -> tuple[int, int, int]:
    if axis is None:
        return 1, shape[0], shape[1]
    height, width = (length for place, length in enumerate(shape) if place != axis)
    return shape[axis], height, width
