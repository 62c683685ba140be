"""Images cut in two: each half is a real view of what the other half shows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, cast

from torch import Tensor

from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName

HALVES = {"left": (3, 0, "right"), "right": (3, 1, "left"), "top": (2, 0, "bottom"), "bottom": (2, 1, "top")}
"""kept half -> axis, place along it, the other half"""


class Halves(DataSource):
    """Each image of another dataset as a pair: the half that is `kept`, which encoders read, and the other half.

    Nothing of an image is in both. Where the number of rows or columns is odd, the middle one is in neither. Labels and
    splits are those of the images.
    """

    def __init__(self, *, images: DataSource, kept: Literal["left", "right", "top", "bottom"]) -> None:
        self.images = images
        self.kept = kept
        self._others: dict[SplitName, Tensor] = {}

    @property
    def spec(self) -> ImageSpec:
        whole = self.images.spec
        if not isinstance(whole, ImageSpec):
            raise ValueError(f"dataset.images are {whole.kind}; dataset=halves cuts images in two")
        axis = HALVES[self.kept][0]
        side = "width" if axis == 3 else "height"
        half = replace(whole, **{side: getattr(whole, side) // 2})
        if not getattr(half, side):
            raise ValueError(f"dataset.images have a {side} of 1; they cannot be cut in two")
        return replace(half, other=replace(half, classes=0, class_names=()))

    def check(self) -> None:
        self.images.check()

    def count(self) -> int | None:
        return self.images.count()

    def contents(self) -> Contents:
        return {f"images.{setting}": named for setting, named in self.images.contents().items()}

    def load(self) -> Mapping[SplitName, Examples]:
        whole = self.images.load()
        self._others = {split: self._half(each.data, HALVES[self.kept][2]) for split, each in whole.items()}
        return {split: Examples(self._half(each.data, self.kept), each.label) for split, each in whole.items()}

    def others(self, split: SplitName) -> Tensor:
        return self._others[split]

    def _half(self, data: Tensor, name: str) -> Tensor:
        """(n, C, H, W) -> (n, C, h, w): a view."""
        axis, place, _ = HALVES[cast(Literal["left"], name)]
        size = data.shape[axis] // 2
        return data.narrow(axis, place * (data.shape[axis] - size), size)
