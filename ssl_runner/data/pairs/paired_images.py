"""A user's own pairs of images: two folders that hold the same examples, seen in two ways."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from ssl_runner.data.any.folders import PARTS, Labels, Splits, Tree
from ssl_runner.data.any.labels import some
from ssl_runner.data.images.decode import decode_all
from ssl_runner.data.images.decoded import DecodedImages, ImageSettings, Listed, in_order_of_splits
from ssl_runner.data.images.image_folder import SUFFIXES
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName


class PairedImages(DataSource):
    """Images under `path`, which encoders read, and under `other_path` the second view of each.

    The two of a pair have the same path within their folder, but for the suffix: path/train/cat/7.png and
    other_path/train/cat/7.jpg. What has no partner is refused. All else is as with `image_folder.ImageFolder`: labels
    and splits are those of `path`. A damaged image is refused, since its partner would be left alone.
    """

    def __init__(
        self, *, path: str, other_path: str, labels: Labels, splits: Splits, **settings: Unpack[ImageSettings]
    ) -> None:
        if settings["on_broken"] == "skip":
            raise ValueError(
                "dataset.on_broken is skip, which would leave the partners of damaged images alone; set it to refuse"
            )
        self.roots = Path(path).expanduser().absolute(), Path(other_path).expanduser().absolute()
        if self.roots[0] == self.roots[1]:
            raise ValueError(f"dataset.other_path is dataset.path, {self.roots[0]}; it must be another folder")
        self.trees = tuple(Tree(root, SUFFIXES, "image", labels=labels, splits=splits) for root in self.roots)
        self.images = DecodedImages(settings)
        self._others: dict[SplitName, Tensor] = {}

    @property
    def spec(self) -> ImageSpec:
        counts = {part: len(found.files) for part, found in self.trees[0].listed().items()}
        spec = self.images.spec(counts, self.trees[0].class_names())
        return replace(spec, other=replace(spec, classes=0, class_names=()))

    def check(self) -> None:
        self._pairs()

    def contents(self) -> Contents:
        return {"path": self.trees[0].named(), "other_path": self.trees[1].named()}

    def load(self) -> Mapping[SplitName, Examples]:
        listed: dict[SplitName, Listed] = {}
        files: tuple[list[Path], list[Path]] = [], []
        labels = {part: found.labels for part, found in self.trees[0].listed().items()}
        for part, pairs in self._pairs().items():
            listed[part] = Listed(torch.arange(len(files[0]), len(files[0]) + len(pairs)), torch.tensor(labels[part]))
            for side, each in zip(files, zip(*pairs, strict=True), strict=True):
                side.extend(each)
        splits = self.images.hold_out(listed)
        first, second = (self._decoded(side, files[side], splits) for side in (0, 1))
        self._others = {split: each.data for split, each in second.items()}
        return first

    def others(self, split: SplitName) -> Tensor:
        return self._others[split]

    def _decoded(self, side: int, files: list[Path], splits: Mapping[SplitName, Listed]) -> dict[SplitName, Examples]:
        ordered, places = in_order_of_splits(files, splits)
        root, images = self.roots[side], self.images
        return images.examples(
            f"{root} (dataset.{('path', 'other_path')[side]})",
            places,
            lambda: decode_all(root, ordered, images.how, cache=images.cache, workers=images.workers),
        )

    def _pairs(self) -> dict[SplitName, list[tuple[Path, Path]]]:
        """The pairs of each split that has a folder, in the order of `path`. Raises ValueError for what has no
        partner."""
        found: dict[SplitName, list[tuple[Path, Path]]] = {}
        for tree in self.trees:
            tree.check()
        one, other = (tree.listed() for tree in self.trees)
        if one.keys() != other.keys():
            raise ValueError(
                f"dataset.path has the splits {', '.join(one)}, and dataset.other_path {', '.join(other)}; both must "
                "have the same"
            )
        for part in (part for part in PARTS if part in one):
            first, second = (
                _by_name(files.files, root) for files, root in zip((one[part], other[part]), self.roots, strict=True)
            )
            if alone := sorted(first.keys() ^ second.keys()):
                here = sum(name in first for name in alone)
                raise ValueError(
                    f"{len(alone)} images of {part} have no partner ({here} of dataset.path {self.roots[0]}, "
                    f"{len(alone) - here} of dataset.other_path {self.roots[1]}): {some(alone, 5)}; the two of a pair "
                    "must have the same path within their folder, but for the suffix"
                )
            found[part] = [(file, second[name]) for name, file in first.items()]
        return found


def _by_name(files: list[Path], root: Path) -> dict[str, Path]:
    """Files by their paths within `root`, without suffix. Raises ValueError where two have one name."""
    found: dict[str, Path] = {}
    for file in files:
        name = file.relative_to(root).with_suffix("").as_posix()
        if (known := found.setdefault(name, file)) != file:
            raise ValueError(f"{known} and {file} differ only in their suffix: it is not clear which one is of a pair")
    return found
