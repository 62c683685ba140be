"""Images in the formats of Hugging Face: of its hub, of a saved dataset, of Parquet or Arrow files."""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from ssl_runner.data.any.huggingface import HubData, HubSettings
from ssl_runner.data.any.labels import UNREAD, say_if_alone
from ssl_runner.data.images.decode import Decoded, Items, Row, decode_items
from ssl_runner.data.images.decoded import DecodedImages, ImageSettings
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName


class HubImageSettings(HubSettings, ImageSettings):
    """Settings of images in Hugging Face's formats."""


class HuggingFaceImages(DataSource):
    """Images of a dataset of the Hugging Face hub, of a folder of `save_to_disk`, or of Parquet or Arrow files.

    Rows are read once, in order, and decoded into the cache as `ImageFolder` does, so that training has random access.
    With `streaming` a dataset of the hub is not stored: only decoded images are. `limit`: the first rows of each split
    that are read. Splits that are called as folders of splits are (`folders.SPLITS`) are found by themselves; val and
    test are held out of train where there are none. Classes are those of the feature ClassLabel; of other labels they
    are the values in train, and known once a hub's dataset is read.
    """

    def __init__(self, *, image_column: str, **settings: Unpack[HubImageSettings]) -> None:
        self.column = image_column
        self.hub = HubData(settings, {"dataset.image_column": image_column})
        self.images = DecodedImages(settings)

    @property
    def spec(self) -> ImageSpec:
        self.hub.check()
        names = self.hub.names()
        classes = UNREAD if names is None else len(names)
        return replace(self.images.spec({"train": 0}, names or (), classes), size=0)  # known once it is read

    def check(self) -> None:
        self.hub.check()
        self._check_feature()
        _ = self.hub.splits
        say_if_alone(self.hub.names() or (), "if that carries no information, set dataset.label_column=null")

    def contents(self) -> Contents:
        return self.hub.contents()

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        try:
            decoded = {part: self._decoded(part) for part in self.hub.splits}
        except OSError as error:
            raise ValueError(f"decoding into dataset.cache {self.images.cache} failed: {error}") from error
        self.hub.learn_names(decoded["train"].labels)
        numbers = {part: [self.hub.number(label, part) for label in found.labels] for part, found in decoded.items()}
        labeled = {part: found._replace(labels=numbers[part]) for part, found in decoded.items()}
        return self.images.of_parts(f"{self.hub.path} (dataset.path)", labeled, int)

    def _decoded(self, part: SplitName) -> Decoded:
        name = self.hub.splits[part]

        def rows() -> Iterator[Callable[[], Row]]:
            return (partial(self._row, row) for row in self.hub.rows(part))

        return decode_items(
            Items(None, rows, lambda place: f"row {place} of {name}"),
            ["huggingface", name, self.hub.identity(), *self.images.how.identity()],
            self.images.how,
            cache=self.images.cache,
            workers=self.images.workers,
        )

    def _row(self, row: Mapping[str, Any]) -> Row:
        label = None if self.hub.label is None else row[self.hub.label]
        return _source(row[self.column]), label

    def _check_feature(self) -> None:
        features = self.hub.features
        if features is None:
            return
        kind = type(features[self.column]).__name__
        if kind != "Image" and getattr(features[self.column], "dtype", "") not in ("binary", "large_binary"):
            raise ValueError(
                f"dataset.image_column is {self.column}, which holds {kind} ({features[self.column]}); it must hold "
                "images, as the feature Image or as the bytes of image files"
            )


def _source(value: Any) -> Any:
    """What `decode` reads, of an image that is not decoded. Raises ValueError for none."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(content, bytes):
        return io.BytesIO(content)
    path = value.get("path") if isinstance(value, dict) else None
    if not isinstance(path, str):
        raise ValueError("there is no image")
    if "://" in path:
        raise ValueError("it is a file of its own on the hub: set dataset.streaming=false")
    return Path(path)
