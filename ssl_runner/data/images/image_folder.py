"""A user's own images as files in folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

import torch

from ssl_runner.data.any.folders import Labels, Splits, Tree
from ssl_runner.data.images.decode import decode_all
from ssl_runner.data.images.decoded import DecodedImages, ImageSettings, Listed, in_order_of_splits
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName

SUFFIXES = frozenset([".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"])


class ImageFolder(DataSource):
    """Images under `path`, decoded and resized once: the shorter side to `size` pixels, the center square kept.

    `labels` and `splits` say what folders mean: see `folders.Tree`. A split that has no folder is held out of train.
    """

    def __init__(self, *, path: str, labels: Labels, splits: Splits, **settings: Unpack[ImageSettings]) -> None:
        self.root = Path(path).expanduser().absolute()
        self.tree = Tree(self.root, SUFFIXES, "image", labels=labels, splits=splits)
        self.images = DecodedImages(settings)

    @property
    def spec(self) -> ImageSpec:
        names = self.tree.class_names()
        return self.images.spec({part: len(found.files) for part, found in self.tree.listed().items()}, names)

    def check(self) -> None:
        self.tree.check()

    def contents(self) -> Contents:
        return {"path": self.tree.named()}

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        listed: dict[SplitName, Listed] = {}
        files: list[Path] = []
        for part, found in self.tree.listed().items():
            listed[part] = Listed(torch.arange(len(files), len(files) + len(found.files)), torch.tensor(found.labels))
            files += found.files
        splits = self.images.hold_out(listed)
        files, splits = in_order_of_splits(files, splits)
        return self.images.examples(
            f"{self.root} (dataset.path)",
            splits,
            lambda: decode_all(self.root, files, self.images.how, cache=self.images.cache, workers=self.images.workers),
        )
