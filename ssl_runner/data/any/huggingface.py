"""Datasets of the Hugging Face hub, and local ones in its formats, by the library `datasets`. No dataset runs code.

Only formats that are data are read: Parquet, Arrow, CSV, JSON, text and folders of images. Scripts of datasets and
pickles are refused, and images are decoded by this project, in its formats.
"""

import re
import socket
import tempfile
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

from ssl_runner.data.any.folders import PARTS, SPLITS
from ssl_runner.data.any.labels import in_order, some
from ssl_runner.interfaces import Contents, SplitName

READERS = frozenset(["arrow", "csv", "imagefolder", "json", "parquet", "text"])  # builders of `datasets` that are used
SAVED = ("dataset_dict.json", "state.json")  # in a folder of `save_to_disk`
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


class HubSettings(TypedDict):
    """Settings of datasets in Hugging Face's formats; documented in conf/dataset/huggingface.yaml."""

    path: str
    config: str | None
    revision: str | None
    train: str | None
    val: str | None
    test: str | None
    label_column: str | None
    streaming: bool
    limit: int | None
    cache: str


class HubData:
    """The rows of a dataset, by split.

    `columns`: key of the config -> column that is read beside that of the labels. Raises ValueError, in all methods,
    for what cannot be read, with the reason and the key to set.
    """

    def __init__(self, settings: HubSettings, columns: Mapping[str, str]) -> None:
        if settings["limit"] is not None and settings["limit"] < 1:
            raise ValueError(f"dataset.limit is {settings['limit']}; it must be at least 1, or null")
        self.path = settings["path"]
        self.config = settings["config"]
        self.revision = settings["revision"]
        self.stated: dict[SplitName, str | None] = {
            "train": settings["train"],
            "val": settings["val"],
            "test": settings["test"],
        }
        self.label = settings["label_column"]
        self.columns = dict(columns) | ({} if self.label is None else {"dataset.label_column": self.label})
        self.streaming = settings["streaming"]
        self.limit = settings["limit"]
        self.cache = Path(settings["cache"]).expanduser().absolute() / "huggingface"
        self.local = Path(self.path).expanduser().absolute() if Path(self.path).expanduser().exists() else None
        self._seen: Mapping[str, Any] | None = None  # columns, once rows are read
        self._found: tuple[str, ...] | None = None  # classes, by the labels of train

    def check(self) -> None:
        """Look for the splits and columns; of a hub's dataset, in its description."""
        features = self.features
        if features is None:
            return
        for key, column in self.columns.items():
            if column not in features:
                raise ValueError(
                    f"{key} is {column}, and {self.path} (dataset.path) has the columns {some(list(features))}"
                )
        if self.label is not None:
            self._check_label(features[self.label])

    @cached_property
    def files(self) -> list[Path]:
        """Local files, in order; none of a hub's dataset."""
        if self.local is None:
            return []
        if self.local.is_file():
            return [self.local]
        kinds = ("arrow", "json") if self._saved else ("parquet", "arrow")
        return sorted(file for kind in kinds for file in self.local.rglob(f"*.{kind}"))

    def contents(self) -> Contents:
        self.check()
        if self.local is None:
            return {}
        root = self.local if self.local.is_dir() else self.local.parent
        return {"path": {file.relative_to(root).as_posix() if root == self.local else "": file for file in self.files}}

    def identity(self) -> list[Any]:
        """What decides the rows, for the name of a cache: files, or the hub's revision."""
        stats = [(str(file), file.stat()) for file in self.files]
        files = [(name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats]
        version = [] if self.local is not None else [self.path, self.config, self.revision, self._builder.hash]
        return [files, version, self.columns, self.limit]

    @property
    def features(self) -> Mapping[str, Any] | None:
        """Columns by name; None: not known before they are read."""
        if self.local is None:
            found: Mapping[str, Any] | None = self._builder.info.features or self._seen
            return found
        found = next(iter(self._opened.values())).features
        return found

    @cached_property
    def splits(self) -> dict[SplitName, str]:
        """The names of the splits that are read. "val" and "test" may be missing."""
        there = self._there
        found: dict[SplitName, str] = {}
        for part in PARTS:
            stated = self.stated[part]
            if stated is not None and stated not in there:
                raise ValueError(
                    f"dataset.{part} is {stated}, and {self.path} (dataset.path) has the splits {some(there)}"
                )
            known = [name for name in there if SPLITS.get(name.lower()) == part]
            if stated is None and len(known) > 1:
                raise ValueError(f"{self.path} (dataset.path) has {some(known)}: set dataset.{part} to one of them")
            if stated is not None or known:
                found[part] = stated or known[0]
        if "train" not in found and len(there) == 1:
            found = {"train": there[0]}
        if "train" not in found:
            raise ValueError(
                f"{self.path} (dataset.path) has the splits {some(there)}: set dataset.train to one of them"
            )
        if len(set(found.values())) < len(found):
            raise ValueError(f"the splits {found} (dataset.train, dataset.val, dataset.test) must be different")
        return found

    def rows(self, part: SplitName, columns: Sequence[str] | None = None) -> Iterator[Mapping[str, Any]]:
        """The rows of a split, in order, with `columns`; None: all that are read. Images are not decoded."""
        from datasets import Image

        wanted = list(self.columns.values()) if columns is None else list(columns)
        try:
            whole = self._split(self.splits[part])
            self._seen = whole.features
            whole = whole.select_columns(wanted)
            for column in wanted:
                if whole.features is not None and isinstance(whole.features[column], Image):
                    whole = whole.cast_column(column, Image(decode=False))
            yield from whole if self.limit is None else whole.take(self.limit)
        except Exception as error:  # of networks, files and formats, of as many kinds as the library has
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"dataset.path={self.path}: {part} cannot be read: {said}") from error

    def names(self) -> tuple[str, ...] | None:
        """The classes, in order; None: not known before the labels of a hub's dataset are read."""
        if self.label is None:
            return ()
        if self._named:
            return tuple(self._feature.names)
        if self._found is None and self.local is not None:
            self.learn_names(row[self.label] for row in self.rows("train", [self.label]))
        return self._found

    def learn_names(self, labels: Iterable[Any]) -> None:
        """Take the classes from the labels of "train", unless they have names."""
        if not self._named:
            try:
                self._found = in_order(str(self._plain(label, "train")) for label in labels)
            except ValueError as error:
                raise ValueError(f"{self.path} (dataset.path): {error}") from error

    def number(self, value: Any, part: SplitName) -> int:
        """The number of a row's label, after `names` are known; -1 of unlabeled data."""
        if self.label is None:
            return -1
        plain = self._plain(value, part)
        if self._named:
            return int(plain)
        if str(plain) not in self._numbers:
            raise ValueError(
                f"{self.path} (dataset.path): the label {plain!r} of {part} is not in train, which has "
                f"{some(list(self._numbers))}"
            )
        return self._numbers[str(plain)]

    # -------------------------------------------------------------------------------------------------------- reading

    @property
    def _feature(self) -> Any:
        """Of the labels; None: not known before they are read."""
        return None if self.features is None or self.label is None else self.features[self.label]

    @property
    def _named(self) -> bool:
        """Whether labels are numbers of classes with names."""
        return hasattr(self._feature, "names")

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names() or ())}

    def _plain(self, value: Any, part: str) -> str | int:
        """A label. Raises ValueError for one that is hidden or empty."""
        if value is None or value == -1 or (isinstance(value, str) and not value.strip()):
            raise ValueError(
                f"an example of {part} has no label ({value!r}): set dataset.{part} to another split, or "
                "dataset.label_column=null"
            )
        return int(value) if isinstance(value, int) else str(value).strip()

    def _check_label(self, feature: Any) -> None:
        kind = str(getattr(feature, "dtype", ""))
        if not (hasattr(feature, "names") or kind in ("string", "large_string", "bool") or "int" in kind):
            raise ValueError(
                f"dataset.label_column is {self.label}, which holds {kind or type(feature).__name__}; it must hold "
                "classes, as integers or strings; null: unlabeled"
            )

    @property
    def _saved(self) -> bool:
        return self.local is not None and any((self.local / name).is_file() for name in SAVED)

    @property
    def _there(self) -> list[str]:
        if self.local is not None:
            return list(self._opened)
        splits = self._builder.info.splits or self._builder.config.data_files or {}
        return [str(name) for name in splits]

    def _split(self, name: str) -> Any:
        if self.local is not None:
            return self._opened[name]
        if self.streaming:
            return self._builder.as_streaming_dataset(split=name)
        self._builder.download_and_prepare()
        return self._builder.as_dataset(split=name)

    @cached_property
    def _opened(self) -> dict[str, Any]:
        """Local splits, by name; memory-mapped, or read as they are needed."""
        library()
        from datasets import Dataset, load_dataset, load_from_disk

        assert self.local is not None
        suffixes = {file.suffix.lower() for file in self.files} & {".parquet", ".arrow"}
        if not suffixes:
            raise ValueError(
                f"dataset.path {self.path} has no .parquet or .arrow files, and is no folder of save_to_disk; files of "
                "images are read by dataset=image_folder, tables by dataset=image_table and text_table"
            )
        if len(suffixes) > 1:
            raise ValueError(f"dataset.path {self.path} has .parquet and .arrow files: keep one kind")
        try:
            if self._saved:
                found = load_from_disk(str(self.local))
                return {"train": found} if isinstance(found, Dataset) else dict(found)
            where = {"data_dir" if self.local.is_dir() else "data_files": str(self.local)}
            with tempfile.TemporaryDirectory() as unused:  # a folder for what is converted, which nothing is here
                return dict(load_dataset(suffixes.pop()[1:], streaming=True, cache_dir=unused, **where))
        except Exception as error:  # of damaged files, of as many kinds as the library has
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"dataset.path {self.path} cannot be read: {said}") from error

    @cached_property
    def _builder(self) -> Any:
        """Of a hub's dataset: its description. Nothing else is downloaded."""
        if not HUB_ID.fullmatch(self.path) or Path(self.path).suffix in (".parquet", ".arrow"):
            raise ValueError(
                f"dataset.path {self.path} does not exist; it must be a dataset of the hub (user/name), a folder of "
                "save_to_disk, or .parquet or .arrow files"
            )
        library()
        from datasets import load_dataset_builder

        try:
            with _offline_without_network():
                found = load_dataset_builder(
                    self.path, name=self.config, revision=self.revision, cache_dir=str(self.cache)
                )
        except Exception as error:  # of networks and descriptions, of as many kinds as the library has
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"dataset.path={self.path} is no existing file or folder, and cannot be found on the hub: {said}; try "
                "again with a network, or set dataset.path to local files"
            ) from error
        reader = type(found).__module__.rpartition(".")[2]
        if reader not in READERS:
            raise ValueError(
                f"dataset.path={self.path} is in the format {reader}; it must be in one of {', '.join(sorted(READERS))}"
            )
        return found


def library() -> None:
    """Raise ValueError if `datasets` is not installed."""
    try:
        import datasets  # noqa: F401
    except ImportError as error:
        raise ValueError(
            'datasets in the formats of Hugging Face need the package datasets: pip install "ssl-runner[hf]"'
        ) from error


@contextmanager
def _offline_without_network() -> Iterator[None]:
    """Have the hub's library answer from its cache, or refuse, if its host has no address; else it tries for half a
    minute."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if not urllib.request.getproxies():
        try:
            socket.getaddrinfo(re.sub(r"^https?://|[:/].*$", "", constants.ENDPOINT), 443)
        except OSError:
            constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
