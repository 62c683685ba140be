"""A user's own videos as files in folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch

from ssl_runner.data.any.folders import Labels, Splits, Tree
from ssl_runner.data.any.splits import stratified
from ssl_runner.data.video.clips import ClipSource, Cut, check_cut, load_splits
from ssl_runner.interfaces import Contents, Examples, SplitName, VideoSpec

SUFFIXES = frozenset([".avi", ".mkv", ".mov", ".mp4", ".webm"])


class VideoFolder(ClipSource):
    """Videos under `path`, decoded once and cut into clips of `frames` frames, one every `stride` frames.

    The shorter side is scaled to `side` pixels, the center square kept. With `rate` so many frames of a second are
    kept, chosen by the time at which they are shown.
    `labels` and `splits` say what folders mean: see `folders.Tree`. A split that has no folder is held out of train.
    All clips of a video are in one split.
    """

    def __init__(
        self,
        *,
        path: str,
        labels: Labels,
        splits: Splits,
        side: int,
        channels: Literal[1, 3],
        frames: int,
        stride: int,
        rate: float | None,
        on_broken: Literal["refuse", "skip"],
        cache: str,
        test_fraction: float,
        val_fraction: float,
        split_seed: int,
    ) -> None:
        for name, value in (("test_fraction", test_fraction), ("val_fraction", val_fraction)):
            if not 0 < value < 1:
                raise ValueError(f"dataset.{name} is {value}; it must lie in (0, 1)")
        if on_broken not in ("refuse", "skip"):
            raise ValueError(f"dataset.on_broken is {on_broken}; it must be refuse or skip")
        self.root = Path(path).expanduser().absolute()
        self.tree = Tree(self.root, SUFFIXES, "video", labels=labels, splits=splits)
        self.cut = Cut(frames, stride, rate, side, channels)
        check_cut(self.cut)
        self.on_broken: Literal["refuse", "skip"] = on_broken
        self.cache = Path(cache).expanduser().absolute()
        self.test_fraction = test_fraction
        self.val_fraction = val_fraction
        self.split_seed = split_seed

    @property
    def spec(self) -> VideoSpec:
        return self.cut.spec(self.tree.class_names())

    def check(self) -> None:
        self.tree.check()

    def contents(self) -> Contents:
        return {"path": self.tree.named()}

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        splits: dict[str, list[tuple[Path, int]]] = {
            part: list(zip(*listed, strict=True)) for part, listed in self.tree.listed().items()
        }
        for part, fraction in (("test", self.test_fraction), ("val", self.val_fraction)):
            if part not in splits:
                videos = splits["train"]
                rest, held = stratified(torch.tensor([label for _, label in videos]), fraction, self.split_seed)
                splits[part] = [videos[place] for place in held.tolist()]
                splits["train"] = [videos[place] for place in rest.tolist()]
        loaded = load_splits(
            self.root, "dataset.path", splits, cut=self.cut, cache=self.cache, on_broken=self.on_broken
        )
        self._videos = loaded.videos
        return loaded.splits
