"""Any classification set of torchvision, found by the signature of its class. n images, S side."""

import contextlib
import difflib
import hashlib
import inspect
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ssl_runner.data.any.labels import UNREAD
from ssl_runner.data.images.decode import DAMAGE, Decoded, Items, Row, decode_items, reason
from ssl_runner.data.images.decoded import DecodedImages
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName

if TYPE_CHECKING:
    from PIL import Image

OWN = frozenset(  # parameters of torchvision's classes that a config does not set: code, and what is set otherwise
    ["self", "root", "download", "train", "transform", "target_transform", "transforms", "loader", "is_valid_file"]
)
PUBLISHED: Mapping[SplitName, tuple[str, ...]] = {  # what splits are called, the first that there is
    "train": ("train", "trainval", "train-standard"),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
SAMPLED = 16  # images of a split that are compared with those of a cache

Arguments = Mapping[str, Any]


class TorchvisionImages(DataSource):
    """A classification set of torchvision, by the name of its class; images are decoded and resized once.

    Its splits are kept: train (else trainval), val (else held out of train) and test. If it has no test, its val is
    test, and val is held out of train; if it has no splits, both are held out. `options`: other parameters of the
    class. Files are found, downloaded and verified by torchvision. The number of classes is known once the files are
    there.
    """

    def __init__(
        self,
        *,
        name: str,
        root: str,
        download: bool,
        options: dict[str, Any],
        size: int,
        channels: Literal[1, 3],
        on_broken: Literal["refuse", "skip"],
        cache: str,
        workers: int,
        test_fraction: float,
        val_fraction: float,
        split_seed: int,
    ) -> None:
        self.name = name
        self.root = Path(root).expanduser().absolute()
        self.download = download
        self.options = options
        self.images = DecodedImages({
            "size": size, "channels": channels, "depth": None, "bits": 8, "range": None, "on_broken": on_broken,
            "cache": cache, "workers": workers, "test_fraction": test_fraction, "val_fraction": val_fraction,
            "split_seed": split_seed,
        })  # fmt: skip
        self._classes: tuple[int, tuple[str, ...]] | None = None  # their number and names, once labels are read

    @property
    def spec(self) -> ImageSpec:
        sets = self._sets
        classes, names = self._classes or ((UNREAD, ()) if sets is None else _classes(sets["train"]))
        counts = {"train": 0} if sets is None else {part: len(found) for part, found in sets.items()}
        return self.images.spec(counts, names, classes)  # type: ignore[arg-type]

    def check(self) -> None:
        if self._sets is not None:
            return
        existing = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        if not os.access(existing, os.W_OK):
            raise ValueError(
                f"dataset.name={self.name} cannot be downloaded to {self.root}: not writable; set dataset.root to "
                "another folder"
            )

    def contents(self) -> Contents:
        """Empty: which files a class of torchvision reads is not known. They are compared by their contents' hash."""
        return {}

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        sets = self._sets or self._made(download=True)
        what = f"dataset.name={self.name} in {self.root}"
        for found in sets.values():
            self._check_item(found)
        try:
            decoded = {part: self._decoded(part, found) for part, found in sets.items()}
        except OSError as error:
            raise ValueError(f"decoding into dataset.cache {self.images.cache} failed: {error}") from error
        count, names = _classes(sets["train"])
        highest = max(int(label) for part in decoded.values() for label in part.labels)
        self._classes = (len(names), names) if highest < len(names) else (max(highest + 1, count), ())
        self.__dict__.pop("_sets", None)  # frees the images of those that are kept in memory
        return self.images.of_parts(what, decoded, int)

    @cached_property
    def _kind(self) -> "_Kind":
        """Raises ValueError for a name or options that torchvision does not have."""
        found = kinds()
        if self.name not in found:
            near = difflib.get_close_matches(self.name, found, n=1, cutoff=0.5)
            lowered = [each for each in found if each.lower() == self.name.lower().replace("_", "")]
            hint = (
                f"did you mean {(lowered or near)[0]}?" if lowered or near else f"it must be one of {', '.join(found)}"
            )
            raise ValueError(f"dataset.name is {self.name}: torchvision has no classification set of this name; {hint}")
        kind = found[self.name]
        known = [key for key in kind.parameters if key not in OWN and key != kind.split]
        for key, value in self.options.items():
            if key not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise ValueError(f"dataset.options: {self.name} has no option {key}; {has}")
            if isinstance(value, dict):
                raise ValueError(f"dataset.options: {key} is a mapping; it must be a value or a list of values")
        required = [key for key in known if kind.parameters[key].default is inspect.Parameter.empty]
        if lacking := [key for key in required if key not in self.options]:
            needed = " ".join(f"+dataset.options.{key}=..." for key in lacking)
            raise ValueError(f"dataset.name={self.name} needs {', '.join(lacking)}: add {needed}")
        return kind

    @cached_property
    def _sets(self) -> dict[SplitName, Any] | None:
        """The set's splits, if its files are there; None: they are to be downloaded. Raises ValueError if they are
        missing and are not to be, or cannot be."""
        try:
            return self._made(download=False)
        except _MissingError as error:
            if not self.download:
                raise ValueError(
                    f"dataset.name={self.name} is not in {self.root} ({error}): set dataset.root to the folder that "
                    "holds it, as torchvision lays it out, or dataset.download=true with a network"
                ) from error
            if "download" not in self._kind.parameters:
                raise ValueError(
                    f"dataset.name={self.name} is not in {self.root}, and torchvision cannot download it: {error}; "
                    "put its files there, or set dataset.root"
                ) from error
            return None

    def _made(self, *, download: bool) -> dict[SplitName, Any]:
        """Raises `_MissingError`, a ValueError, if files are missing or damaged."""
        kind = self._kind
        if "root" in kind.parameters and not download and not self.root.is_dir():  # some classes would create it
            raise _MissingError("there is no such folder")
        given: dict[str, Any] = {"root": self.root} if "root" in kind.parameters else {}
        if "download" in kind.parameters:
            given["download"] = download
        if "loader" in kind.parameters:
            given["loader"] = Path  # then an example is the path of an image, which is decoded here
        try:
            with contextlib.redirect_stdout(sys.stderr):  # torchvision prints what it downloads
                return {
                    part: kind.cls(**given, **arguments, **self.options)
                    for part, arguments in kind.splits(self.options).items()
                }
        except ImportError as error:
            raise ValueError(f"dataset.name={self.name} needs the package {error.name}: install it") from error
        except Exception as error:  # torchvision raises all kinds, of files as of networks
            said = (str(error).splitlines() or [type(error).__name__])[0]
            if not download:
                raise _MissingError(said) from error
            raise ValueError(
                f"dataset.name={self.name} could not be downloaded: {said}; try again with a network, or set "
                "dataset.root to the folder that holds it"
            ) from error

    def _check_item(self, found: Any) -> None:
        """Raise ValueError if examples are not an image and the number of a class."""
        from PIL import Image

        try:
            item = found[0] if len(found) else ()
        except DAMAGE:
            return  # it is refused, or skipped, as others are
        if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], Path | Image.Image):
            raise ValueError(f"dataset.name={self.name}: its examples are not pairs of an image and a class")
        image, label = item
        if isinstance(image, Image.Image):
            image.close()
        if not hasattr(label, "__index__") or getattr(label, "ndim", None):
            raise ValueError(
                f"dataset.name={self.name}: the label of an image is a {type(label).__name__}, not the number of a "
                "class; choose another set, or another target by dataset.options"
            )

    def _decoded(self, part: str, found: Any) -> Decoded:
        import torchvision
        from PIL import EpsImagePlugin

        EpsImagePlugin.gs_binary = False  # a file called .jpg may be EPS, for which Pillow would start Ghostscript
        lock = threading.Lock()  # a class may have state that threads must not share: FakeData seeds torch's generator

        def row(place: int) -> Row:
            with lock:
                image, label = found[place]
            return image, int(label)

        def rows() -> Iterator[Callable[[], Row]]:
            return (partial(row, place) for place in range(len(found)))

        made = [self.name, self.options, part, len(found), _sample(found), torchvision.__version__]
        return decode_items(
            Items(len(found), rows, lambda place: f"image {place} of {part}"),
            ["torchvision", *made, *self.images.how.identity()],
            self.images.how,
            cache=self.images.cache,
            workers=self.images.workers,
        )


