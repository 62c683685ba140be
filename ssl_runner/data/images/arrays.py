"""A user's own images as arrays, in one .npz file or in .npy files. n examples, C channels, H height, W width."""

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ssl_runner.data.any.archives import check_size
from ssl_runner.data.any.labels import in_order, say_if_alone, some
from ssl_runner.data.any.splits import rest_of, stratified
from ssl_runner.data.images.decode import DIM, check_ends, check_range, likely_white
from ssl_runner.interfaces import Boxes, Contents, DataSource, Examples, ImageSpec, SplitName, Stored

MEND = "np.unique(y, return_inverse=True)[1] numbers them"
SHAPES = "(n, H, W), (n, H, W, C) or (n, C, H, W)"
PARTS: tuple[SplitName, ...] = ("train", "val", "test")
SHARES = "boxes must be floats in [0, 1]: left and right divided by the image's width, top and bottom by its height"
ARRAYS = (
    "x_train", "x_val", "x_test", "y_train", "y_val", "y_test", "boxes_train", "boxes_val", "boxes_test", "label_names",
)  # fmt: skip
ROUNDED = 1e-5  # by which the sides of a box, shares of an image's, may lie outside of [0, 1]
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, NotImplementedError)
STORED: Mapping[tuple[str, int], Stored] = {  # kind and bytes of a type in a file -> type in which it is kept
    ("u", 1): "uint8",
    ("u", 2): "uint16",
    ("i", 2): "int16",
    ("f", 2): "float32",
    ("f", 4): "float32",
    ("f", 8): "float32",
}
RANGES: Mapping[Stored, tuple[float, float]] = {"uint8": (0, 255), "uint16": (0, 2**16 - 1)}  # of the others unknown
CHUNK_BYTES = 2**24  # of images that are read together

ChannelAxis = Literal["first", "last"]


class _Contents(NamedTuple):
    sizes: Mapping[SplitName, int]  # images of those of "train", "val", "test" that are there
    shape: tuple[int, ...]  # of one image, as stored
    stored: Stored
    axis: int | None  # of the channels in it; None: gray without a channel axis
    labels: Mapping[str, np.ndarray]  # part -> (n,) int64; empty: unlabeled
    classes: int
    names: tuple[str, ...]  # of the classes; empty: they are called by their numbers
    boxes: Mapping[str, np.ndarray]  # part -> (n, 4) float32; empty: no boxes

    @property
    def box_names(self) -> tuple[str, ...]:
        """A box has the class of its image."""
        if not self.boxes:
            return ()
        return self.names or tuple(map(str, range(self.classes))) or ("object",)

    @property
    def parts(self) -> list[SplitName]:
        return list(self.sizes)


class _Chosen(NamedTuple):
    """The images of a part of the file that make a split."""

    part: SplitName
    places: Tensor | None  # (m,) int64, in the part, ascending; None: all
    label: Tensor  # (m,) int64


