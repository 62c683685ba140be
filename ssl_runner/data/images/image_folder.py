"""A user's own images as files in folders."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ssl_runner.data.any.folders import PARTS, Labels, Splits, Tree
from ssl_runner.data.any.splits import rest_of, stratified
from ssl_runner.data.images.decode import check_depth, check_range, decode_all
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName

SUFFIXES = frozenset([".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"])

log = logging.getLogger(__name__)


class _Files(NamedTuple):
    paths: list[Path]
    label: Tensor  # (n,) int64

    def at(self, index: Tensor) -> "_Files":
        return _Files([self.paths[place] for place in index.tolist()], self.label[index])


class ImageFolder(DataSource):
    """Images under `path`, decoded and resized once: the shorter side to `size` pixels, the center square kept.

    `labels` and `splits` say what folders mean: see `folders.Tree`. A split that has no folder is held out of train.
    """

    def __init__(
        self,
        *,
        path: str,
        labels: Labels,
        splits: Splits,
        size: int,
        channels: Literal[1, 3],
        depth: int | None,
        on_broken: Literal["refuse", "skip"],
        cache: str,
        workers: int,
        test_fraction: float,
        val_fraction: float,
        split_seed: int,
    ) -> None:
        for name, value in (("test_fraction", test_fraction), ("val_fraction", val_fraction)):
            if not 0 < value < 1:
                raise ValueError(f"dataset.{name} is {value}; it must lie in (0, 1)")
        for name, number in (("size", size), ("workers", workers)):
            if number < 1:
                raise ValueError(f"dataset.{name} is {number}; it must be at least 1")
        if channels not in (1, 3):
            raise ValueError(f"dataset.channels is {channels}; it must be 1 (gray) or 3 (color)")
        check_depth(depth)
        if on_broken not in ("refuse", "skip"):
            raise ValueError(f"dataset.on_broken is {on_broken}; it must be refuse or skip")
        self.root = Path(path).expanduser().absolute()
        self.tree = Tree(self.root, SUFFIXES, "image", labels=labels, splits=splits)
        self.size = size
        self.channels = channels
        self.depth = depth
        self.on_broken = on_broken
        self.cache = Path(cache).expanduser().absolute()
        self.workers = workers
        self.test_fraction = test_fraction
        self.val_fraction = val_fraction
        self.split_seed = split_seed

    @property
    def spec(self) -> ImageSpec:
        names = self.tree.class_names()
        listed = self.tree.listed()
        size = len(listed["train"].files)
        for part, fraction in (("test", self.test_fraction), ("val", self.val_fraction)):
            if part not in listed:
                size = rest_of(size, fraction)
        return ImageSpec(
            channels=self.channels,
            height=self.size,
            width=self.size,
            classes=len(names),
            class_names=names,
            size=size,  # less what is broken, if that is skipped
        )

    def check(self) -> None:
        self.tree.check()

    def contents(self) -> Contents:
        return {"path": self.tree.named()}

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        splits = {}
        for part, (files, of_class) in self.tree.listed().items():
            splits[part] = _Files(files, torch.tensor(of_class, dtype=torch.int64))
        for part, fraction in (("test", self.test_fraction), ("val", self.val_fraction)):
            if part not in splits:
                rest, held = stratified(splits["train"].label, fraction, self.split_seed)
                splits[part], splits["train"] = splits["train"].at(held), splits["train"].at(rest)
        paths = [path for part in PARTS for path in splits[part].paths]  # a split is then a slice of what is decoded
        try:
            decoded = decode_all(
                self.root,
                paths,
                size=self.size,
                channels=self.channels,
                depth=self.depth,
                cache=self.cache,
                workers=self.workers,
            )
        except OSError as error:
            raise ValueError(f"decoding into dataset.cache {self.cache} failed: {error}") from error
        self._report(decoded.broken, len(paths))
        label = torch.cat([splits[part].label for part in PARTS])[decoded.kept]
        part_of = torch.arange(3).repeat_interleave(torch.tensor([len(splits[part].paths) for part in PARTS]))
        counts = torch.bincount(part_of[decoded.kept], minlength=3).tolist()
        if 0 in counts:
            raise ValueError(f"all images of {PARTS[counts.index(0)]} in {self.root} (dataset.path) are damaged")
        check_range(
            f"{self.root} (dataset.path)",
            self.depth,
            deep=decoded.deep,
            highest=decoded.highest,
            brightest=decoded.brightest,
        )
        train, val, test = (
            Examples(*both) for both in zip(decoded.data.split(counts), label.split(counts), strict=True)
        )
        return {"pretrain": train, "train": train, "val": val, "test": test}

    def _report(self, broken: tuple[str, ...], n: int) -> None:
        if not broken:
            return
        some = "; ".join(broken[:5]) + ("; ..." if len(broken) > 5 else "")
        what = f"{len(broken)} of {n} images in {self.root} (dataset.path) cannot be read: {some}"
        if self.on_broken == "refuse":
            raise ValueError(f"{what}; repair or remove them, or set dataset.on_broken=skip")
        log.warning("skipped: %s", what)