class _MissingError(ValueError):
    """Files are not there."""


class _Kind(NamedTuple):
    """A class of torchvision, and the parameters of its constructor."""

    cls: type[Any]
    parameters: Mapping[str, inspect.Parameter]

    @property
    def split(self) -> Literal["train", "split", ""]:
        """The parameter that chooses a split; "": it has none."""
        if "train" in self.parameters:
            return "train"
        split = self.parameters.get("split")
        return "split" if split is not None and split.default is not inspect.Parameter.empty else ""

    def splits(self, options: Arguments) -> dict[SplitName, Arguments]:
        """The arguments of each split; "test" is never missing unless the set has no splits."""
        if self.split == "":
            return {"train": {}}
        if self.split == "train":
            return {"train": {"train": True}, "test": {"train": False}}
        found: dict[SplitName, Arguments] = {}
        for part, names in PUBLISHED.items():
            known = next((name for name in names if self._has(name, options)), None)
            if known is not None:
                found[part] = {"split": known}
        if "test" not in found and "val" in found:
            found["test"] = found.pop("val")
        return found

    def _has(self, name: str, options: Arguments) -> bool:
        """Whether a split has this name: torchvision's classes refuse others before they look for files."""
        with tempfile.TemporaryDirectory() as empty:
            download = {"download": False} if "download" in self.parameters else {}
            try:
                self.cls(root=Path(empty) / "none", split=name, **download, **options)
            except ValueError:
                return False
            except Exception:  # of the missing files, or packages
                return True
        return True