class Arrays(DataSource):
    """`x_train` and `x_test`, optionally `x_val`; `y_...` for all or none of them; optionally `label_names`.

    `boxes_...`, for all or none: (n, 4), a box an image, which has its class: left, top, right, bottom as shares of its
    width and height, in [0, 1]. One without an area, which rounding may leave, is ignored (`Boxes.ignored`).

    They are the arrays of one .npz file, or .npy files of these names in a folder, which are memory-mapped. One .npy
    file holds unlabeled images, of which test is held out.

    Images are (n, H, W), (n, H, W, C) or (n, C, H, W), of unsigned integers of 8 or 16 bits, signed integers of 16 bits
    or floats. `channel_axis` null: the channel axis is the one that is 1 or 3 long, and refused where both may be it.
    `range`: the values that become 0 and 1; null: all of an unsigned type. `clip`: whether values outside of it are
    clipped; else they are refused. Labels are strings, or integers that are not negative: where they do not count from
    0 they are numbered, strings by the alphabet or in the order of `label_names`. Without `x_val`, val is held out of
    train. Other arrays in the file are ignored; pickled ones are never read.
    """

    def __init__(
        self,
        *,
        path: str,
        range: tuple[float, float] | None,
        clip: bool,
        channel_axis: ChannelAxis | None,
        test_fraction: float,
        val_fraction: float,
        split_seed: int,
    ) -> None:
        for name, value in (("test_fraction", test_fraction), ("val_fraction", val_fraction)):
            if not 0 < value < 1:
                raise ValueError(f"dataset.{name} is {value}; it must lie in (0, 1)")
        check_ends(range)
        if channel_axis not in (None, "first", "last"):
            raise ValueError(f"dataset.channel_axis is {channel_axis}; it must be first, last or null")
        self.path = Path(path).expanduser().absolute()
        self.range = None if range is None else (float(range[0]), float(range[1]))
        self.clip = clip
        self.channel_axis = channel_axis
        self.test_fraction = test_fraction
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self._boxes: dict[SplitName, Boxes] = {}

    @property
    def spec(self) -> ImageSpec:
        found = self._contents()
        channels, height, width = _channels_first(found.shape, found.axis)
        return ImageSpec(
            channels=channels,
            height=height,
            width=width,
            stored=found.stored,
            range=self._range(found.stored),
            classes=found.classes,
            class_names=found.names,
            box_names=found.box_names,
            one_box=bool(found.boxes),
            size=self._size(found),
        )

    def check(self) -> None:
        found = self._contents()
        if found.classes == 1:
            say_if_alone(found.names or ("0",), "omit the labels (y_...) if they carry no information")

    def contents(self) -> Contents:
        if not self.path.is_dir():
            return {"path": {"": self.path}}
        return {"path": {f"{name}.npy": self.path / f"{name}.npy" for name in _Files(self.path).names()}}

    def count(self) -> int:
        return self._size(self._contents())

    def load(self) -> Mapping[SplitName, Examples]:
        """Images are read a few at a time, and copied once, to where they stay; a mapped file of channels first that is
        a whole split is not copied."""
        found = self._contents()
        chosen = self._chosen(found)
        data: dict[SplitName, Tensor] = {}
        ends: list[float] = []  # the least and the greatest value of each few images
        try:
            with _opened(self.path) as arrays:
                for part in found.parts:
                    wanted = {split: each.places for split, each in chosen.items() if each.part == part}
                    data |= _read(arrays, f"x_{part}", found, wanted, ends)
        except DAMAGE as error:
            raise ValueError(f"dataset.path {self.path} is damaged: {error}") from error
        self._check_values(ends, found.stored)
        if found.boxes:
            self._boxes = {split: _boxes_of(found, chosen[split]) for split in PARTS}
            self._boxes["pretrain"] = self._boxes["train"]
        train, val, test = (Examples(data[split], chosen[split].label) for split in PARTS)
        return {"pretrain": train, "train": train, "val": val, "test": test}

    def boxes(self, split: SplitName) -> Boxes:
        if split not in self._boxes:
            raise ValueError(f"dataset.path {self.path} has no boxes (boxes_train, boxes_test)")
        return self._boxes[split]

    def _chosen(self, found: _Contents) -> dict[SplitName, _Chosen]:
        """Which images are train, val and test: parts of the file, or held out of its train."""
        chosen: dict[SplitName, _Chosen] = {
            part: _Chosen(part, None, _label(found.labels.get(part), found.sizes[part])) for part in found.parts
        }
        held_out: tuple[tuple[SplitName, float], ...] = (("test", self.test_fraction), ("val", self.val_fraction))
        for split, fraction in held_out:
            if split not in chosen:
                _, places, label = chosen["train"]
                there = torch.arange(len(label)) if places is None else places
                for name, few in zip(("train", split), stratified(label, fraction, self.split_seed), strict=True):
                    chosen[name] = _Chosen("train", there[few], label[few])
        return chosen

    def _size(self, found: _Contents) -> int:
        """Examples of train after what is held out."""
        size = found.sizes["train"]
        for part, fraction in (("test", self.test_fraction), ("val", self.val_fraction)):
            if part not in found.parts:
                size = rest_of(size, fraction)
        return size

    def _range(self, stored: Stored) -> tuple[float, float]:
        if self.range is not None:
            return self.range
        if stored not in RANGES:
            raise ValueError(
                f"images are {stored}, whose range is not known: set dataset.range to the values of black and white, "
                "such as [0, 1]"
            )
        return RANGES[stored]

    def _check_values(self, ends: Sequence[float], stored: Stored) -> None:
        """Raise ValueError for values outside of the range, and for images that are black, or nearly so."""
        where = f"{self.path} (dataset.path)"
        low, high = min(ends), max(ends)
        if not all(map(math.isfinite, ends)):
            raise ValueError(f"the images in {where} have values that are no finite numbers (nan or inf): replace them")
        if self.range is None:
            deep = stored == "uint16"
            if deep and high < DIM:
                raise ValueError(
                    f"the images in {where} go up to {high:g} of 65535, so they would appear dark; set dataset.range "
                    f"to the values of black and white, such as [0, {likely_white(int(high))}], or to [0, 65535] if "
                    "they are meant to be dark"
                )
            check_range(where, None, deep=0, highest=0, brightest=int(high) // (257 if deep else 1))
            return
        if not self.clip and (low < self.range[0] or high > self.range[1]):
            raise ValueError(
                f"the images in {where} have values from {low:g} to {high:g}, and dataset.range is "
                f"[{self.range[0]:g}, {self.range[1]:g}]: widen it, or set dataset.clip=true to clip what lies outside"
            )
        if low == high or high <= self.range[0] or low >= self.range[1]:
            raise ValueError(
                f"the images in {where} are of one shade in dataset.range [{self.range[0]:g}, {self.range[1]:g}]: "
                f"their values go from {low:g} to {high:g}"
            )

    def _contents(self) -> _Contents:
        """Headers, labels and names, without images. Raises ValueError for everything that `load` could not use."""
        alone = self.path.suffix.lower() == ".npy" and self.path.is_file()
        try:
            with _opened(self.path) as arrays:
                there = arrays.names()
                read = [name for name in there if name in ARRAYS]
                headers = {name: arrays.header(name) for name in read}
        except DAMAGE as error:
            raise ValueError(f"dataset.path {self.path} {arrays_expected(self.path)}: {error}") from error
        try:
            images = _images(headers, there, ("x_train",) if alone else ("x_train", "x_test"))
            self._range(images.stored)
            with _opened(self.path) as arrays:
                small = {name: arrays.read(name) for name in read if not name.startswith("x_")}
            return _understood(images, small, self.channel_axis)
        except DAMAGE as error:
            raise ValueError(f"dataset.path {self.path}: {error}") from error


def _boxes_of(found: _Contents, chosen: _Chosen) -> Boxes:
    """Those of the images of a split."""
    corners = found.boxes[chosen.part]
    return _as_boxes(corners if chosen.places is None else corners[chosen.places.numpy()], chosen.label)


def _as_boxes(corners: np.ndarray, label: torch.Tensor) -> Boxes:
    """Those without an area are ignored."""
    ignored = torch.from_numpy(_flat(corners))
    return Boxes(torch.arange(len(corners)), torch.from_numpy(corners), label.clamp_min(0), ignored)


def _flat(corners: np.ndarray) -> np.ndarray:
    """(n, 4) -> (n,): which boxes have no area."""
    found: np.ndarray = (corners[:, 0] == corners[:, 2]) | (corners[:, 1] == corners[:, 3])
    return found


class _Files:
    """The arrays of a folder, or of one file of images, memory-mapped."""

    def __init__(self, path: Path) -> None:
        self.files = {file.stem: file for file in sorted(path.glob("*.npy"))} if path.is_dir() else {"x_train": path}

    def names(self) -> list[str]:
        return list(self.files)

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        file = self.files[name]
        with file.open("rb") as opened:
            return _header(cast(IO[bytes], opened), name, file.stat().st_size)

    def read(self, name: str) -> np.ndarray:
        whole: np.ndarray = np.load(self.files[name], mmap_mode="c", allow_pickle=False)
        return whole

    mapped = read

    def chunks(self, name: str) -> Iterator[np.ndarray]:
        """The array, a few of its first dimension at a time."""
        return _few_at_once(self.read(name))


class _Archive:
    """The arrays of an .npz file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive = zipfile.ZipFile(path)
        check_size(sum(each.file_size for each in self.archive.infolist()), path.stat().st_size)

    def names(self) -> list[str]:
        return sorted({name.removesuffix(".npy") for name in self.archive.namelist()})

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        with self.archive.open(f"{name}.npy") as file:
            return _header(file, name, self.archive.getinfo(f"{name}.npy").file_size)

    def read(self, name: str) -> np.ndarray:
        with self.archive.open(f"{name}.npy") as file:
            whole: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):  # to the end, where the checksum is compared
                raise ValueError(f"{name} is longer than its header says")
            return whole

    def mapped(self, name: str) -> None:
        """There is none."""

    def chunks(self, name: str) -> Iterator[np.ndarray]:
        """The array, a few of its first dimension at a time, of which one alone is in memory."""
        with self.archive.open(f"{name}.npy") as file:
            (n, *shape), transposed, dtype = _prefix(cast(IO[bytes], file))
            if transposed:  # the first dimension is the last in the file
                yield from _few_at_once(self.read(name))
                return
            each = dtype.itemsize * math.prod(shape)
            step = _images_at_once(each)
            for first in range(0, n, step):
                count = min(step, n - first)
                content = file.read(count * each)
                if len(content) < count * each:
                    raise ValueError(f"{name} is truncated")
                yield np.frombuffer(content, dtype).reshape(count, *shape)
            if file.read(1):  # to the end, where the checksum is compared
                raise ValueError(f"{name} is longer than its header says")


@contextmanager
def _opened(path: Path) -> Iterator[_Files | _Archive]:
    """Raises ValueError if there is no such file or folder."""
    if not path.exists():
        raise FileNotFoundError("it does not exist")
    if path.is_dir() or path.suffix.lower() == ".npy":
        yield _Files(path)
        return
    found = _Archive(path)
    with found.archive:
        yield found


def arrays_expected(path: Path) -> str:
    """The reason why arrays cannot be read at a path, before the exact one."""
    if not path.exists():
        return "is not there; it must be a .npz file, or a folder with .npy files, x_train and x_test, or a .npy file"
    if path.is_dir():
        return "is not a folder with .npy files, x_train and x_test"
    return f"is not a complete {'.npy' if path.suffix.lower() == '.npy' else '.npz'} file of plain arrays"


def _header(file: IO[bytes], name: str, length: int) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array in a file of `length` bytes, without reading its values."""
    shape, _, dtype = _prefix(file)
    if (
        not dtype.hasobject and dtype.itemsize * math.prod(shape) > length - file.tell()
    ):  # it would be allocated before it is read
        raise ValueError(f"{name} is truncated: its header announces {shape}")
    return shape, dtype


def _prefix(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape of the array in a file, whether its dimensions are in reverse order there, and its type."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, transposed, dtype = read(file)
    return shape, transposed, dtype


def _images_at_once(each: int) -> int:
    """How many images of so many bytes are read together."""
    return max(1, CHUNK_BYTES // max(each, 1))


def _few_at_once(whole: np.ndarray) -> Iterator[np.ndarray]:
    step = _images_at_once(whole[:1].nbytes)
    return (whole[first : first + step] for first in range(0, len(whole), step))


def _read(
    arrays: _Files | _Archive,
    name: str,
    found: _Contents,
    wanted: Mapping[SplitName, Tensor | None],
    ends: list[float],
) -> dict[SplitName, Tensor]:
    """The images of an array at the places `wanted` of each split (None: all), (m, C, H, W). `ends` gets the least and
    the greatest value of each few images of it, wanted or not."""
    whole = arrays.mapped(name)
    kept: dict[SplitName, Tensor] = {}
    if whole is not None and whole.dtype == found.stored and found.axis in (None, 0) and whole.flags.c_contiguous:
        as_it_is = torch.from_numpy(whole if found.axis == 0 else whole[:, None])
        kept = {split: as_it_is for split, index in wanted.items() if index is None}
    shape = _channels_first(found.shape, found.axis)
    dtype = getattr(torch, found.stored)
    filled = {
        split: torch.empty(arrays.header(name)[0][0] if index is None else len(index), *shape, dtype=dtype)
        for split, index in wanted.items()
        if split not in kept
    }
    first = 0
    for chunk in arrays.chunks(name):
        ends += (float(chunk.min()), float(chunk.max()))
        for split, into in filled.items():
            _fill(into.numpy(), chunk, first, wanted[split], found.axis)
        first += len(chunk)
    return kept | filled


def _fill(into: np.ndarray, chunk: np.ndarray, first: int, index: Tensor | None, axis: int | None) -> None:
    """Copy the images of `chunk`, which are those of an array from `first` on, that are at the places `index` of it."""
    images = chunk[:, None] if axis is None else np.moveaxis(chunk, 1 + axis, 1)
    with np.errstate(over="ignore"):  # of float64; where a value must not be that large it is refused afterwards
        if index is None:
            into[first : first + len(chunk)] = images
            return
        begin, end = torch.searchsorted(index, torch.tensor([first, first + len(chunk)])).tolist()
        into[begin:end] = images[index[begin:end].numpy() - first]


class _Images(NamedTuple):
    sizes: dict[SplitName, int]  # part -> images
    shape: tuple[int, ...]  # of one, as stored
    stored: Stored


def _images(
    headers: Mapping[str, tuple[tuple[int, ...], np.dtype]], there: list[str], needed: Sequence[str]
) -> _Images:
    for name in needed:
        if name not in headers:
            raise ValueError(f"there is no {name} in it, only {some(there, 20) or 'nothing'}")
    for name, (_, dtype) in headers.items():
        if dtype.hasobject:
            raise ValueError(
                f"{name} is object: Python objects are not read, since they can execute code; save it as "
                f"numbers or strings ({name}.astype(str))"
            )
    sizes: dict[SplitName, int] = {}
    shape, first = headers["x_train"][0][1:], headers["x_train"][1]
    for part in PARTS:
        if f"x_{part}" not in headers:
            continue
        whole, dtype = headers[f"x_{part}"]
        _check_images(f"x_{part}", whole, dtype, shape)
        if dtype != first:
            raise ValueError(f"x_{part} is {dtype} and x_train {first}; they must be of one type")
        sizes[part] = whole[0]
    return _Images(sizes, shape, STORED[first.kind, first.itemsize])


def _check_images(name: str, whole: tuple[int, ...], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """`whole`: the shape of the array; `shape`: of an image of x_train."""
    if not whole:
        raise ValueError(f"{name} is of shape (); it must be {SHAPES}")
    if (dtype.kind, dtype.itemsize) not in STORED:
        raise ValueError(f"{name} is {dtype}; images must be uint8, uint16, int16 or floats ({name}.astype('uint8'))")
    if whole[0] == 0:
        raise ValueError(f"{name} is empty")
    if whole[1:] != shape:
        raise ValueError(f"images of {name} are {whole[1:]}, those of x_train {shape}; they must be the same")


def _understood(images: _Images, small: Mapping[str, np.ndarray], channel_axis: ChannelAxis | None) -> _Contents:
    sizes, shape, stored = images
    axis = _channel_axis(shape, channel_axis)
    given: dict[str, np.ndarray] = {
        part: _labels(small[f"y_{part}"], n, part) for part, n in sizes.items() if f"y_{part}" in small
    }
    if given and len(given) < len(sizes):
        lacking = ", ".join(f"y_{part}" for part in sizes if part not in given)
        raise ValueError(f"there is no {lacking}; give labels for all splits or for none")
    named = _label_names(small["label_names"]) if "label_names" in small else ()
    boxes = _boxes(small, sizes)
    if not given:
        return _Contents(sizes, shape, stored, axis, {}, 0, (), boxes)
    if len({y.dtype.kind for y in given.values()}) > 1:
        raise ValueError("labels are strings in one split and integers in another; they must be of one type")
    labels, names = _by_text(given, named) if given["train"].dtype.kind == "U" else _by_number(given, named)
    classes = len(names) if names else 1 + max(int(y.max()) for y in labels.values())
    if "val" not in sizes and len(np.unique(labels["train"])) == sizes["train"] > 1:
        raise ValueError("every label of y_train is unique: labels must name classes, not number the images")
    return _Contents(sizes, shape, stored, axis, labels, classes, names, boxes)


def _boxes(small: Mapping[str, np.ndarray], sizes: Mapping[SplitName, int]) -> dict[str, np.ndarray]:
    """The boxes of each part, (n, 4) float32; {} if there are none."""
    given = [part for part in sizes if f"boxes_{part}" in small]
    if given and len(given) < len(sizes):
        lacking = ", ".join(f"boxes_{part}" for part in sizes if part not in given)
        raise ValueError(f"there is no {lacking}; give boxes for all splits or for none")
    return {part: _box_array(small[f"boxes_{part}"], f"boxes_{part}", sizes[part]) for part in given}


def _box_array(boxes: np.ndarray, name: str, n: int) -> np.ndarray:
    """Raises ValueError for boxes that are no shares of an image's sides, that lie outside or end before they begin."""
    if boxes.dtype.kind != "f":
        raise ValueError(f"{name} is {boxes.dtype}; {SHARES}")
    if boxes.shape != (n, 4):
        raise ValueError(f"{name} is {boxes.shape}; it must be ({n}, 4), a box an image: left, top, right, bottom")
    outside = ~((boxes >= -ROUNDED) & (boxes <= 1 + ROUNDED)).all(axis=1)  # nan too
    if outside.any():
        place = int(outside.argmax())
        raise ValueError(f"{name}[{place}] is {boxes[place].tolist()}, which lies outside of its image; {SHARES}")
    clipped: np.ndarray = boxes.astype(np.float32).clip(0, 1)
    turned = (clipped[:, 0] > clipped[:, 2]) | (clipped[:, 1] > clipped[:, 3])
    if turned.any():
        place = int(turned.argmax())
        raise ValueError(
            f"{name}[{place}] is {boxes[place].tolist()}, which ends before it begins: the order is left, top, right, "
            "bottom"
        )
    if _flat(clipped).all():
        raise ValueError(f"no box of {name} has an area: the order is left, top, right, bottom")
    return clipped


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


def _label(y: np.ndarray | None, n: int) -> Tensor:
    """(n,) int64; -1 where there are none."""
    return torch.full((n,), -1) if y is None else torch.from_numpy(y)


def _channel_axis(shape: tuple[int, ...], stated: ChannelAxis | None) -> int | None:
    """Of an image (H, W), (H, W, C) or (C, H, W)."""
    if len(shape) in (2, 3) and 0 in shape:
        raise ValueError(f"images are {shape}: they have no pixels")
    if len(shape) == 2:
        return None
    if stated is not None and len(shape) == 3:
        return 0 if stated == "first" else 2
    axes = [axis for axis in (0, 2) if len(shape) == 3 and shape[axis] in (1, 3)]
    if not axes:
        raise ValueError(
            f"images are {shape}; they must be (H, W), (H, W, C) or (C, H, W); where C is not 1 or 3, set "
            "dataset.channel_axis to first or last"
        )
    if len(axes) == 2:
        raise ValueError(
            f"images are {shape}: the first or the last axis may be the channels: set dataset.channel_axis to first or "
            "last"
        )
    return axes[0]


def _channels_first(shape: tuple[int, ...], axis: int | None) -> tuple[int, int, int]:
    if axis is None:
        return 1, shape[0], shape[1]
    height, width = (length for place, length in enumerate(shape) if place != axis)
    return shape[axis], height, width