def kinds() -> dict[str, _Kind]:
    """The classification sets of torchvision: those whose constructors take one target's transform, and need no more
    than a folder, a split and values that a config can state."""
    datasets: Any = import_module("torchvision.datasets")
    found = {}
    for name in sorted(datasets.__all__):
        cls = getattr(datasets, name)
        if not (inspect.isclass(cls) and issubclass(cls, datasets.VisionDataset)):
            continue
        parameters = _parameters(cls)
        single = "transforms" not in parameters or "target_types" in parameters  # joint transforms are of boxes, masks
        made = "root" not in parameters  # FakeData
        published = made or not {"download", "split", "train"}.isdisjoint(parameters)
        files = {"annotation_path", "annFile", "ann_file", "classes"} & set(parameters)
        if "target_transform" in parameters and single and published and not files:
            found[name] = _Kind(cls, parameters)
    return found


def _parameters(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """Those of a constructor, and of its base's where it passes keywords on."""
    own = dict(inspect.signature(cls.__init__).parameters)
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in own.values()):
        own = {**_parameters(cls.__mro__[1]), **own}
    return {key: each for key, each in own.items() if each.kind is not inspect.Parameter.VAR_KEYWORD}


def _classes(found: Any) -> tuple[int, tuple[str, ...]]:
    """The number and the names of classes, as far as a set says so before its labels are read."""
    for key in ("classes", "categories"):
        names = getattr(found, key, None)
        if isinstance(names, list | tuple) and len(names) > 1:
            plain = tuple(each[0] if isinstance(each, tuple) else each for each in names)  # ImageNet's have synonyms
            if all(isinstance(each, str) for each in plain):
                return len(plain), plain
    count = getattr(found, "num_classes", None)
    return (count if isinstance(count, int) else UNREAD), ()


def _sample(found: Any) -> str:
    """A hash of some images and labels, evenly from a split: other files under the same name are noticed."""
    whole = hashlib.sha256()
    for place in range(0, len(found), max(1, len(found) // SAMPLED)):
        try:
            image, label = found[place]
            whole.update(_content(image) + str(int(label)).encode())
        except DAMAGE as error:
            whole.update(reason(error).encode())
    return whole.hexdigest()


def _content(image: "Path | Image.Image") -> bytes:
    if isinstance(image, Path):
        return image.read_bytes()
    with image:
        return f"{image.size}".encode() + image.tobytes()
